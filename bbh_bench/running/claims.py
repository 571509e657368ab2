"""Claims of one run on cells, so that several runs (processes, or machines with a common file system) share a records folder.

Mutual exclusion rests on one operation that is atomic on local and network file systems: exclusive creation of a file. A run
creates its claim and then looks at the others of the cell once more. If another one is live, it withdraws its own. Of two
runs, the one that created its claim later therefore always sees the other. A stale claim is never reused or renamed: its
successor is a file of the next generation, which only one run can create.

A run renews its claims while it lives (a heartbeat). It writes only into files that it created itself: a run that was
suspended so long that others took its cells over cannot overwrite their claims.
"""

import math
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, RLock, Thread
from types import TracebackType
from uuid import uuid4

from msgspec.structs import replace

from bbh_bench.errors import RecordError
from bbh_bench.running.claim import FOLDER, STALE_AFTER, Claim, Content, cell_claims, claim_file, decoded, read_claims
from bbh_bench.running.process_identity import this_process
from bbh_bench.running.shared_folder import FileSystemClock, create_exclusively, remove_empty

INTERVAL = 5.0
"""Seconds between two heartbeats."""
LONGEST_STAGE = 100
"""Characters of a stage's name that are written: tasks may give stages any name, and a claim file has a constant size."""


class Claims:
    """The claims of this run in the records folder ``root``; as a context manager, it renews them until the end.

    ``interval``: seconds between two heartbeats. ``stale_after``: seconds without one after which a claim of another run can
    be taken over; at once if its process on this machine has ended.
    """

    def __init__(self, root: Path, interval: float = INTERVAL, stale_after: float = STALE_AFTER) -> None:
        self.run = uuid4().hex
        self._root = root
        self._interval = interval
        self._stale_after = stale_after
        self._process = this_process()
        self._claimed: dict[Path, tuple[Path, Content]] = {}
        self._doing: dict[Path, tuple[str, float | None, float | None]] = {}
        self._lock = RLock()  # for the files: the heartbeat must not write a claim while it is released
        self._clock = FileSystemClock(root / FOLDER)
        self._end = Event()
        self._heartbeat = Thread(target=self._renew_until_end, name="claims", daemon=True)

    def __enter__(self) -> "Claims":
        self._heartbeat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        if os.getpid() != self._process.pid:
            return  # a fork of the run has no thread, and must leave the run's claims alone
        self._heartbeat.join(self._interval)
        for path in list(self._claimed):
            self.release(path)
        remove_empty(self._root / FOLDER)

    def acquire(self, path: Path) -> bool:
        """Claim the cell whose record is at ``path`` in the folder. False if another run has it.

        Raises ``RecordError`` if the claim cannot be written.
        """
        with self._lock:
            if path in self._claimed:
                return True
            try:
                return self._create(path)
            except OSError as error:
                raise RecordError(
                    f"The cell '{path}' cannot be claimed for this run: '{self._root / FOLDER}' cannot be written to "
                    f"({error.strerror or error}). Make room, or name another folder with --records; finished cells are "
                    "stored, and the same command continues with the rest."
                ) from error

    def release(self, path: Path) -> None:
        """Give up a claim. Ignored for a cell that this run has not claimed."""
        with self._lock, suppress(OSError):  # if the file stays, it becomes stale
            claimed = self._claimed.pop(path, None)
            self._doing.pop(path, None)
            if claimed is not None and os.getpid() == self._process.pid and self._own(claimed[0].read_bytes()):
                claimed[0].unlink()

    def update(self, path: Path, stage: str, fraction: float | None = None, loss: float | None = None) -> None:
        """What a claimed cell is doing, for ``bbh-bench status``: kept in memory, written by the next heartbeat."""
        if path in self._claimed:
            self._doing[path] = (stage, fraction, loss)

    def owner(self, path: Path) -> Claim | None:
        """The live claim of another run on a cell, if there is one."""
        claims = cell_claims(self._root, path, self._clock.now(), self._stale_after)
        return next((claim for claim in claims if not claim.stale and claim.run != self.run), None)

    def all(self) -> list[Claim]:
        """The claims of all runs in the folder, stale ones included, this run's too."""
        return read_claims(self._root, self._clock.now(), self._stale_after)

    def clear_stale(self) -> list[Claim]:
        """Remove what runs that were killed have left, and return their claims. To be called when a run starts."""
        self._clock.measure()
        stale = [claim for claim in self.all() if claim.stale]
        for claim in stale:
            with suppress(RecordError):  # the run itself will say that nothing can be written
                if self.acquire(claim.path):  # so that no two runs remove it
                    self.release(claim.path)
        self._clock.clear(self._stale_after)
        remove_empty(self._root / FOLDER)
        return stale

    def renew(self) -> None:
        """One heartbeat: write all claims again. Does not fail if nothing can be written."""
        self._clock.measure()
        for path in list(self._claimed):
            with self._lock, suppress(OSError):
                if path in self._claimed:  # it may have been released since
                    self._renew(path)

    def _renew_until_end(self) -> None:
        while not self._end.wait(self._interval):
            self.renew()

    def _renew(self, path: Path) -> None:
        file, content = self._claimed[path]
        stage, fraction, loss = self._doing.get(path, (content.stage, content.fraction, content.loss))
        content = replace(content, stage=stage[:LONGEST_STAGE], fraction=_finite(fraction), loss=_finite(loss))
        try:
            with file.open("r+b") as stream:
                if self._own(stream.read()):
                    stream.seek(0)
                    stream.write(content.encode())
                    stream.truncate()
                    self._claimed[path] = file, content
        except FileNotFoundError:  # somebody emptied the folder, or took the cell over: then this has no effect
            self._create(path)

    def _create(self, path: Path) -> bool:
        """Create a claim unless another run has a live one. Raises ``OSError``."""
        self._clock.measure_first()
        others = cell_claims(self._root, path, self._clock.now(), self._stale_after)
        if any(not claim.stale for claim in others):
            return False
        file = claim_file(self._root, path, 1 + max((claim.generation for claim in others), default=0))
        content = Content(process=self._process, run=self.run, began=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if not create_exclusively(file, content.encode()):
            return False
        others = cell_claims(self._root, path, self._clock.now(), self._stale_after)
        others = [claim for claim in others if claim.file != file]
        if any(not claim.stale for claim in others):
            file.unlink(missing_ok=True)
            return False
        for claim in others:
            with suppress(OSError):
                claim.file.unlink()
        self._claimed[path] = file, content
        return True

    def _own(self, content: bytes) -> bool:
        found = decoded(content)
        return found is not None and found.run == self.run


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
