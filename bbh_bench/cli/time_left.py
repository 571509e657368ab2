"""How long a run will still take, from the durations of finished cells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from bbh_bench.cli.durations import duration


@dataclass(frozen=True)
class Estimate:
    """Seconds that a run will still take."""

    seconds: float
    complete: bool
    """False if there are tasks of which no cell has finished: the run takes longer than that."""

    def __str__(self) -> str:
        return f"{'' if self.complete else 'at least '}{duration(self.seconds)} left"


@dataclass(frozen=True)
class Begun:
    """How far a running cell is."""

    elapsed: float
    """Seconds since it began."""
    at_least: float = 0.0
    """Seconds that its fit still takes, by its own speed."""


class TimeLeft:
    """Estimates the time left of a run.

    A cell takes as long as the mean of the finished cells of its task and method; if there are none, as the mean over the other
    methods of its task. ``cells`` are paths of records, ``<task>/v<n>/<method>/seed<k>.json``. ``before``: mean seconds of
    cells that were finished before the run, by the folder of their records; this run's own cells replace them.
    """

    def __init__(self, cells: Iterable[Path], before: Mapping[Path, float] | None = None) -> None:
        self._unfinished: dict[Path, set[Path]] = {}
        for cell in cells:
            self._unfinished.setdefault(cell.parent, set()).add(cell)
        self._before = dict(before or {})
        self._seconds: dict[Path, list[float]] = {}

    def finished(self, cell: Path, seconds: float | None) -> None:
        """A cell is over. ``seconds``: None if it says nothing about the duration of others, since it failed."""
        self._unfinished.get(cell.parent, set()).discard(cell)
        if seconds is not None:
            self._seconds.setdefault(cell.parent, []).append(seconds)

    def estimate(self, running: Mapping[Path, Begun], at_a_time: int) -> Estimate | None:
        """The time left. None as long as nothing is known, and when all cells take longer than was expected.

        ``at_a_time``: cells that run at a time.
        """
        left: list[float] = []
        unknown = False
        means = self._before | {kind: fmean(seconds) for kind, seconds in self._seconds.items()}
        for kind, cells in self._unfinished.items():
            begun = [running[cell] for cell in running.keys() & cells]
            expected = _expected(kind, means)
            left += [max(cell.at_least, (expected or 0.0) - cell.elapsed) for cell in begun]
            if expected is None:
                unknown = unknown or bool(cells)
            else:
                left += [expected] * (len(cells) - len(begun))
        known = [seconds for seconds in left if seconds > 0]
        if not known and any(self._unfinished.values()):
            return None
        shared = sum(known) / max(1, min(at_a_time, len(known)))
        longest = max(known, default=0.0)  # no number of processes makes one cell faster
        return Estimate(max(shared, longest), complete=not unknown)


def _expected(kind: Path, means: Mapping[Path, float]) -> float | None:
    """Seconds of a cell of one task and method."""
    if kind in means:
        return means[kind]
    others = [mean for other, mean in means.items() if other.parent == kind.parent]
    return fmean(others) if others else None
