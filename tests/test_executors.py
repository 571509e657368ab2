"""Several processes give the records that this one gives, and outlive a cell that kills its process."""

import os
from dataclasses import dataclass, replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from helpers import QUICK, TINY, Failing

from bbh_bench.errors import ContractError
from bbh_bench.running.executors import inline, processes
from bbh_bench.running.plan import Cell
from bbh_bench.running.provenance import provenance
from bbh_bench.running.runner import Bench


@dataclass(frozen=True)
class Deadly:
    """A method that takes its whole process with it."""

    name: str = "deadly"
    code: int = 7

    def fit(self, problem):
        if self.code < 0:
            os.kill(os.getpid(), -self.code)
        os._exit(self.code)


@pytest.fixture
def bench(metrics, cpu):
    return Bench(cpu, tuple(metrics), provenance(cpu, {"bbh-bench"}))


def cells(*methods, seeds=(0,)):
    return [Cell(TINY, method, "bbh-bench", "", seed) for method in methods for seed in seeds]


def test_processes_give_what_one_process_gives(bench):
    some = cells(QUICK, replace(QUICK, name="slow", lr=1e-3), seeds=(0, 1))
    here = {str(cell): (record, arrays) for cell, record, arrays in inline(bench, some, {TINY.name: TINY.load(Path())})}
    there = {str(cell): (record, arrays) for cell, record, arrays in processes(bench, some, Path(), jobs=2)}
    assert there.keys() == here.keys()
    for name, (record, arrays) in there.items():
        assert record.scores == here[name][0].scores
        assert record.curves == here[name][0].curves
        assert arrays.keys() == here[name][1].keys()
        for key, array in arrays.items():
            assert np.array_equal(array, here[name][1][key]), key


def test_a_cell_that_kills_its_process_or_fails_costs_no_other(bench):
    some = cells(Deadly(), Failing(message="no luck"), QUICK, Deadly(name="deadlier", code=-9))
    records = {cell.method.name: record for cell, record, _ in processes(bench, some, Path(), jobs=2)}
    assert records["quick"].status == "finished"
    assert records["failing"].error["message"] == "no luck"
    assert records["deadly"].status == records["deadlier"].status == "failed"
    assert "ended with code 7: it left by itself" in records["deadly"].error["message"]
    assert "ended with code -9: it was killed; was there enough memory?" in records["deadlier"].error["message"]


@dataclass(frozen=True)
class Unloadable:
    """A task whose data were there when the run began."""

    name: str = "unloadable"
    version: int = 1
    title: str = "unloadable"
    headline: str = "test/nll"
    threads: int = 1

    def specification(self):
        return {}

    def load(self, folder):
        raise OSError("the disk is gone")


def test_data_that_cannot_be_read_in_the_process_are_the_cells_failure(bench):
    lost = Cell(Unloadable(), QUICK, "bbh-bench", "", 0)
    records = {cell.task.name: record for cell, record, _ in processes(bench, [lost, *cells(QUICK)], Path(), jobs=1)}
    assert records["unloadable"].error["message"] == "the disk is gone"
    assert records["tiny"].status == "finished"


def test_a_run_that_is_left_ends_its_processes(bench):
    before = set(active_children())
    results = processes(bench, cells(QUICK, Failing()), Path(), jobs=2)
    next(results)
    assert set(active_children()) - before
    results.close()
    assert set(active_children()) == before


def test_what_cannot_be_sent_is_named(bench):
    @dataclass(frozen=True)
    class Local:
        name: str = "local"

        def fit(self, problem):
            raise AssertionError

    with pytest.raises(ContractError, match=r"The method 'local' can't be sent .*--executor inline"):
        next(processes(bench, cells(Local()), Path(), jobs=1))


def test_no_cells_need_no_process(bench):
    assert list(processes(bench, [], Path(), jobs=2)) == []
