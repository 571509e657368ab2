"""The table of selective prediction and calibration on the page of a task."""

from record_factory import board, record, with_scores

from bbh_bench.leaderboard.columns import sections
from bbh_bench.leaderboard.tables import by_task

HEADING = "## Selective prediction and calibration"
BEFORE = [record("m", seed, nll) for seed, nll in enumerate([0.10, 0.11, 0.12])]
RECORDS = [
    with_scores(
        each, test__aurc=0.004 + k / 1000, test__eaurc=0.002, test__adaptive_ece=0.031, test__classwise_ece=0.0125
    )
    for k, each in enumerate(BEFORE)
]


def test_the_page_has_a_row_with_each_score():
    part = board(RECORDS).split(HEADING)[1]
    heading, _, row = [line for line in part.splitlines() if line.startswith("|")][:3]
    for name in ("AURC × 1,000", "excess AURC × 1,000", "adaptive ECE", "class-wise ECE"):
        assert name in heading
    for value in ("5.000 ± 2.484", "2.000 ± 0.000", "0.0310", "0.0125"):  # 2.484 = 4.303 * 1 / sqrt(3)
        assert value in row


def test_exports_have_its_columns_and_no_other_table_repeats_them():
    (group,) = by_task(RECORDS)
    named = sections(group)
    own = {column.name for column in named["selective prediction and calibration"]}
    assert {"test/aurc", "test/eaurc", "test/adaptive_ece", "test/classwise_ece"} <= own
    assert not {column.name for column in named["in distribution"]} & {"test/aurc", "test/adaptive_ece"}


def test_records_that_were_not_rescored_have_no_such_section():
    assert HEADING not in board(BEFORE)
