"""Fits the trials of a search and scores each on validation data. Test and OOD data are not looked at."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bbh_bench.api import LoadedTask, Method, Validated
from bbh_bench.data import sealed
from bbh_bench.errors import BenchError, text
from bbh_bench.records.identity import describe, fingerprint, hyperparameters
from bbh_bench.running.cell import Cell
from bbh_bench.running.provenance import provenance
from bbh_bench.running.stages import Stages, cpu_threads
from bbh_bench.tuning.results import SCHEMA, Fitted, Search, Settings, Trial, check_settings, path_of, read, write
from bbh_bench.tuning.trials import Values, draw, search_space, values_of, with_values

FIRST_SEED = 1000
"""Smaller seeds are those of published records."""

Report = Callable[[str, int, Fitted], None]
"""Receives the method's name, the number of a trial, and its fit."""


@dataclass(frozen=True)
class SearchOptions:
    """What a search consists of, for every method."""

    trials: int = 12
    """Including trial 0, the defaults."""
    only: tuple[int, ...] = ()
    """Numbers of the trials to fit. Empty: all."""
    finalists: int = 3
    """Trials that are fitted with all seeds: the best ones with the first seed. Trial 0 is, besides."""
    search_seed: int = 0
    """Of the random choice of hyperparameters."""
    epochs: int | None = None
    """Instead of the task's."""

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the trials."""
        return self.only or tuple(range(self.trials))


def check_seeds(seeds: Iterable[int]) -> None:
    """Raise ``BenchError`` for seeds that published records may have: their test scores may have been seen."""
    published = [seed for seed in seeds if seed < FIRST_SEED]
    if published:
        raise BenchError(
            f"Seed {published[0]} is below {FIRST_SEED}: such seeds are those of published records, and hyperparameters must "
            f"not be chosen with them. Give --seeds numbers from {FIRST_SEED} on."
        )


@dataclass(frozen=True)
class Tuner:
    """Searches the hyperparameters of one method on one task."""

    cells: tuple[Cell, ...]
    """One for each seed, of the method with its defaults."""
    load: Callable[[], LoadedTask]
    """Returns the task with its data. It is called before each fit, for the training data, and again after it."""
    device: torch.device
    options: SearchOptions
    folder: Path

    def run(self, report: Report) -> Search:
        """Fit what the file of results does not have yet, and write the file after each fit.

        Every trial is fitted with the first seed. The best ones, and trial 0, are then fitted with all seeds.

        Raises ``BenchError`` if the method has no search space, the task no validation data, or the file other settings.
        """
        search = self._opened()
        for number in self.options.numbers:
            self._complete(search, number, self.cells[:1], report)
        for number in finalists(search, self.options):
            self._complete(search, number, self.cells, report)
        return search

    def _opened(self) -> Search:
        """The results that are there already, or none."""
        cell = self.cells[0]
        settings = self._settings(describe(search_space(cell.method)))
        search = read(self._path) or Search(SCHEMA, settings, [], provenance(self.device, {cell.package.name}))
        check_settings(self._path, search.settings, settings)
        return search

    @property
    def _path(self) -> Path:
        return path_of(self.folder, self.cells[0].task.name, self.cells[0].method.name)

    def _complete(self, search: Search, number: int, cells: Sequence[Cell], report: Report) -> None:
        """Fit a trial with the seeds of these cells that it does not have yet."""
        method = self.cells[0].method
        trial = search.trial(number)
        if trial is None:
            space = search_space(method)
            trial = Trial(
                number, draw(space, number, self.options.search_seed) if number else values_of(method, space), []
            )
            search.trials.append(trial)
        done = {fit.seed for fit in trial.fits}
        for cell in cells:
            if cell.seed not in done:
                trial.fits.append(self._fit(cell, trial.values))
                write(self._path, search)
                report(method.name, number, trial.fits[-1])

    def _settings(self, space: dict[str, object]) -> Settings:
        cell = self.cells[0]
        loaded = self.load()
        validated(cell.task.name, loaded)
        return Settings(
            task=cell.task.name,
            fit=fingerprint(describe(cell.task_description.fit)),
            method=cell.method.name,
            method_version=cell.method.version,
            source=cell.source,
            hyperparameters=hyperparameters(cell.method),
            space=space,
            seeds=[each.seed for each in self.cells],
            search_seed=self.options.search_seed,
            epochs=self.options.epochs or loaded.problem(self.device).epochs,
            device=self.device.type,
            torch=str(torch.__version__),
        )

    def _fit(self, cell: Cell, values: Values) -> Fitted:
        """One fit. A method that raises has failed with these hyperparameters, and the search goes on."""
        stages = Stages(cell.seed, self.device)
        nll, error = None, None
        with cpu_threads(cell.task_description.threads):
            try:
                nll = self._validation_nll(cell, with_values(cell.method, values), stages)
            except Exception as raised:
                error = f"{type(raised).__name__}: {text(raised)}"
        return Fitted(cell.seed, nll, round(stages.processor_seconds.get("fit", 0.0), 2), error)

    def _validation_nll(self, cell: Cell, method: Method, stages: Stages) -> float:
        """The fit is that of ``bbh-bench run`` with the same seed: the same random numbers, and no test data in the process."""
        problem = self.load().problem(self.device)
        problem = replace(problem, epochs=self.options.epochs or problem.epochs)
        user = f"method '{method.name}'"
        with sealed(user), stages("fit"):
            posterior = method.fit(problem)
        loaded = validated(cell.task.name, self.load())
        with sealed(user):
            return loaded.validation_nll(posterior, self.device, stages)


def finalists(search: Search, options: SearchOptions) -> list[int]:
    """Numbers of the trials that deserve all seeds: the best ones with the first seed, and trial 0 to compare them with."""
    first = search.settings.seeds[0]
    scores = {number: search.nll(number, first) for number in options.numbers}
    ranked = sorted(scores, key=lambda number: scores[number])[: options.finalists]
    return sorted({*ranked, *({0} & scores.keys())})


def validated(task: str, loaded: LoadedTask) -> Validated:
    """The loaded task as one with validation data. Raises ``BenchError`` if it has none."""
    if not isinstance(loaded, Validated):
        raise BenchError(
            f"Task '{task}' has no validation data, on which hyperparameters could be chosen. Choose another task, or give its "
            "loaded task a function validation_nll(): see bbh_bench.api.Validated."
        )
    return loaded
