"""Several processes give the records that this one gives, and go on after a cell that kills its process."""

import pickle
import time
from dataclasses import dataclass, replace
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from helpers import QUICK, TINY, Failing, context, planned
from line_plugin import Deadly, Line, Straight, Talking, Waiting

from bbh_bench.errors import ContractError
from bbh_bench.methods.map import Map
from bbh_bench.plugins import load_plugins
from bbh_bench.running.executors import inline, processes
from bbh_bench.running.plan import plan
from bbh_bench.running.progress import Silent
from bbh_bench.running.queue import CellQueue
from bbh_bench.running.worker import Messages, WorkerSettings, pack

PLUGIN = Path(__file__).with_name("line_plugin.py")


class Recorder:
    """An observer that writes down every event."""

    def __init__(self):
        self.events = []

    def cell_started(self, cell):
        self.events.append((str(cell), "started"))

    def stage(self, cell, name):
        self.events.append((str(cell), "stage", name))

    def fitting(self, cell, fraction, loss):
        self.events.append((str(cell), "fitting", fraction, loss))

    def printed(self, cell, text):
        self.events.append((str(cell), "printed", text))

    def of(self, cell, kind):
        return [event[2:] for event in self.events if event[:2] == (str(cell), kind)]


def cells(*methods, seeds=(0,), task=TINY):
    return [planned(task, method, seed) for method in methods for seed in seeds]


def queue(some):
    return CellQueue(some, None, None, unfinished=lambda cell: True)


def in_processes(some, jobs=2, observer=None, files=(), timeout=None, memory=None):
    settings = WorkerSettings(replace(context(), metrics=()), Path(), 1, files, memory)
    return processes(context(), queue(some), settings, jobs, timeout, observer or Silent())


def in_this_process(some, observer=None):
    return inline(context(), queue(some), Path(), observer or Silent())


def test_processes_give_what_one_process_gives():
    some = cells(QUICK, replace(QUICK, name="slow", lr=1e-3), seeds=(0, 1))
    here = {str(cell): result for cell, result in in_this_process(some)}
    there = {str(cell): result for cell, result in in_processes(some)}
    assert there.keys() == here.keys()
    for name, result in there.items():
        assert result.record.finished
        assert result.record.scores == here[name].record.scores
        assert result.record.curves == here[name].record.curves
        assert result.arrays.keys() == here[name].arrays.keys()
        for key, array in result.arrays.items():
            assert np.array_equal(array, here[name].arrays[key]), key


def test_a_cell_that_kills_its_process_or_fails_costs_no_other():
    some = cells(Deadly(), Failing(message="no luck"), QUICK, Deadly(name="deadlier", code=-9))
    records = {cell.method.name: result.record for cell, result in in_processes(some)}
    assert records["quick"].finished
    assert records["failing"].error.message == "no luck"
    assert records["deadly"].status == records["deadlier"].status == "failed"
    assert "ended with code 7: it exited by itself" in records["deadly"].error.message
    assert "ended by SIGKILL: was there enough memory?" in records["deadlier"].error.message


def test_a_run_that_is_left_ends_its_processes():
    before = set(active_children())
    results = in_processes(cells(Straight(), Waiting(), task=Line()))
    next(results)
    assert set(active_children()) - before
    results.close()
    assert set(active_children()) == before


def test_what_cannot_be_sent_is_named():
    @dataclass(frozen=True)
    class Local:
        name: str = "local"
        version: int = 1

        def fit(self, problem):
            raise AssertionError

    with pytest.raises(ContractError, match=r"The method 'local' cannot be sent .*--executor inline"):
        next(in_processes(cells(Local()), jobs=1))


def test_every_built_in_task_can_be_sent(builtin):
    for name in builtin.tasks:
        cell = planned(builtin.tasks[name], Map())
        assert pickle.loads(pack(cell)).fingerprint == cell.fingerprint


def test_no_cells_need_no_process():
    assert list(in_processes([])) == []


def test_what_a_process_cannot_load_is_the_cells_failure():
    """Data that are gone; and a class that can be sent but not received, as one that was defined in a notebook."""
    foreign = plan(load_plugins(external=False, files=[PLUGIN]), ["line"], ["straight"], [0])
    some = [
        planned(Line(name="unloadable", disk="gone"), Straight()),
        *foreign,
        *cells(Straight(name="other"), task=Line()),
    ]
    errors = {str(cell): result.record.error for cell, result in in_processes(some, jobs=1)}
    assert errors["unloadable straight seed 0"].message == "the disk is gone"
    error = errors["line straight seed 0"]
    assert error.type == "ContractError"
    assert "another process cannot load line straight seed 0 (ModuleNotFoundError" in error.message
    assert "--plugin" in error.message
    assert errors["line other seed 0"] is None  # the process goes on


@pytest.mark.parametrize("run", [in_this_process, in_processes])
def test_an_observer_learns_what_cells_do(run):
    observer = Recorder()
    some = cells(Straight(), Talking(), task=Line())
    assert all(result.record.finished for _, result in run(some, observer=observer))
    for cell in some:
        assert next(event for event in observer.events if event[0] == str(cell)) == (str(cell), "started")
        assert observer.of(cell, "stage") == [("fit",), ("predict",)]
        fractions = [fraction for fraction, _ in observer.of(cell, "fitting")]
        assert fractions == sorted(fractions)
        assert 0 < fractions[0] <= fractions[-1] <= 1
        assert all(loss > 0 for _, loss in observer.of(cell, "fitting"))
    assert observer.of(some[0], "printed") == []
    lines = [line for (line,) in observer.of(some[1], "printed")]
    errors = [] if run is in_this_process else ["an error message"]
    assert sorted(lines) == sorted(["a whole line", "progress 100 %", "half a line", *errors])


def test_prints_of_a_library_call_are_printed(capsys):
    list(in_this_process(cells(Talking(), task=Line())))
    output = capsys.readouterr()
    assert output.out == "a whole line\nprogress 100 %\nhalf a line\n"
    assert output.err == "an error message\n"


def test_a_terminal_that_is_gone_is_no_failure_of_a_cell():
    class Gone(Recorder):
        def stage(self, cell, name):
            raise OSError(5, "Input/output error")

        def printed(self, cell, text):
            raise BrokenPipeError

    ((_, result),) = in_this_process(cells(Talking(), task=Line()), observer=Gone())
    assert result.record.finished


class Pipe:
    """The sending end of a connection."""

    def __init__(self):
        self.sent = []

    def send(self, *message):
        self.sent.append(message)


def test_messages_about_a_fit_are_few_and_a_new_stage_has_one_at_once():
    pipe = Pipe()
    messages = Messages(pipe.send)
    start = time.monotonic()
    while time.monotonic() - start < 0.5:
        messages.fitting(0.1, 1.0)
    assert 1 <= len(pipe.sent) <= 4
    messages.stage("fit")
    messages.fitting(0, 2)
    assert pipe.sent[-2:] == [("stage", "fit"), ("fitting", 0.0, 2.0)]
