"""Cells on a Ray cluster of several nodes on this machine: the same records, whatever is lost meanwhile."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import QUICK, TINY, context, planned
from ray_helpers import BEATING, Queue, Recorder, from_plugin, on_cluster

from bbh_bench.errors import BenchError
from bbh_bench.plugins import load_plugins
from bbh_bench.records.store import Store
from bbh_bench.running.executors import inline
from bbh_bench.running.plan import plan
from bbh_bench.running.progress import Silent
from bbh_bench.running.ray_cluster import RayOptions

pytest.importorskip("ray", reason="Ray is not installed: pip install 'bbh-bench[ray]'")
from ray.cluster_utils import Cluster

PATIENCE = 120.0


@pytest.fixture(scope="module")
def cluster():
    """A head node, which runs no cell, and two nodes of one CPU."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        started.add_node(num_cpus=1)
    yield started
    started.shutdown()


def test_a_run_that_loses_a_node_gives_the_records_of_one_process(cluster):
    """The node is killed when both nodes have a cell; its cell runs again on the other."""
    cells = [planned(TINY, QUICK, 0), *from_plugin("talking")]

    def started(cell):
        if len(observer.begun) == 2:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    observer = Recorder(started)
    there = {str(cell): result for cell, result in on_cluster(cells, RayOptions(cluster.address), observer)}
    cluster.add_node(num_cpus=1)
    here = {str(cell): result for cell, result in inline(context(), Queue(cells), Path(), Silent())}
    assert there.keys() == here.keys()
    for name, result in there.items():
        assert result.record.finished, result.record.error
        assert result.record.scores == here[name].record.scores
        assert result.arrays.keys() == here[name].arrays.keys()
        for key, array in result.arrays.items():
            assert np.array_equal(array, here[name].arrays[key]), key
    assert len(observer.begun) == 3
    assert [line for _, line in observer.lines if "lost" in line] == ["its node was lost; it runs again"]
    assert ("line talking seed 0", "a whole line") in observer.lines
    assert [stage for name, stage in observer.stages if name == "line talking seed 0"] == ["fit", "predict"]


def test_cells_that_crash_exit_or_hang_cost_no_other(cluster):
    cells = from_plugin("deadly", "deadlier", "waiting", "straight")
    results = on_cluster(cells, RayOptions(cluster.address, timeout=5.0))
    errors = {cell.method.name: result.record.error for cell, result in results}
    assert errors.keys() == {cell.method.name for cell in cells}
    for name in ("deadly", "deadlier"):
        assert errors[name].type == "ChildProcessError"
        assert "died 2 times, on nodes that went on working" in errors[name].message
    assert errors["waiting"].type == "TimeoutError"
    assert "stopped after 5 s (--timeout)" in errors["waiting"].message
    assert errors["straight"] is None


def test_a_cell_that_runs_out_of_memory_runs_again_with_a_larger_claim_until_no_node_has_more(cluster, monkeypatch):
    """The node that has enough CPUs for the cell is one whose memory Ray takes to be full."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    full = cluster.add_node(num_cpus=2, memory=2**27)
    observer = Recorder()
    try:
        options = RayOptions(cluster.address, cpus=2, memory=3 * 2**25)
        ((_, result),) = on_cluster(from_plugin("straight"), options, observer)
    finally:
        cluster.remove_node(full)
    assert result.record.error.type == "MemoryError"
    assert "with a claim of 0.125 GB, and no node of the cluster has more" in result.record.error.message
    lines = [line for _, line in observer.lines]
    assert lines == ["it ran out of memory; it runs again, with a claim of 2 CPU, 0.125 GB"]


@pytest.fixture
def driver(cluster, tmp_path):
    """Start the driver of ``ray_helpers``."""
    processes = []

    def start():
        command = [sys.executable, str(Path(__file__).with_name("ray_helpers.py")), cluster.address, str(tmp_path)]
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        environment = os.environ | {"PYTHONPATH": path}
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def beats(file):
    """Whether a cell still touches the file."""
    before = file.stat().st_mtime_ns
    time.sleep(0.5)
    return file.stat().st_mtime_ns > before


def until(condition):
    """Wait for it."""
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    assert condition()


def test_a_driver_that_was_killed_leaves_no_cell_behind_and_the_next_one_completes(driver, tmp_path):
    store, beat = Store(tmp_path / "runs"), tmp_path / "beat"
    first = driver()
    assert first.stdout.readline() == "tiny quick seed 0\n"
    until(beat.exists)
    first.kill()
    until(lambda: not beats(beat))
    assert [record.method.name for record in store.records()] == ["quick"]
    (tmp_path / "go").touch()
    assert driver().communicate(timeout=PATIENCE)[0] == "tiny beating seed 0\n"
    assert sorted(record.method.name for record in store.records() if record.finished) == ["beating", "quick"]


def test_a_run_that_is_interrupted_cancels_its_cells(cluster, tmp_path):
    def interrupt(cell, name):
        until((tmp_path / "beat").exists)
        raise KeyboardInterrupt

    plugins, observer = load_plugins(external=False, files=[BEATING]), Silent()
    observer.stage = interrupt
    cells = plan(plugins, [TINY], [replace(plugins.methods["beating"], folder=str(tmp_path))], [0])
    with pytest.raises(KeyboardInterrupt):
        next(on_cluster(cells, RayOptions(cluster.address), observer, (BEATING,)))
    until(lambda: not beats(tmp_path / "beat"))


def test_a_claim_that_no_node_can_satisfy_is_an_error(cluster):
    options = RayOptions(cluster.address, cpus=64, memory=2**43, wait_for_nodes=0.5)
    with pytest.raises(
        BenchError, match=r"can run a cell that claims 64 CPU, 8.19e\+03 GB; the nodes have .*Lower --cpus"
    ):
        next(on_cluster(from_plugin("straight"), options))


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("127.0.0.1:1", "nothing answers there .*ray start --head"),
        ("nosuchhost.invalid:6379", "nothing answers there"),
        ("ray://127.0.0.1:10001", "write HOST:PORT"),
        ("here", "write HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_an_error(address, problem):
    with pytest.raises(BenchError, match=f"--address {address}: {problem}"):
        next(on_cluster(from_plugin("straight"), RayOptions(address)))


def test_no_cells_need_no_cluster():
    assert list(on_cluster([], RayOptions("127.0.0.1:1"))) == []
