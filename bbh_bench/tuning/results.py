"""The results of a search as a file: one JSON file for each task and method."""

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import msgspec

from bbh_bench.errors import RecordError
from bbh_bench.records.files import write_atomically
from bbh_bench.records.record import Provenance

SCHEMA = 1


class Fitted(msgspec.Struct, forbid_unknown_fields=True):
    """One fit of a trial."""

    seed: int
    nll: float | None
    """Mean negative log-likelihood of the validation data, in nats. None if the fit failed."""
    processor_seconds: float
    """Of the fit. On a GPU, the time that it took."""
    error: str | None = None
    """What a fit that failed raised."""


class Trial(msgspec.Struct, forbid_unknown_fields=True):
    """One choice of hyperparameters, and its fits."""

    number: int
    """0 for the method's defaults."""
    values: dict[str, Any]
    fits: list[Fitted]

    def nlls(self) -> list[float]:
        """Of all fits; infinite for one that failed."""
        return [math.inf if fit.nll is None else fit.nll for fit in self.fits]

    @property
    def mean(self) -> float:
        """Mean of the negative log-likelihood over seeds, in nats. Infinite if a fit failed."""
        return fmean(self.nlls())

    @property
    def standard_error(self) -> float:
        """Of the mean. Not a number if there is one seed only, or if a fit failed."""
        values = self.nlls()
        if len(values) < 2 or not math.isfinite(self.mean):
            return math.nan
        return stdev(values) / math.sqrt(len(values))


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What all results of a file have in common. Results of other settings cannot be added."""

    task: str
    fit: str
    """Digest of what a fit depends on of the task: data, network, likelihood, budget."""
    method: str
    method_version: int
    source: str | None
    """Digest of the method's source code."""
    hyperparameters: dict[str, Any]
    """The defaults: trial 0. Trials change those that the space names."""
    space: dict[str, Any]
    seeds: list[int]
    search_seed: int
    epochs: int
    device: str
    torch: str | None


class Search(msgspec.Struct, forbid_unknown_fields=True):
    """All results of one method on one task."""

    schema: int
    settings: Settings
    trials: list[Trial]
    provenance: Provenance
    """Of the run that created the file."""

    def trial(self, number: int) -> Trial | None:
        """A trial by its number."""
        return next((trial for trial in self.trials if trial.number == number), None)

    def nll(self, number: int, seed: int) -> float:
        """Negative log-likelihood of one fit, in nats. Infinite if it failed or was not run."""
        trial = self.trial(number)
        fits = [] if trial is None else [fit.nll for fit in trial.fits if fit.seed == seed]
        return fits[0] if fits and fits[0] is not None else math.inf

    def complete(self) -> list[Trial]:
        """The trials of which every seed was fitted, in the order of their numbers."""
        seeds = set(self.settings.seeds)
        done = [trial for trial in self.trials if {fit.seed for fit in trial.fits} == seeds]
        return sorted(done, key=lambda trial: trial.number)


def path_of(folder: Path, task: str, method: str) -> Path:
    """Where the results of a method on a task are."""
    return folder / task / f"{method}.json"


def read(path: Path) -> Search | None:
    """None if there is no such file. Raises ``RecordError`` if it does not contain the results of a search."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"'{path}' cannot be read ({error.strerror}).") from error
    try:
        search = msgspec.json.decode(content, type=Search)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(
            f"'{path}' does not contain the results of a search: {error}. Delete it or name another folder."
        ) from error
    if search.schema != SCHEMA:
        raise RecordError(f"'{path}' has schema {search.schema}; this version reads schema {SCHEMA}.")
    return search


def write(path: Path, search: Search) -> None:
    """Replace the file as a whole. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(search), indent=1) + b"\n")


def read_all(folder: Path) -> Iterator[Search]:
    """All results in a folder, by task and method. Raises ``RecordError``."""
    for path in sorted(folder.glob("*/*.json")):
        search = read(path)
        if search is not None:
            yield search


def check_settings(path: Path, stored: Settings, wanted: Settings) -> None:
    """Raise ``RecordError``, which names the first difference, unless the settings are equal."""
    for field in msgspec.structs.fields(Settings):
        old, new = (msgspec.to_builtins(settings)[field.name] for settings in (stored, wanted))
        if old != new:
            raise RecordError(
                f"The results in '{path}' were computed with another {field.name.replace('_', ' ')} ({old}; now: {new}). "
                "Choose another folder with --results, or delete the file."
            )
