"""What the driver of a Ray cluster decides: how many cells, which of them again, and what it refuses. None of it needs Ray."""

import socket
import sys

import pytest
from helpers import QUICK, TINY, planned
from ray_helpers import from_plugin, on_cluster

from bbh_bench.errors import BenchError
from bbh_bench.running.ray_cluster import RayOptions, node_device
from bbh_bench.running.ray_node import Installation, run_errand
from bbh_bench.running.ray_nodes import Claim, NodeWatch, too_large
from bbh_bench.running.ray_retries import Retries

GB = 2**30
SMALL = {"CPU": 4.0, "memory": 8.0 * GB}
LARGE = {"CPU": 16.0, "GPU": 2.0, "memory": 64.0 * GB}


@pytest.fixture(scope="module")
def cell():
    return planned(TINY, QUICK, 0)


@pytest.mark.parametrize(
    ("claim", "small", "large"),
    [
        (Claim(1, 0, None), 4, 16),
        (Claim(8, 0, None), 0, 2),
        (Claim(1, 0, 3 * GB), 2, 16),
        (Claim(1, 0.3, None), 0, 6),
        (Claim(1, 2, None), 0, 1),
    ],
)
def test_a_node_runs_as_many_cells_as_its_scarcest_resource_allows(claim, small, large):
    assert claim.slots(SMALL) == small
    assert claim.slots(LARGE) == large


def test_what_is_too_large_is_compared_with_the_nodes():
    sentence = too_large(Claim(32, 1, 4 * GB), {"a": SMALL, "b": SMALL, "c": LARGE})
    assert "claims 32 CPU, 1 GPU, 4 GB; the nodes have 16 CPU, 2 GPU, 64 GB; 4 CPU, 8 GB. Lower --cpus" in sentence


class OneNode:
    """What is used of the module ray: a cluster of one node."""

    def __init__(self, address):
        self.gcs_address = address

    def get_runtime_context(self):
        return self

    def nodes(self):
        return [{"NodeID": "a", "Alive": True, "Resources": SMALL}]


def test_a_head_node_that_does_not_answer_any_more_is_an_error(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        watch = NodeWatch(OneNode(address))
    assert watch.slots(Claim(2, 0, None)) == 2
    monkeypatch.setattr("bbh_bench.running.ray_nodes.HEAD_PATIENCE", 0.01)
    with pytest.raises(BenchError, match=f"head node of the Ray cluster, {address}, does not answer any more"):
        watch.read()


def test_a_lost_cell_runs_again_as_often_as_was_asked(cell):
    retries = Retries(Claim(1, 0, None), retries=2)
    assert retries.lost(cell, "gone") is None
    assert retries.lost(cell, "gone") is None
    assert "lost 3 times with the node that ran it; the last time: gone" in str(retries.lost(cell, "gone"))


def test_a_cell_whose_process_dies_twice_has_failed_and_losses_do_not_count(cell):
    retries = Retries(Claim(1, 0, None), retries=2)
    assert retries.lost(cell, "gone") is None
    assert retries.crashed(cell) is None
    assert isinstance(retries.crashed(cell), ChildProcessError)


def test_claims_of_memory_double_up_to_the_largest_node_that_has_the_other_resources(cell):
    retries, nodes = (
        Retries(Claim(1, 1, 20 * GB), retries=0),
        {"a": SMALL, "b": LARGE, "c": {"CPU": 1.0, "memory": 1000.0 * GB}},
    )
    claims = []
    while (error := retries.out_of_memory(cell, nodes)) is None:
        claims.append(retries.claim(cell))
    assert claims == [Claim(1, 1, 40 * GB), Claim(1, 1, 64 * GB)]
    assert str(error) == "the cell ran out of memory with a claim of 64 GB, and no node of the cluster has more"
    assert isinstance(error, MemoryError)


def test_a_cell_without_a_claim_had_a_share_of_its_node(cell):
    retries = Retries(Claim(2, 0, None), retries=0)
    assert retries.out_of_memory(cell, {"a": SMALL, "b": LARGE}) is None
    assert retries.claim(cell) == Claim(2, 0, 8 * GB)  # twice 8 GB / (4 CPU / 2 CPU)


def test_another_installation_is_described_and_its_node_not_used():
    here = Installation.here(["torch", "bbh-bench"])
    assert here.difference(here) == ""
    assert here.difference(Installation(here.versions, "edited")) == "other source files of bbh_bench"
    driver = Installation(here.versions | {"torch": "1.0", "Python": "3.0"}, here.code)
    kind, what = run_errand(driver, b"", None, 0)
    assert kind == "differs"
    assert f"torch {here.versions['torch']} instead of 1.0" in what
    assert f"Python {here.versions['Python']} instead of 3.0" in what


def test_the_device_of_a_cell_follows_from_its_claim():
    assert node_device("auto", RayOptions(gpus=0.25)).type == "cuda"
    assert node_device("auto", RayOptions()).type == "cpu"
    assert node_device("cpu", RayOptions(gpus=1)).type == "cpu"
    with pytest.raises(BenchError, match="add --gpus 1"):
        node_device("cuda", RayOptions())


@pytest.mark.parametrize("claim", [{"cpus": 0}, {"gpus": -1}, {"gpus": 1.5}])
def test_impossible_claims_are_refused(claim):
    with pytest.raises(BenchError, match=f"--{next(iter(claim))}"):
        RayOptions(**claim)


def test_ray_that_is_not_installed_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchError, match=r"pip install 'bbh-bench\[ray\]'"):
        next(on_cluster(from_plugin("straight"), RayOptions()))
