"""A method that does harm costs its own row only, under each executor that promises it."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import context, planned
from hostile_plugin import ACTS, Hostile
from line_plugin import Line, Straight

from bbh_bench.running.executors import inline, processes
from bbh_bench.running.progress import Silent
from bbh_bench.running.queue import CellQueue
from bbh_bench.running.worker import WorkerSettings

LIMIT = 2**31
"""Bytes that a cell may have here: torch itself takes a quarter of it."""

FAILURES = {
    "base-exception": ("NoException", "not an Exception"),
    "generator-exit": ("GeneratorExit", "leave"),
    "unprintable": ("Unprintable", "cannot be shown"),
    "exit": ("ChildProcessError", "ended with code 0: it exited by itself"),
    "kill": ("ChildProcessError", "ended by SIGKILL"),
    "segfault": ("ChildProcessError", "ended by SIGSEGV"),
    "hang": ("TimeoutError", "stopped after 5 s (--timeout)"),
    "allocate": ("RuntimeError", "--memory lets a cell have 2 GB"),
    "replace-torch": ("ContractError", "method 'replace-torch' replaced torch.Tensor.mean"),
    "replace-time": ("ContractError", "replaced time.perf_counter"),
    "replace-suite": ("ContractError", "replaced bbh_bench.running.runner.now"),
    "thread": ("ContractError", "thread"),
}
"""What the record of a cell says that cannot have scores. The other cells of ``ACTS`` have those of ``Straight``."""
INLINE = ["base-exception", "generator-exit", "unprintable", "replace-torch", "replace-time", "replace-suite"]
INLINE += ["number-errors", "settings", "close-output"]
"""What is contained in the process of the run too."""


def cells(names):
    """Each between two cells of ``Straight``."""
    methods = [Straight(name="before"), *map(Hostile, names), Straight(name="after")]
    return [planned(Line(), method) for method in methods]


def queue(some):
    return CellQueue(some, None, None, unfinished=lambda cell: True)


def check(results, names):
    """One result for each cell, under its own name, with the right failure or the right scores."""
    records = {cell.method.name: result.record for cell, result in results}
    assert len(results) == len(records) == len(names) + 2
    assert all(record.method.name == name for name, record in records.items())
    expected = records["before"]
    for name, record in records.items():
        if name in FAILURES:
            kind, text = FAILURES[name]
            assert (record.status, record.error.type) == ("failed", kind), record.error
            assert text in record.error.message
        else:
            assert record.finished, record.error
            assert record.scores == expected.scores, name


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory need Linux")
def test_in_processes_every_harm_stays_in_its_cell():
    settings = WorkerSettings(replace(context(), metrics=()), Path(), 1, (), LIMIT)
    folder, path = os.getcwd(), os.environ["PATH"]
    acts = [name for name in ACTS if name != "kill-parent"]
    results = list(processes(context(), queue(cells(acts)), settings, 2, 5.0, Silent()))
    check(results, acts)
    assert (os.getcwd(), os.environ["PATH"]) == (folder, path)
    assert np.geterr()["over"] != "raise"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no template")
def test_a_template_that_is_killed_costs_the_running_cells_only():
    settings = WorkerSettings(replace(context(), metrics=()), Path(), 1)
    results = list(processes(context(), queue(cells(["kill-parent"])), settings, 1, None, Silent()))
    records = {cell.method.name: result.record for cell, result in results}
    assert records["kill-parent"].error.type == "ChildProcessError"
    assert records["before"].finished
    assert records["after"].scores == records["before"].scores


def test_in_this_process_what_can_be_undone_is_undone():
    folder, path, limit = os.getcwd(), os.environ["PATH"], sys.getrecursionlimit()
    out = sys.stdout
    results = list(inline(context(), queue(cells(INLINE)), Path(), Silent()))
    check(results, INLINE)
    assert (os.getcwd(), os.environ["PATH"], sys.getrecursionlimit()) == (folder, path, limit)
    assert sys.stdout is out
    assert np.geterr()["over"] != "raise"
