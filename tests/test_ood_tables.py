"""The table of OOD detection by different scores."""

from record_factory import board, record, with_scores

from bbh_bench.leaderboard.columns import sections
from bbh_bench.leaderboard.tables import by_task

PLAIN = [record("plain", seed, nll) for seed, nll in enumerate([0.10, 0.11, 0.12])]
OWN = [
    with_scores(
        record("own", seed, nll),
        ood__o__auroc_expected_entropy=0.7 + seed / 100,
        ood__o__auroc_mutual_information=0.6 + seed / 100,
        ood__o__auroc_ood_score=0.9 + seed / 100,
    )
    for seed, nll in enumerate([0.20, 0.22, 0.24])
]
HEADING = "## OOD detection by different scores"


def table(text):
    part = text[text.index(HEADING) :]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:4]]


def test_every_detector_has_a_column_and_methods_without_a_score_a_dash():
    headings, _, plain, own = table(board([*PLAIN, *OWN]))
    shown = [heading.rstrip(" ↑") for heading in headings[2:]]
    assert shown == ["by entropy", "by expected entropy", "by mutual information", "by its own score"]
    assert plain[0] == "plain"
    assert plain[3:] == ["–", "–", "–"]
    assert [text.split(" ")[0].strip("*") for text in own[2:]] == ["0.780", "0.710", "0.610", "0.910"]


def test_columns_that_no_method_has_are_left_out():
    records = [with_scores(each, ood__o__auroc_expected_entropy=0.9) for each in PLAIN]
    headings, _, row, *_ = table(board(records))
    assert len(headings) == len(row) == 4


def test_records_that_were_not_rescored_have_no_such_section():
    assert HEADING not in board(PLAIN)
    (group,) = by_task(PLAIN)
    assert not any(column for title, column in sections(group).items() if title.startswith("OOD detection"))


def test_exports_have_its_columns_and_no_other_table_repeats_them():
    (group,) = by_task([*PLAIN, *OWN])
    named = sections(group)
    assert [column.name.rpartition("/")[2] for column in named["OOD detection: o"]] == [
        "auroc",
        "auroc_expected_entropy",
        "auroc_mutual_information",
        "auroc_ood_score",
    ]
    assert not {column.name for column in named["OOD: o"]} & {column.name for column in named["OOD detection: o"][1:]}
