"""A run that is killed again and again ends with the records of an undisturbed one."""

import os
import random
import signal
import sys
import time
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest

from bbh_bench.cli import main
from bbh_bench.records.store import Store
from bbh_bench.running.claim import read_claims

PLUGIN = Path(__file__).with_name("survival_plugin.py")
TOKEN = "BBH_BENCH_TEST_OF_SURVIVAL"
EXECUTORS = {"inline": [], "processes": ["--executor", "processes", "--jobs", "2"]}
SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
KILLS = 8
LONGEST = 60.0
"""Seconds that anything may take here."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes under /proc")


def arguments(records, executor, seeds):
    run = ["run", "--plugin", str(PLUGIN), "--task", "tiny", "--method", "committee,masks,quick", "--seeds", seeds]
    saved = ["--checkpoints", f"{records}-saved", "--checkpoint-every", "0.1s"]
    return [*run, "--records", str(records), *saved, *EXECUTORS[executor]]


def command(records, executor, seeds="0,1"):
    """The main function of a process: it prints nothing."""
    os.environ[TOKEN] = str(records)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    os._exit(main(arguments(records, executor, seeds)))


@pytest.fixture(scope="module")
def server():
    """Starts processes from one that has loaded torch."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["warmed_up"])
    return context


def wait_for(condition):
    end = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def has_begun(process, records):
    """Whether it runs a cell, or never will. Claims of runs that were killed before do not count."""
    return not process.is_alive() or any(claim.pid == process.pid for claim in read_claims(records, time.time()))


def survivors(records):
    """Processes that were started by a run on this folder."""
    mark = f"{TOKEN}={records}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0") and (process / "cmdline").read_bytes():
                found.append(process.name)
        except OSError:  # it has ended
            continue
    return found


def test_a_run_that_is_killed_again_and_again_has_the_records_of_an_undisturbed_one(server, tmp_path):
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    moments = random.Random(0)
    codes = []
    for kill in range(KILLS):
        executor = list(EXECUTORS)[kill % 2]
        process = server.Process(target=command, args=(disturbed, executor))
        process.start()
        wait_for(partial(has_begun, process, disturbed))
        process.join(moments.uniform(0, 1.5))
        number = SIGNALS[kill // 2 % len(SIGNALS)]
        if process.is_alive():
            os.kill(process.pid, number)
        process.join(LONGEST)
        codes.append(process.exitcode)
        wait_for(lambda: not survivors(disturbed))
    assert -signal.SIGKILL in codes
    assert {130, 143} & set(codes)
    for folder in (disturbed, undisturbed):
        process = server.Process(target=command, args=(folder, "inline"))
        process.start()
        process.join(2 * LONGEST)
        assert process.exitcode == 0
    compare(Store(disturbed), Store(undisturbed), cells=6)
    stored = {path.relative_to(disturbed) for path in disturbed.rglob("*")}
    assert stored == {path.relative_to(undisturbed) for path in undisturbed.rglob("*")}
    assert not any(path.name.startswith(".") for path in stored)
    assert list(Path(f"{disturbed}-saved").iterdir()) == []


def compare(store, other, cells):
    records, others = store.records(), other.records()
    assert [record.path for record in records] == [record.path for record in others]
    assert len(records) == cells
    for record, expected in zip(records, others, strict=True):
        assert record.finished
        assert (record.scores, record.curves, record.audit) == (expected.scores, expected.curves, expected.audit)
        assert record.predictions.sha256 == expected.predictions.sha256


def test_two_runs_on_one_folder_share_the_cells(server, tmp_path):
    """Each cell runs once; both runs end when all cells are finished."""
    together, alone = tmp_path / "together", tmp_path / "alone"
    runs = [server.Process(target=logged, args=(together, executor, tmp_path / executor)) for executor in EXECUTORS]
    for process in runs:
        process.start()
    for process in runs:
        process.join(3 * LONGEST)
        assert process.exitcode == 0
    lines = [line for executor in EXECUTORS for line in (tmp_path / executor).read_text().splitlines()]
    finished = [line.partition("] ")[2].partition(":")[0] for line in lines if " in " in line and line.startswith("[")]
    assert len(finished) == len(set(finished)) == 3
    process = server.Process(target=command, args=(alone, "inline", "0"))
    process.start()
    process.join(2 * LONGEST)
    compare(Store(together), Store(alone), cells=3)
    assert not list(together.rglob(".*"))


def logged(records, executor, log):
    """As ``command``, but what it prints goes to a file."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 1)
    os._exit(main(arguments(records, executor, seeds="0")))
