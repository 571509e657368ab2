"""Search of hyperparameters. The method and the task of most tests have a validation NLL that is known in closed form."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
import torch
import torch.nn.functional as F
from cli_helpers import Provided, refused
from helpers import QUICK, TINY
from torch import nn

from bbh_bench import cli, hookimpl
from bbh_bench.api import Gaussian, LogUniform, OneOf, Problem, TaskDescription, Uniform
from bbh_bench.errors import BenchError, ContractError, RecordError
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.running.plan import plan
from bbh_bench.running.stages import Stages, seed_everything
from bbh_bench.tasks.classification import ImageData
from bbh_bench.tuning.results import Fitted, read, read_all, write
from bbh_bench.tuning.table import tables
from bbh_bench.tuning.trials import draw, search_space, values_of, with_values
from bbh_bench.tuning.tune import SearchOptions, Tuner

pytest_plugins = ["cli_fixtures"]

ROOT = Path(__file__).parents[1]
SEEDS = (1000, 1001)
SPACE = {"value": Uniform(0.0, 6.0), "kind": OneOf(("plain", "odd"))}


@dataclass(frozen=True)
class Guess:
    """Its posterior is the hyperparameter ``value``, and its fit raises above ``limit``."""

    name: str = "guess"
    version: int = 1
    value: float = 4.0
    kind: str = "plain"
    limit: float = 9.0

    def search_space(self):
        return SPACE

    def fit(self, problem):
        if self.value > self.limit:
            raise ArithmeticError("the loss is not finite")
        return self.value + problem.epochs + torch.rand(()).item() / 1000


@dataclass(frozen=True)
class Number:
    """The validation NLL is the squared distance to 8, of which the epochs are 5."""

    name: str = "number"
    version: int = 1

    def describe(self):
        return TaskDescription("number", "a number", "test/error", fit={}, evaluation={}, threads=1)

    def with_attacks(self, attacks):
        return self

    def load(self, folder):
        return LoadedNumber()

    def score(self, arrays, metrics):
        raise AssertionError("the search scores on validation data only")


class LoadedNumber:
    def problem(self, device):
        x = torch.zeros(4, 1, device=device)
        return Problem(x, x[:, 0], lambda: nn.Linear(1, 1), Gaussian(1.0), epochs=5, batch_size=4)

    def evaluate(self, posterior, device, seed, stage):
        raise AssertionError("the search looks at no test data")

    def validation_nll(self, posterior, device, stage):
        with stage("validate", 4):
            return (posterior - 8) ** 2


class Numbers:
    """A plugin with both."""

    @hookimpl
    def bbh_methods(self):
        return [Guess()]

    @hookimpl
    def bbh_tasks(self):
        return [Number()]


@pytest.fixture
def search(builtin, tmp_path, cpu):
    """Run a search, and return its results with the fits that were not there before: ``(trial, seed)``."""

    def run(method=None, task=None, seeds=SEEDS, stop=None, **options):
        task = task or Number()
        cells = tuple(plan(builtin, [task], [method or Guess()], seeds))
        fits = []

        def report(name, number, fit):
            fits.append((number, fit.seed))
            if len(fits) == stop:
                raise KeyboardInterrupt

        tuner = Tuner(cells, lambda: task.load(tmp_path), cpu, SearchOptions(**options), tmp_path / "results")
        return tuner.run(report), fits

    return run


def test_shares_of_a_distribution_are_its_quantiles():
    assert [Uniform(2.0, 4.0).at(share) for share in (0.0, 0.25)] == [2.0, 2.5]
    assert [LogUniform(1e-4, 1e-2).at(share) for share in (0.0, 0.5)] == [1e-4, 1e-3]
    assert [OneOf((1, 8, 64)).at(share) for share in (0.0, 0.34, 0.99)] == [1, 8, 64]


def test_drawn_values_cover_the_space_and_depend_on_nothing_but_seed_trial_and_name():
    drawn = [draw(SPACE, trial, 0) for trial in range(1, 201)]
    values = [each["value"] for each in drawn]
    assert min(values) < 0.3
    assert max(values) > 5.7
    assert 60 < sum(each["kind"] == "odd" for each in drawn) < 140
    assert len(set(values)) > 150
    assert draw(SPACE | {"limit": Uniform(0.0, 1.0)}, 7, 0)["value"] == drawn[6]["value"]
    assert draw(SPACE, 7, 1) != drawn[6]


def test_a_name_with_a_point_is_a_field_of_a_field():
    ensemble = Ensemble(base=Map(lr=0.1))
    assert values_of(ensemble, search_space(ensemble)) == {"base.lr": 0.1}
    assert with_values(ensemble, {"base.lr": 0.2}) == Ensemble(base=Map(lr=0.2))


def test_every_built_in_method_has_a_search_space_without_the_prior(builtin):
    for method in builtin.methods.values():
        space = search_space(method)
        assert any(name.rpartition(".")[2] == "lr" for name in space)
        assert not any("prior" in name for name in space)
        assert with_values(method, values_of(method, space)) == method
        assert with_values(method, draw(space, 1, 0)) != method


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        ({"rate": Uniform(0.0, 1.0)}, "'rate', which is none of its fields"),
        ({"value.lr": Uniform(0.0, 1.0)}, "'value.lr', which is none of its fields"),
        ({"value": (0.0, 1.0)}, r"'value' with \(0.0, 1.0\)"),
        ({"value": LogUniform(0.0, 1.0)}, "0 < low"),
        ({"value": Uniform(2.0, 1.0)}, "Use Uniform"),
        ({"kind": OneOf(())}, "at least one value"),
        (None, r"search_space\(\) of method 'guess' raised TypeError"),
    ],
)
def test_a_space_that_is_not_valid_is_refused(monkeypatch, space, reason):
    monkeypatch.setattr(Guess, "search_space", lambda self: space)
    with pytest.raises(ContractError, match=reason):
        search_space(Guess())


def test_all_trials_have_the_first_seed_and_the_best_ones_and_the_defaults_all_seeds(search):
    result, fits = search(trials=6, finalists=2)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3, 4, 5]
    assert result.trials[0].values == {"value": 4.0, "kind": "plain"}
    distances = {trial.number: abs(trial.values["value"] - 3) for trial in result.trials}
    best = sorted(distances, key=lambda number: distances[number])[:2]
    assert {trial.number for trial in result.complete()} == {0, *best}
    assert fits == [(n, 1000) for n in range(6)] + [(n, 1001) for n in sorted({0, *best})]
    for trial in result.complete():
        assert trial.mean == pytest.approx(distances[trial.number] ** 2, abs=0.01)
        assert trial.fits[0].nll != trial.fits[1].nll  # each seed has its random numbers


def test_an_interrupted_search_goes_on_and_gives_the_same_results(search, tmp_path):
    undisturbed, fits = search(trials=4)
    (path,) = (tmp_path / "results").rglob("*.json")
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        search(trials=4, stop=2)
    result, rest = search(trials=4)
    assert rest == fits[2:]
    assert nlls(result) == nlls(undisturbed) == nlls(read(path))
    more, added = search(trials=5)
    assert added[0] == (4, 1000)
    assert nlls(more).items() >= {(0, 1000): nlls(result)[0, 1000]}.items()


def nlls(result):
    return {(trial.number, fit.seed): fit.nll for trial in result.trials for fit in trial.fits}


def test_some_trials_only_with_another_budget(search):
    result, fits = search(only=(0, 3), epochs=4, finalists=1)
    assert {number for number, _ in fits} == {0, 3}
    assert result.settings.epochs == 4
    assert result.trial(0).mean == pytest.approx(0.0, abs=0.01)  # 4 + 4 epochs


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"method": Guess(value=5.0)}, "another hyperparameters"),
        ({"seeds": (1000, 1002)}, "another seeds"),
        ({"search_seed": 1}, "another search seed"),
        ({"epochs": 2}, "another epochs"),
    ],
)
def test_results_of_other_settings_are_not_mixed(search, changed, name):
    search(trials=1)
    with pytest.raises(RecordError, match=name):
        search(**({"trials": 1} | changed))


def test_a_fit_that_fails_is_recorded_and_never_the_best(search):
    result, _ = search(method=Guess(limit=3.5), trials=6, finalists=2)
    failed = [trial for trial in result.trials if trial.values["value"] > 3.5]
    assert 0 in [trial.number for trial in failed]
    assert all(trial.fits[0].error == "ArithmeticError: the loss is not finite" for trial in failed)
    assert [trial.number for trial in result.complete() if trial not in failed]
    assert "failed: ArithmeticError" in tables([result])


class Untouchable:
    """Stands for data that must not be looked at."""

    def __getattribute__(self, name):
        raise AssertionError(f"test or OOD data were touched: {name}")


class Hidden:
    """The data of the tiny task without test and OOD sets."""

    def digests(self):
        return TINY.source.digests()

    def load(self, folder):
        data = TINY.source.load(folder)
        return ImageData(data.train, data.validation, Untouchable(), Untouchable())


def test_the_score_is_the_mean_nll_of_validation_images_by_the_fit_of_a_run_and_test_data_are_not_touched(search, cpu):
    result, _ = search(QUICK, replace(TINY, source=Hidden()), seeds=(1000,), trials=1)
    loaded = TINY.load(Path())
    seed_everything(1000, "fit")
    posterior = QUICK.fit(loaded.problem(cpu))
    x, y = loaded.data.validation
    expected = F.cross_entropy(posterior.sample(1)(x)[0], y).item()
    assert result.trial(0).mean == pytest.approx(expected, rel=1e-3)  # stored predictions have half precision


def test_a_classification_without_validation_images_is_refused(cpu):
    loaded = TINY.load(Path())
    x, y = loaded.data.validation
    empty = replace(loaded, data=replace(loaded.data, validation=(x[:0], y[:0])))
    with pytest.raises(BenchError, match="'tiny' has no validation images"):
        empty.validation_nll(None, cpu, Stages(0, cpu))


def test_the_command_prints_and_stores_and_repeats_no_fit(folder, install, capsys):
    install(Numbers())
    arguments = ["tune", "--task", "number", "--method", "guess", "--trials", "3", "--seeds", "1000,1001"]
    assert cli.main(arguments) == 0
    first = capsys.readouterr()
    assert first.err.startswith("guess trial 0, seed 1000: validation NLL 1.00")
    assert first.err.count("\n") == 6
    assert cli.main(arguments) == 0
    assert capsys.readouterr() == (first.out, "")
    assert cli.main(["tune", "--report"]) == 0
    assert capsys.readouterr().out == first.out
    (result,) = read_all(folder / "tuning")
    assert result.settings.seeds == [1000, 1001]
    assert "| guess    | 3        | defaults | value 4, kind plain" in first.out
    assert result.provenance.command.startswith(Path(sys.argv[0]).name)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--seeds", "3,1000"], ["Seed 3 is below 1000", "published"]),
        (["--task", "toy"], ["'toy' has no validation data"]),
        (["--method", "failing"], ["'failing' has no search space"]),
        (["--trials", "0"], ["--trials"]),
        (["--only", "x"], ["--only", "0,4,7-9"]),
        (["--search-seed", "-1"], ["--search-seed"]),
        (["--report", "--results", "nowhere"], ["no results in 'nowhere'", "--report"]),
    ],
)
def test_mistakes(folder, install, capsys, arguments, parts):
    from helpers import Failing

    install(Provided(more=[Failing()]))
    refused(capsys, ["tune", *([] if "--method" in arguments else ["--method", "map"]), *arguments], *parts)
    assert not list(folder.iterdir())


def test_a_file_that_is_no_result_is_refused_and_named(search, tmp_path):
    path = tmp_path / "results" / "number" / "guess.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(RecordError, match=r"guess\.json' does not contain the results of a search"):
        search(trials=1)
    path.unlink()
    result, _ = search(trials=1)
    write(path, msgspec.structs.replace(result, schema=2))
    with pytest.raises(RecordError, match="has schema 2"):
        search(trials=1)


def test_the_table_orders_trials_by_their_mean_and_shows_the_defaults(search):
    result, _ = search(trials=6, finalists=2)
    rows = [line.split("|")[3].strip() for line in tables([result], best=1).splitlines()[4:]]
    best = min(result.complete(), key=lambda trial: trial.mean)
    assert rows == [str(best.number), "defaults"]
    single = msgspec.structs.replace(best, fits=[Fitted(1000, 0.5, 1.0)])
    assert "0.5000" in tables([msgspec.structs.replace(result, trials=[single], settings=one_seed(result))])


def one_seed(result):
    return msgspec.structs.replace(result.settings, seeds=[1000])


@pytest.mark.parametrize("folder", ["search", "candidates", "chosen"])
def test_the_tables_of_the_docs_are_those_of_the_results(folder):
    results = list(read_all(ROOT / "docs" / "tuning" / folder))
    assert results
    assert tables(results) in (ROOT / "docs" / "tuning.md").read_text()


def test_the_published_search_is_the_same_for_every_method(builtin):
    """As many trials of every method, with the same seeds, and the drawn values are those that the command draws."""
    results = [each for each in read_all(ROOT / "docs" / "tuning" / "search") if each.settings.task == "digits5"]
    assert len({(len(each.trials), *each.settings.seeds, each.settings.search_seed) for each in results}) == 1
    for each in results:
        space = search_space(builtin.methods[each.settings.method])
        drawn = {trial.number: trial.values for trial in each.trials if trial.number > 0}
        assert drawn == {number: draw(space, number, each.settings.search_seed) for number in drawn}
