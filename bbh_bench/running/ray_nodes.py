"""What the nodes of a Ray cluster have, and what a cell claims of it."""

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bbh_bench.errors import BenchError

INTERVAL = 2.0
"""Seconds between two looks at the nodes."""
GRACE = 3.0
"""Seconds in which the loss of a node shows: its processes may die, one by one, before the node counts as dead."""
HEAD_PATIENCE = 20.0
"""Seconds that the head node may not answer."""

Nodes = Mapping[str, Mapping[str, float]]
"""Ray's resources of each node, by the node's id; memory is in bytes."""


@dataclass(frozen=True)
class Claim:
    """What one cell takes of a node, as Ray's logical resources."""

    cpus: int
    gpus: float
    memory: int | None
    """In bytes. None: no claim."""

    def slots(self, node: Mapping[str, float]) -> int:
        """How many cells with this claim a node with these resources runs at a time."""
        slots = int(node.get("CPU", 0) // self.cpus)
        if self.gpus >= 1:
            slots = min(slots, int(node.get("GPU", 0) // self.gpus))
        elif self.gpus > 0:
            slots = min(slots, int(node.get("GPU", 0)) * int(1 / self.gpus))
        if self.memory:
            slots = min(slots, int(node.get("memory", 0) // self.memory))
        return slots

    def __str__(self) -> str:
        return _resources(self.cpus, self.gpus, self.memory or 0)


class NodeWatch:
    """The nodes of a cluster, which come and go."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._missing: dict[Claim, float] = {}
        self.read()

    def read(self) -> Nodes:
        """The nodes that are alive now. Raises ``BenchError`` if the head node does not answer any more."""
        self._check_head()
        self._nodes: Nodes = {node["NodeID"]: dict(node["Resources"]) for node in self._ray.nodes() if node["Alive"]}
        self._time = time.monotonic()
        return self._nodes

    def _check_head(self) -> None:
        """Ray would end this process a minute after its head node."""
        host, _, port = str(self._ray.get_runtime_context().gcs_address).rpartition(":")
        end = time.monotonic() + HEAD_PATIENCE
        while True:
            try:
                socket.create_connection((host.strip("[]"), int(port)), HEAD_PATIENCE).close()
                return
            except OSError as error:
                if time.monotonic() > end:
                    raise BenchError(
                        f"The head node of the Ray cluster, {host}:{port}, does not answer any more ({error}). Finished cells "
                        "are stored; start the cluster again, and the same command continues with the rest."
                    ) from error
            time.sleep(1)

    def recent(self) -> Nodes:
        """The nodes that were alive a moment ago."""
        return self._nodes if time.monotonic() < self._time + INTERVAL else self.read()

    def stays(self, node: str | None) -> bool:
        """Whether a node, on which a process died, is still alive a moment later. None, an unknown node, is not."""
        end = time.monotonic() + GRACE
        while alive := node in self.read():
            if time.monotonic() > end:
                break
            time.sleep(GRACE / 10)
        return alive

    def slots(self, claim: Claim) -> int:
        """How many cells with this claim the cluster runs at a time."""
        return sum(claim.slots(node) for node in self.recent().values())

    def missing(self, claim: Claim) -> float:
        """For how many seconds no node has been large enough for a cell with this claim."""
        if self.slots(claim):
            self._missing.pop(claim, None)
            return 0.0
        return time.monotonic() - self._missing.setdefault(claim, time.monotonic())


def too_large(claim: Claim, nodes: Nodes) -> str:
    """The sentence for a claim that no node can satisfy."""
    have = {_resources(node.get("CPU", 0), node.get("GPU", 0), node.get("memory", 0)) for node in nodes.values()}
    return (
        f"No node of the Ray cluster can run a cell that claims {claim}; the nodes have "
        f"{'; '.join(sorted(have)) or 'nothing'}. Lower --cpus, --gpus or --memory, or add a larger node."
    )


def gigabytes(size: float) -> str:
    """As ``--memory`` takes it: a gigabyte has 2^30 bytes."""
    return f"{size / 2**30:.3g} GB"


def _resources(cpus: float, gpus: float, memory: float) -> str:
    parts = [f"{cpus:g} CPU", f"{gpus:g} GPU" if gpus else "", gigabytes(memory) if memory else ""]
    return ", ".join(part for part in parts if part)
