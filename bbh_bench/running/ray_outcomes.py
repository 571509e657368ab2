"""What became of a cell that a Ray cluster was given, from what Ray says of its task."""

import pickle
from dataclasses import dataclass
from typing import Any

from bbh_bench.errors import BenchError
from bbh_bench.records.record import Hardware, Record
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.ray_nodes import Claim, NodeWatch
from bbh_bench.running.ray_retries import Retries
from bbh_bench.running.worker import not_importable

REMEDY = "Use the same installation on all machines; finished cells are stored, and the same command then continues."


@dataclass
class Attempt:
    """A cell that was submitted."""

    cell: Cell
    number: int
    """It names the messages of this attempt."""
    task: Any
    """Ray's reference to what the task returns."""
    claim: Claim
    started: float | None = None
    """By the monotonic clock of the driver. None: it waits for a node."""
    working: bool = False
    """Whether its first stage has begun."""
    node: str | None = None
    """Ray's id of the node that runs it."""
    hardware: Hardware | None = None
    """Of the node."""


@dataclass(frozen=True)
class Again:
    """The cell is to be submitted again."""

    why: str


Outcome = Result | BaseException | Again
"""The result of a cell, or the error with which it has failed for good, or that it runs again."""


class Outcomes:
    """Reads the outcomes of attempts whose tasks are over."""

    def __init__(self, ray: Any, retries: Retries, nodes: NodeWatch) -> None:
        self._ray = ray
        self._retries = retries
        self._nodes = nodes

    def of(self, attempt: Attempt) -> Outcome:
        """The outcome of one attempt. Raises ``BenchError`` if the node cannot be used: it has another installation."""
        errors = self._ray.exceptions
        try:
            return self._returned(attempt, *self._ray.get(attempt.task))
        except (errors.OutOfMemoryError, MemoryError):
            return self._out_of_memory(attempt)
        except errors.WorkerCrashedError as error:
            if not self._nodes.stays(attempt.node):
                return self._lost(attempt, error)
            return self._retries.crashed(attempt.cell) or Again("its process died")
        except errors.RayTaskError as error:  # not what a method raised, which is in its record
            _check_importable(error)
            return self._lost(attempt, error)
        except errors.RayError as error:
            return self._lost(attempt, error)

    def _returned(self, attempt: Attempt, kind: str, value: Any) -> Outcome:
        """See ``ray_node.run_errand``."""
        if kind == "differs":
            raise BenchError(f"A node of the Ray cluster cannot be used: {value}. {REMEDY}")
        if kind == "unreadable":
            return not_importable(attempt.cell, value)
        result: Result = pickle.loads(value)
        if _ran_out_of_memory(result.record):
            outcome = self._out_of_memory(attempt)
            return outcome if isinstance(outcome, Again) else result
        return result

    def _out_of_memory(self, attempt: Attempt) -> Outcome:
        error = self._retries.out_of_memory(attempt.cell, self._nodes.read())
        return error or Again("it ran out of memory")

    def _lost(self, attempt: Attempt, error: BaseException) -> Outcome:
        first_line = str(error).strip().partition("\n")[0]
        return self._retries.lost(attempt.cell, f"{type(error).__name__}: {first_line}") or Again("its node was lost")


def _check_importable(error: BaseException) -> None:
    """Raise ``BenchError`` if a node has no bbh_bench, or one that does not know what it was sent."""
    unknown = isinstance(error, ImportError | AttributeError | TypeError | pickle.UnpicklingError)
    if unknown or "failed to import" in str(error):
        last_line = str(error).strip().splitlines()[-1]
        raise BenchError(f"A node of the Ray cluster cannot run cells ({last_line}). {REMEDY}") from error


def _ran_out_of_memory(record: Record) -> bool:
    """Whether an allocation of the cell failed, on the CPU."""
    error = record.error
    return error is not None and (error.type == "MemoryError" or "allocate memory" in error.message)
