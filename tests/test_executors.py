"""Several processes give the records that this one gives, and outlive a cell that kills its process."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from helpers import QUICK, TINY, Failing

from bbh_bench.errors import ContractError
from bbh_bench.executors import inline, processes
from bbh_bench.plan import Cell
from bbh_bench.provenance import provenance
from bbh_bench.runner import Bench


@dataclass(frozen=True)
class Deadly:
    """A method that takes its whole process with it."""

    name: str = "deadly"

    def fit(self, problem):
        os._exit(7)


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


def test_a_cell_that_kills_its_process_or_fails_costs_no_other(bench):
    some = cells(Deadly(), Failing(message="no luck"), QUICK)
    records = {cell.method.name: record for cell, record, _ in processes(bench, some, Path(), jobs=1)}
    assert records["quick"].status == "finished"
    assert records["failing"].error["message"] == "no luck"
    assert records["deadly"].status == "failed"
    assert "ended with code 7" in records["deadly"].error["message"]


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
