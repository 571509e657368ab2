"""Runs a published cell again, and compares.

Where machine and versions agree, the stored predictions must be the same to the bit. Elsewhere, rounding makes a training run
go another way, as another seed does: scores must then lie in the prediction interval of one further seed,
``mean ± t(n - 1) s sqrt(1 + 1/n)`` (Hahn and Meeker 1991), at a level of 99 % for all scores together (Bonferroni).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import mean, stdev
from typing import Literal

import numpy as np
from scipy.stats import t as student

from bbh_bench.api import Arrays
from bbh_bench.errors import BenchError
from bbh_bench.plugins import Plugins
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store
from bbh_bench.running.cell import Result
from bbh_bench.running.options import RunOptions
from bbh_bench.running.plan import plan
from bbh_bench.running.progress import Silent
from bbh_bench.running.run import run_cells

LEVEL = 0.99
FEWEST = 3
"""Seeds from which noise can be estimated."""
COMPARED = ("test/error", "ood/*/auroc", "robust/linf/robust_accuracy_auc")
"""Scores that are compared, beside the task's headline. A star stands for any name."""

Outcome = Literal["to the bit", "within noise", "differs"]


@dataclass(frozen=True)
class Rerun:
    """How a cell that was run again compares with its record."""

    outcome: Outcome
    text: str
    """In one sentence."""
    vector: str | None
    """Vector instructions of this machine."""


def rerun(
    record: Record, store: Store, published: Sequence[Record], plugins: Plugins, data: str | None = None
) -> Rerun:
    """Run the cell of a record again on this machine, without looking at the record, and compare.

    ``published`` are the records of its folder, whose other seeds say how large the noise is.

    Raises ``BenchError`` if its task, method, attacks or data are not at hand, and for a record of a failed cell.
    """
    if not record.finished:
        raise BenchError(f"'{store.root / record.path}' is of a failed cell: there is nothing to compare with.")
    result = _run(record, plugins, data)
    new = result.record
    if not new.finished:
        reason = f"{new.error.type}: {new.error.message}" if new.error else "unknown reason"
        return Rerun("differs", f"the cell failed ({reason})", new.provenance.hardware.vector)
    others = _differences(record, new)
    outcome, text = compared(store.arrays(record), result.arrays, others, _noise(record, new, published))
    return Rerun(outcome, text, new.provenance.hardware.vector)


def _run(record: Record, plugins: Plugins, data: str | None) -> Result:
    own = {attack.name for attack in plugins.tasks[record.task.name].describe().attacks}
    extra = [attack["name"] for attack in record.task.attacks if attack["name"] not in own]
    cells = plan(plugins, [record.task.name], [record.method.name], [record.seed], extra)
    device = "cpu" if record.provenance.device == "cpu" else "cuda"
    options = RunOptions(device=device, data=data)
    return next(iter(run_cells(cells, plugins, options, None, Silent())))


def _differences(old: Record, new: Record) -> list[str]:
    """What differs between the two runs, of what decides the bits."""
    pairs = {
        "version of torch": (old.provenance.packages.get("torch"), new.provenance.packages.get("torch")),
        "version of numpy": (old.provenance.packages.get("numpy"), new.provenance.packages.get("numpy")),
        "vector instructions": (old.provenance.hardware.vector, new.provenance.hardware.vector),
        "number of threads": (old.provenance.hardware.threads, new.provenance.hardware.threads),
        "accelerator": (old.provenance.hardware.accelerator, new.provenance.hardware.accelerator),
        "source code of the method": (old.method.source, new.method.source),
        "code of the suite": (old.provenance.commit, new.provenance.commit),
    }
    return [name for name, (before, now) in pairs.items() if before != now]


def compared(old: Arrays, new: Arrays, others: Sequence[str], noise: "Noise") -> tuple[Outcome, str]:
    """The outcome and a sentence. ``others`` is what differs between the two runs: nothing, and the bits must agree."""
    names = sorted(old.keys() | new.keys())
    wrong = [name for name in names if name not in old or name not in new or not _same(old[name], new[name])]
    if not wrong:
        return "to the bit", f"all {len(names)} arrays are the same to the bit"
    if not others:
        return (
            "differs",
            f"machine and versions agree, but {len(wrong)} of {len(names)} arrays differ ({', '.join(wrong[:5])})",
        )
    because = f"the runs differ in: {', '.join(others)}"
    if noise.seeds < FEWEST:
        return "differs", f"{because}; fewer than {FEWEST} seeds are there, so that its noise is not known"
    outside = noise.outside()
    if outside:
        return "differs", f"{because}; further from the published seeds than another seed: {'; '.join(outside)}"
    return "within noise", f"{because}; {len(noise.scores)} scores are as near as those of another seed"


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


@dataclass(frozen=True)
class Noise:
    """Scores of a new run, each with those of the published seeds."""

    seeds: int
    scores: dict[str, tuple[float, list[float]]]

    def outside(self) -> list[str]:
        """Scores outside of the prediction interval: a phrase each."""
        level = 1 - (1 - LEVEL) / max(1, len(self.scores))
        phrases = []
        for name, (new, published) in self.scores.items():
            n = len(published)
            half = student.ppf((1 + level) / 2, n - 1) * stdev(published) * math.sqrt(1 + 1 / n)
            if not abs(new - mean(published)) <= half + 1e-12:
                phrases.append(f"{name} is {new:.4g}, published {mean(published):.4g} ± {half:.2g}")
        return phrases


def _noise(record: Record, new: Record, published: Sequence[Record]) -> Noise:
    same = [
        other
        for other in published
        if other.finished
        and other.task.fingerprint == record.task.fingerprint
        and (other.method.name, other.method.version) == (record.method.name, record.method.version)
    ]
    names = [name for name in new.scores if _is_compared(name, record.task.headline)]
    known = {name: [other.scores[name] for other in same if name in other.scores] for name in names}
    return Noise(len(same), {name: (new.scores[name], own) for name, own in known.items() if len(own) >= FEWEST})


def _is_compared(name: str, headline: str) -> bool:
    return name == headline or any(fnmatchcase(name, pattern) for pattern in COMPARED)
