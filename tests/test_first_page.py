"""The first page of the board: one narrow table a task, ranks, verdicts, and what is provisional."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from record_factory import board, failed, first_page, record, with_scores, with_task

from bbh_bench.errors import RecordError
from bbh_bench.leaderboard import pages
from bbh_bench.leaderboard.images import image_scores
from bbh_bench.leaderboard.rendering import short
from bbh_bench.leaderboard.tables import Column, Value, by_task
from bbh_bench.records.store import Store

replace = msgspec.structs.replace
GOOD = [record("good", seed, nll) for seed, nll in enumerate([0.10, 0.11, 0.12])]
POOR = [record("poor", seed, nll) for seed, nll in enumerate([0.50, 0.52, 0.48])]
NEAR = [record("near", seed, nll) for seed, nll in enumerate([0.09, 0.115, 0.14])]
PUBLISHED = Store(Path(__file__).parents[1] / "leaderboard")


def cells(text, name):
    line = next(line for line in text.splitlines() if line.startswith("| ") and f" {name} " in line.split("|")[1])
    return [cell.strip() for cell in line.split("|")[1:-1]]


def one_line(text):
    return " ".join(text.split())


def test_ranks_are_shared_by_methods_that_cannot_be_told_apart():
    text = first_page([*GOOD, *NEAR, *POOR])
    assert [cells(text, name)[0] for name in ("good", "near", "poor")] == ["1. good", "1. near", "3. poor"]
    assert "By NLL, `good` has the best mean and cannot be told apart from `near`;" in one_line(text)


def test_the_verdict_names_a_method_that_is_ahead_of_each_other():
    assert "By NLL, `good` is ahead of each other method; by OOD AUROC, `good` is" in one_line(
        first_page([*GOOD, *POOR])
    )
    alike = one_line(first_page([*GOOD, *NEAR]))
    assert "By NLL, no method can be told apart from `good`, which has the best mean" in alike
    assert "**" not in alike.partition("## How to read this")[0]


def test_methods_with_fewer_than_three_seeds_are_provisional_and_get_neither_rank_nor_bold():
    text = first_page([*GOOD, *POOR, record("lone", 0, 0.001)])
    assert cells(text, "lone")[0] == "\\* lone"
    assert "**" not in "".join(cells(text, "lone"))
    assert cells(text, "good")[0] == "1. good"
    assert "**" in "".join(cells(text, "good"))  # it is not blocked
    assert "Provisional, with their numbers of seeds: lone (1)." in one_line(text)
    assert "No verdict: that needs two methods with three seeds each." in one_line(first_page([*GOOD[:2], *POOR[:2]]))


def test_a_method_of_which_every_cell_failed_is_named():
    assert cells(first_page([*GOOD, failed("lost", 0)]), "lost")[0] == "lost (failed)"


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.01312, 0.0043, "0.013 ± 0.004"),
        (0.01312, 0.00143, "0.0131 ± 0.0014"),
        (76.31, 4.2, "76 ± 4"),
        (41.2, 1.04, "41.2 ± 1.0"),
        (0.5, 0.0, "0.5000 ± 0.0000"),
        (0.5, None, "0.5000"),
        (0.5, 33.0, "0 ± 33"),
    ],
)
def test_a_value_has_as_many_decimals_as_its_interval_allows(mean, half, text):
    value = Value(mean, half, 3, best=False, struck_out=False, bound=False)
    assert short(value, Column("", "", 4 if mean < 1 else 1)) == text


def test_tables_of_the_first_page_have_nine_columns_at_most_and_fit_a_page():
    text = pages(PUBLISHED.records(), PUBLISHED.arrays)["LEADERBOARD.md"]
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows
    assert max(line.count(" | ") for line in rows) + 1 <= 9
    assert max(len(" | ".join(cell.strip() for cell in line.split("|"))) for line in rows if "---" not in line) <= 190


def test_every_task_has_a_page_that_the_first_one_links_to():
    every = pages([*GOOD, *[with_task(each, name="u") for each in POOR]])
    assert list(every) == ["LEADERBOARD.md", "t-v1-f.md", "u-v1-f.md"]
    assert all(f"({name})" in every["LEADERBOARD.md"] for name in list(every)[1:])
    assert all("(LEADERBOARD.md#how-to-read-this)" in text for name, text in every.items() if name != "LEADERBOARD.md")
    assert "## How to read this" in every["LEADERBOARD.md"]


def test_epsilons_in_pixel_levels_are_fractions():
    records = [with_scores(each, **{f"robust__linf__accuracy@{4 / 255:g}": 0.2}) for each in GOOD]
    assert "robust accuracy at ε = 4/255, %" in first_page(records)
    assert "robust accuracy at ε = 4/255, %" in board(records)


def test_scores_of_single_images_are_those_of_the_records():
    records = [each for each in PUBLISHED.records() if each.task.name == "digits5" and each.seed < 3]
    scores = image_scores(records, PUBLISHED.arrays)
    for each in records:
        for name in ("test/nll", "test/error"):
            assert scores[name][each.method.name][each.seed].mean() == pytest.approx(each.scores[name], rel=1e-9)


def test_methods_without_predictions_or_with_other_images_are_compared_over_seeds_only():
    log_odds = np.log([[0.9, 0.1], [0.2, 0.8]])

    def read(each, names):
        if each.method.name == "poor":
            raise RecordError("no file")
        if each.method.name == "near":
            return {"test/labels": np.array([1, 1]), "test/log_odds": log_odds}
        return {"test/labels": np.array([0, 1]), "test/log_odds": log_odds}

    scores = image_scores([*GOOD, *POOR, *NEAR], read)
    assert {name: list(values) for name, values in scores.items()} == {"test/nll": ["good"], "test/error": ["good"]}
    (group,) = by_task([*GOOD, *POOR, *NEAR], read)
    assert list(group.images["test/nll"]) == ["good"]
    assert first_page([*GOOD, *POOR]) == pages([*GOOD, *POOR], lambda *_: {})["LEADERBOARD.md"]


def test_the_resolution_of_a_test_set_stands_beside_its_board():
    log_odds = np.log(np.tile([[0.9, 0.1]], (200, 1)))
    labels = np.arange(200) // 100
    text = one_line(
        pages([*GOOD, *POOR], lambda *_: {"test/labels": labels, "test/log_odds": log_odds})["LEADERBOARD.md"]
    )
    assert "One of the 200 test images is 0.5 points of error" in text
    assert "uncertain by ±7 points or more" in text  # 2 sqrt(0.5 * 0.5 / 200)
