"""Runs cells on the machines of a Ray cluster: the driver submits them, receives their results, and answers for lost nodes."""

import pickle
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Protocol

import msgspec
import torch

from bbh_bench.errors import BenchError
from bbh_bench.running.cell import Cell, Result
from bbh_bench.running.context import RunContext
from bbh_bench.running.executors import CellObserver, Results
from bbh_bench.running.progress import Observer
from bbh_bench.running.ray_connection import connected
from bbh_bench.running.ray_messages import Inbox
from bbh_bench.running.ray_node import Errand, Installation, run_errand
from bbh_bench.running.ray_nodes import Claim, NodeWatch, too_large
from bbh_bench.running.ray_outcomes import Again, Attempt, Outcome, Outcomes
from bbh_bench.running.ray_retries import Retries
from bbh_bench.running.runner import failure
from bbh_bench.running.worker import WorkerSettings, pack

POLL = 0.2
"""Seconds between two looks at messages and time limits."""
DELIVERED = 2.0
"""Seconds for the last messages of a cell that is over."""
CANCELLING = 5.0
"""Seconds that running cells get to be cancelled when a run is left."""
STARTING = 300.0
"""Seconds that a cell with a time limit gets in addition for what comes before its first stage, such as imports."""
NODES_RETURN = 3600.0
"""Seconds that a run whose cells have run already waits for a node that is large enough."""


class Cells(Protocol):
    """The cells of a run that wait: see ``queue.CellQueue``."""

    def take(self) -> Cell | None:
        """The next cell that this run may run now."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether ``take`` may give another cell later."""
        ...

    def put_back(self, cell: Cell) -> None:
        """The cell is the next one again."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class RayOptions:
    """Which cluster, and what a cell gets of it. Raises ``BenchError`` for claims that Ray does not know."""

    address: str | None = None
    """HOST:PORT of the head node; ``auto``: the cluster that this machine belongs to; None: that of $RAY_ADDRESS, or this
    machine alone."""
    cpus: int = 1
    """CPUs, and torch's threads, for each cell."""
    gpus: float = 0
    """GPUs for each cell; a share, such as 0.25, lets cells share one."""
    memory: int | None = None
    """Bytes for each cell: a claim, and the limit of its process. A cell that ran out of memory runs again with more."""
    timeout: float | None = None
    """Seconds for each cell, from its first stage on."""
    jobs: int | None = None
    """At most so many cells at a time. None: as many as the cluster can run."""
    retries: int = 3
    """How often a cell whose node was lost is submitted again."""
    wait_for_nodes: float = 30.0
    """Seconds that a node which is large enough may take to join."""

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise BenchError(f"--cpus {self.cpus}: a cell needs at least one CPU.")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise BenchError(f"--gpus {self.gpus:g}: write a whole number of GPUs, or a share of one between 0 and 1.")

    @property
    def claim(self) -> Claim:
        """Of one cell."""
        return Claim(self.cpus, self.gpus, self.memory)


def node_device(name: str, options: RayOptions) -> torch.device:
    """The device of cells for ``--device``, whatever the driver has. Raises ``BenchError`` for cuda without a GPU claim."""
    if name == "cuda" and not options.gpus:
        raise BenchError(
            "--device cuda with --executor ray needs a claim: add --gpus 1, or a share such as --gpus 0.25."
        )
    return torch.device("cuda" if options.gpus and name != "cpu" else "cpu")


def ray_cluster(
    context: RunContext, queue: Cells, settings: WorkerSettings, options: RayOptions, observer: Observer
) -> Results:
    """Run the cells of ``queue`` on a Ray cluster, each in a fresh process; results in the order in which they are ready.

    ``settings`` are those of a cell; its folders must be absolute and exist on every node, and its number of threads is
    replaced by ``options.cpus``. Plugin files are sent along. Ray never repeats a cell by itself: ``Retries`` decides. Closing
    the generator cancels what runs. The caller stores results, and releases cells.

    Raises ``BenchError`` if Ray or the cluster cannot be used, or no node is large enough; ``ContractError`` for a cell that
    cannot be sent.
    """
    if not len(queue) and not queue.waiting:
        return
    with connected(options.address) as ray:
        driver = Driver(ray, context, settings, options, observer)
        try:
            while True:
                driver.submit(queue)
                if driver.idle and not queue.waiting and not len(queue):
                    return
                yield from driver.poll(queue)
        finally:
            driver.cancel()


class Driver:
    """The side of the run: what is submitted, and what becomes of it."""

    def __init__(
        self, ray: Any, context: RunContext, settings: WorkerSettings, options: RayOptions, observer: Observer
    ) -> None:
        self._ray = ray
        self._context = context
        self._options = options
        self._observer = observer
        self._plugins = tuple((file.name, file.read_bytes()) for file in settings.plugin_files)
        self._settings = replace(
            settings,
            context=replace(settings.context, metrics=()),
            folder=settings.folder.resolve(),
            threads=options.cpus,
            plugin_files=(),
        )
        self._installation = Installation.here(context.provenance.packages)
        self._inbox = Inbox(ray)
        self._nodes = NodeWatch(ray)
        self._retries = Retries(options.claim, options.retries)
        self._outcomes = Outcomes(ray, self._retries, self._nodes)
        self._task = ray.remote(max_calls=1, max_retries=0)(run_errand)
        self._attempts: dict[int, Attempt] = {}
        self._number = 0
        self._any_started = False

    @property
    def idle(self) -> bool:
        """Whether nothing is submitted."""
        return not self._attempts

    def submit(self, queue: Cells) -> None:
        """Submit as many cells as can run, and a few more so that no node waits."""
        slots = self._nodes.slots(self._options.claim)
        limit = self._options.jobs or slots + max(2, slots // 4)
        while len(self._attempts) < limit and (cell := queue.take()) is not None:
            self._number += 1
            claim = self._retries.claim(cell)
            settings = replace(self._settings, memory=claim.memory)
            errand = pickle.dumps(Errand(settings, self._plugins, pack(cell)))
            task = self._task.options(num_cpus=claim.cpus, num_gpus=claim.gpus, memory=claim.memory)
            reference = task.remote(self._installation, errand, self._inbox.mailbox, self._number)
            self._attempts[self._number] = Attempt(cell, self._number, reference, claim)

    def poll(self, queue: Cells) -> Iterator[tuple[Cell, Result]]:
        """Wait a moment, pass messages on, and yield the results of cells that are over. Cells to repeat are put back."""
        attempts = {attempt.task: attempt for attempt in self._attempts.values()}
        if not attempts:
            self._observer.waiting(len(queue))
            time.sleep(POLL)
            return
        ready, _ = self._ray.wait(list(attempts), timeout=POLL)
        self._pass_on(self._inbox.read(DELIVERED if ready else 0))
        over: list[tuple[Attempt, Outcome]] = [(attempts[task], self._outcomes.of(attempts[task])) for task in ready]
        over += [
            (attempt, error)
            for task, attempt in attempts.items()
            if task not in ready and (error := self._ended(attempt))
        ]
        for attempt, outcome in over:
            del self._attempts[attempt.number]
            if isinstance(outcome, Again):
                self._print(attempt.cell, self._notice(attempt, outcome))
                queue.put_back(attempt.cell)
                continue
            if attempt.started is None:  # its message was lost
                self._observer.cell_started(attempt.cell)
            yield attempt.cell, outcome if isinstance(outcome, Result) else self._failure(attempt, outcome)

    def cancel(self) -> None:
        """Cancel everything, and wait for that for a moment."""
        tasks = [attempt.task for attempt in self._attempts.values()]
        with suppress(Exception):  # the cluster may be gone
            for task in tasks:
                self._ray.cancel(task, force=True)
            if tasks:
                self._ray.wait(tasks, num_returns=len(tasks), timeout=CANCELLING)

    def _pass_on(self, messages: list[tuple[Any, ...]]) -> None:
        for number, kind, *values in messages:
            attempt = self._attempts.get(number)
            if attempt is None:  # it is over, for the driver
                continue
            progress = CellObserver(self._observer, attempt.cell)
            match kind, values:
                case "started", (node, hardware):
                    attempt.started, attempt.node, attempt.hardware = time.monotonic(), node, hardware
                    self._any_started = True
                    self._observer.cell_started(attempt.cell)
                case "stage", (name,):
                    if not attempt.working:
                        attempt.working, attempt.started = True, time.monotonic()
                    progress.stage(name)
                case "fitting", (fraction, loss):
                    progress.fitting(fraction, loss)
                case "printed", (line,):
                    self._print(attempt.cell, line)

    def _print(self, cell: Cell, line: str) -> None:
        with suppress(OSError):  # nobody reads it any more
            self._observer.printed(cell, line)

    def _notice(self, attempt: Attempt, again: Again) -> str:
        claim = self._retries.claim(attempt.cell)
        return f"{again.why}; it runs again" + (f", with a claim of {claim}" if claim != attempt.claim else "")

    def _ended(self, attempt: Attempt) -> BaseException | None:
        """End an attempt that takes too long, or for which no node is large enough, and return why.

        Raises ``BenchError`` if no node is large enough for any cell.
        """
        error: BaseException
        if attempt.started is not None:
            limit = (self._options.timeout or inf) + (0 if attempt.working else STARTING)
            if time.monotonic() - attempt.started <= limit:
                return None
            error = TimeoutError(f"the cell was stopped after {self._options.timeout:g} s (--timeout).")
        else:
            patience = NODES_RETURN if self._any_started else self._options.wait_for_nodes
            if self._nodes.missing(attempt.claim) <= patience:
                return None
            sentence = too_large(attempt.claim, self._nodes.read())
            if attempt.claim == self._options.claim:
                raise BenchError(sentence)
            error = MemoryError(f"the cell ran out of memory, and its larger claim cannot be satisfied. {sentence}")
        self._ray.cancel(attempt.task, force=True)
        return error

    def _failure(self, attempt: Attempt, error: BaseException) -> Result:
        """The record of a failure, with the hardware of the node if that is known."""
        provenance = self._context.provenance
        if attempt.hardware is not None:
            provenance = msgspec.structs.replace(provenance, hardware=attempt.hardware)
        return failure(replace(self._context, provenance=provenance), attempt.cell, error)
