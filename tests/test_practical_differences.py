"""What the page of a task says of trade-offs, of differences that matter, and of deep ensembles."""

import msgspec
import numpy as np
from record_factory import board, record, with_scores

from bbh_bench.leaderboard.page import markdown
from bbh_bench.leaderboard.tables import TaskRecords
from bbh_bench.leaderboard.task_page import in_distribution_table, task_page

replace = msgspec.structs.replace


def method(name, nll, robust=0.5, cost=1.0, seeds=3):
    rng = np.random.default_rng(sum(map(ord, name)))
    records = [record(name, seed, nll * (1 + 0.001 * rng.normal())) for seed in range(seeds)]
    records = [with_scores(each, **{"robust__linf__accuracy@0.1": robust}) for each in records]
    return [replace(each, cost=each.cost | {"fit/relative": cost}) for each in records]


def row(page, name, heading):
    """The cells of a method in the first table after a text."""
    lines = page.partition(heading)[2].splitlines()
    return next([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith(f"| {name} "))


def test_a_small_difference_is_practically_equal_and_a_large_one_is_worse():
    page = board([*method("best", 0.100), *method("near", 0.101), *method("far", 0.200)])
    text = page.partition("**Practical differences**")[2]
    assert "NLL within 0.005" in text
    nll = [cell.strip() for cell in text.partition("| method")[2].splitlines()[0].split("|")].index("NLL")
    assert row(page, "best", "**Practical differences**")[nll] == "best mean"
    assert row(page, "near", "**Practical differences**")[nll] == "0 / 100 / 0"
    assert row(page, "far", "**Practical differences**")[nll] == "0 / 0 / 100"


def test_nothing_is_said_of_methods_with_fewer_than_three_seeds():
    assert "Practical differences" not in board([*method("a", 0.1, seeds=2), *method("b", 0.2, seeds=2)])


def test_the_front_names_the_methods_between_which_one_has_to_choose():
    records = [*method("cheap", 0.3, 0.4), *method("good", 0.1, 0.6, cost=5.0), *method("worse", 0.4, 0.3, cost=6.0)]
    sentence = board(records).partition("On the Pareto front of")[2].partition("\n\n")[0]
    assert "`cheap`, `good`." in sentence
    assert "worse" not in sentence
    assert "Pareto" not in board([record("m")])


def test_a_method_has_as_many_members_as_an_ensemble_of_the_same_likelihood():
    records = [with_scores(record("m"), test__nll_scaled=0.05)]
    table = in_distribution_table(TaskRecords(records, ensembles=[0.1, 0.06, 0.04]))
    assert table.headings[-1] == "deep-ensemble equivalent"
    assert table.rows[0][-1] == "2.5"
    spread = [with_scores(record("m", seed), test__nll_scaled=value) for seed, value in enumerate([0.03, 0.05, 0.07])]
    assert in_distribution_table(TaskRecords(spread, ensembles=[0.1, 0.06, 0.04])).rows[0][-1] == "2.5 [1.0, > 3]"
    assert "deep-ensemble" not in markdown(task_page(TaskRecords(records)))
