"""Which cells a Ray cluster gets again: those whose node was lost, whose process died once, or that ran out of memory."""

from dataclasses import dataclass, replace

from bbh_bench.running.cell import Cell
from bbh_bench.running.ray_nodes import Claim, Nodes, gigabytes

CRASHES = 2
"""Times that the process of a cell may die on a node that lives: the second time it is the cell's own fault."""


@dataclass
class History:
    """What has happened to a cell in this run."""

    claim: Claim
    """For the next attempt."""
    losses: int = 0
    crashes: int = 0


class Retries:
    """Decides whether a cell that gave no result is submitted again. The methods return its final error, or None: again."""

    def __init__(self, claim: Claim, retries: int) -> None:
        self._claim = claim
        self._retries = retries
        self._histories: dict[str, History] = {}

    def claim(self, cell: Cell) -> Claim:
        """What the cell claims in its next attempt."""
        return self._history(cell).claim

    def claims_more(self, cell: Cell) -> bool:
        """Whether it claims more than other cells, because it ran out of memory."""
        return self._history(cell).claim != self._claim

    def lost(self, cell: Cell, reason: str) -> BaseException | None:
        """Its node, or its result, was lost."""
        history = self._history(cell)
        history.losses += 1
        if history.losses <= self._retries:
            return None
        return ConnectionError(
            f"the cell was lost {history.losses} times with the node that ran it; the last time: {reason}"
        )

    def crashed(self, cell: Cell) -> BaseException | None:
        """Its process died, and its node did not."""
        history = self._history(cell)
        history.crashes += 1
        if history.crashes < CRASHES:
            return None
        return ChildProcessError(
            f"the process of the cell died {history.crashes} times, on nodes that went on working: it exited by itself or "
            "crashed, or the system killed it; was there enough memory? A larger --memory lets fewer cells share a node"
        )

    def out_of_memory(self, cell: Cell, nodes: Nodes) -> BaseException | None:
        """It ran out of memory. Its next claim is twice the one that it had, or all of the largest node."""
        history = self._history(cell)
        sizes = [
            node["memory"]
            for node in nodes.values()
            if node.get("memory") and replace(history.claim, memory=None).slots(node)
        ]
        largest = int(max(sizes, default=0))
        had = history.claim.memory or self._share(history.claim, nodes)
        if had >= largest:
            return MemoryError(
                f"the cell ran out of memory with a claim of {gigabytes(had)}, and no node of the cluster has more"
            )
        history.claim = replace(history.claim, memory=min(2 * had, largest))
        return None

    def _history(self, cell: Cell) -> History:
        return self._histories.setdefault(str(cell.path), History(self._claim))

    @staticmethod
    def _share(claim: Claim, nodes: Nodes) -> int:
        """What a cell without a claim can count on: the smallest share that a node has for each of its cells."""
        shares = [node.get("memory", 0) / claim.slots(node) for node in nodes.values() if claim.slots(node)]
        return int(min(shares, default=0))
