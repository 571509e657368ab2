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


class TimeLeft:
    """Estimates the time left of a run.

    A cell takes as long as the mean of the finished cells of its task and method; if there are none, as the mean over the other
    methods of its task. ``cells`` are paths of records, ``<task>/v<n>/<method>/seed<k>.json``. ``before``: mean seconds of
    cells that were finished before the run, by the folder of their records; this run's own cells replace them.
    """

    def __init__(self, cells: Iterable[Path], before: Mapping[Path, float] | None = None) -> None:
        self._unfinished = set(cells)
        self._before = dict(before or {})
        self._seconds: dict[Path, list[float]] = {}

    def finished(self, cell: Path, seconds: float | None) -> None:
        """A cell is over. ``seconds``: None if it says nothing about the duration of others, since it failed."""
        self._unfinished.discard(cell)
        if seconds is not None:
            self._seconds.setdefault(cell.parent, []).append(seconds)

    def estimate(self, running: Mapping[Path, float], at_a_time: int) -> Estimate | None:
        """The time left. None as long as nothing is known about any of its cells.

        ``running``: seconds since each running cell began. ``at_a_time``: cells that run at a time.
        """
        means = self._before | {kind: fmean(seconds) for kind, seconds in self._seconds.items()}
        left = {cell: self._left(cell, running.get(cell, 0.0), means) for cell in self._unfinished}
        known = [seconds for seconds in left.values() if seconds is not None]
        if left and not known:
            return None
        shared = sum(known) / max(1, min(at_a_time, len(known)))
        longest = max(known, default=0.0)  # no number of processes makes one cell faster
        return Estimate(max(shared, longest), complete=len(known) == len(left))

    def _left(self, cell: Path, elapsed: float, means: Mapping[Path, float]) -> float | None:
        kind, task = cell.parent, cell.parent.parent
        others = [mean for other, mean in means.items() if other.parent == task]
        if not others:
            return None
        return max(0.0, means.get(kind, fmean(others)) - elapsed)
