"""How long a run will still take: examples worked out by hand."""

from pathlib import Path

import pytest

from bbh_bench.cli.durations import clock, duration
from bbh_bench.cli.time_left import Begun, Estimate, TimeLeft


def cells(method, n, task="digits5"):
    """Paths of the records of ``n`` seeds."""
    return [Path(f"{task}/v2/{method}/seed{seed}.json") for seed in range(n)]


def test_nothing_is_known_until_a_cell_has_finished():
    left = TimeLeft(cells("map", 3))
    assert left.estimate({}, 1) is None
    left.finished(cells("map", 1)[0], None)  # it failed
    assert left.estimate({}, 1) is None
    left.finished(cells("map", 2)[1], 10.0)
    assert left.estimate({}, 1) == Estimate(10.0, True)
    left.finished(cells("map", 3)[2], 10.0)
    assert left.estimate({}, 1) == Estimate(0.0, True)


def test_cells_take_as_long_as_the_mean_of_their_task_and_method():
    left = TimeLeft([*cells("map", 4), *cells("bbh", 2)])
    left.finished(cells("map", 1)[0], 10.0)
    left.finished(cells("map", 2)[1], 20.0)
    left.finished(cells("bbh", 1)[0], 100.0)
    # Two cells of 15 s, one of 100 s.
    assert left.estimate({}, 1) == Estimate(130.0, True)


def test_methods_without_a_finished_cell_take_as_long_as_the_others_of_their_task():
    left = TimeLeft([*cells("map", 1), *cells("bbh", 1), *cells("mnf", 2)])
    left.finished(cells("map", 1)[0], 10.0)
    left.finished(cells("bbh", 1)[0], 50.0)
    # The mean of 10 and 50 for each of two cells.
    assert left.estimate({}, 1) == Estimate(60.0, True)


def test_what_running_cells_have_done_is_subtracted_and_the_rest_shared_out():
    left = TimeLeft(cells("map", 7))
    left.finished(cells("map", 1)[0], 20.0)
    first, second = cells("map", 3)[1:]
    # 20 - 15, 20 - 30 which is nothing, and four of 20 s, two at a time.
    assert left.estimate({first: Begun(15.0), second: Begun(30.0)}, 2) == Estimate(42.5, True)


def test_the_speed_of_a_running_fit_is_a_lower_bound():
    left = TimeLeft([*cells("map", 2), *cells("bbh", 1, task="mnist")])
    left.finished(cells("map", 1)[0], 20.0)
    slow, other = cells("map", 2)[1], cells("bbh", 1, task="mnist")[0]
    assert left.estimate({slow: Begun(18.0, at_least=30.0)}, 1) == Estimate(30.0, False)
    assert left.estimate({slow: Begun(18.0), other: Begun(5.0, at_least=40.0)}, 1) == Estimate(42.0, False)


def test_cells_that_take_longer_than_expected_leave_nothing_known():
    left = TimeLeft(cells("map", 2))
    left.finished(cells("map", 1)[0], 20.0)
    assert left.estimate({cells("map", 2)[1]: Begun(25.0)}, 1) is None


def test_a_run_takes_at_least_as_long_as_its_longest_cell():
    left = TimeLeft([*cells("map", 2), *cells("bbh", 2)], {Path("digits5/v2/bbh"): 100.0})
    left.finished(cells("map", 1)[0], 10.0)
    left.finished(cells("bbh", 1)[0], 100.0)
    # 110 s shared by two processes are 55 s, but one cell takes 100 s.
    assert left.estimate({}, 2) == Estimate(100.0, True)


def test_more_processes_than_cells_do_not_shorten_a_run():
    left = TimeLeft(cells("map", 3))
    left.finished(cells("map", 1)[0], 10.0)
    assert left.estimate({}, 8) == Estimate(10.0, True)


def test_cells_of_earlier_runs_are_first_estimates_that_own_ones_replace():
    left = TimeLeft([*cells("map", 2), *cells("bbh", 1)], {Path("digits5/v2/map"): 40.0, Path("digits5/v2/bbh"): 60.0})
    assert left.estimate({}, 1) == Estimate(140.0, True)
    left.finished(cells("map", 1)[0], 10.0)
    assert left.estimate({}, 1) == Estimate(70.0, True)


def test_a_task_without_a_finished_cell_leaves_a_lower_bound():
    left = TimeLeft([*cells("map", 2), *cells("map", 1, task="mnist")])
    left.finished(cells("map", 1)[0], 120.0)
    estimate = left.estimate({}, 1)
    assert estimate == Estimate(120.0, False)
    assert str(estimate) == "at least 2 min left"
    left.finished(cells("map", 2)[1], 120.0)
    assert left.estimate({}, 1) is None
    assert str(Estimate(90.0, True)) == "2 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3500, "58 min"),
        (3590, "1.0 h"),
        (12600, "3.5 h"),
        (4e5, "4.6 days"),
    ],
)
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(5.9, "0:05"), (754, "12:34"), (3723, "1:02:03")])
def test_clocks_for_people(seconds, text):
    assert clock(seconds) == text
