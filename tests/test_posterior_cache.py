"""A cached posterior is the one that was fitted, is found by everything that its fit depended on, and its record says so."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from helpers import QUICK, TINY, NoProgress, context, planned
from msgspec.structs import replace as changed

from bbh_bench.api import Augmented
from bbh_bench.errors import BenchError, BenchWarning
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import LAYER_WISE, SINGLE, SLICED
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.mnf import Mnf
from bbh_bench.running.clock import Part
from bbh_bench.running.posterior_cache import Fit, PosteriorCache, fit_key
from bbh_bench.running.runner import run_cell
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import small_problem

METHODS = [QUICK, Ensemble(members=2), Dropout(), Bbb(), Mnf(), LAYER_WISE, SLICED, SINGLE]
KEY = {"name": "some", "seed": 0, "source": "a"}
PARTS = [Part(1.0, 0.9, [0.1]), Part(2.0, 1.8, [0.2])]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.filterwarnings("ignore::bbh_bench.methods.bbh.DeadGeneratorWarning")
def test_a_cached_posterior_samples_the_same_networks(tmp_path, cpu, method):
    problem = small_problem(epochs=2)
    posterior = method.fit(problem)
    provenance = context().provenance
    PosteriorCache(tmp_path).put(KEY, Fit(posterior, PARTS, 5, provenance))
    cached = PosteriorCache(tmp_path).get(KEY, cpu)
    assert (cached.parts, cached.peak_memory, cached.provenance) == (PARTS, 5, provenance)
    assert cached.posterior.parameters == posterior.parameters
    outputs = []
    for each in (posterior, cached.posterior):
        seed_everything(3)
        outputs.append(each.sample(4)(problem.x))
    assert outputs[0].equal(outputs[1])


@dataclass(frozen=True)
class Brighter:
    """Adds a number to every pixel."""

    value: float

    def __call__(self, originals):
        return originals + self.value


def test_the_key_changes_with_what_the_fit_depends_on():
    problem, cell = small_problem(), planned(TINY, QUICK)
    task = replace(TINY, network=replace(TINY.network, version=2))
    package = changed(cell.package, version="9")
    augmented = Augmented(problem.x, Brighter(1))
    keys = [
        fit_key(problem, cell, "2"),
        fit_key(problem, replace(cell, seed=1), "2"),
        fit_key(problem, cell, "3"),
        fit_key(problem, replace(cell, method=replace(QUICK, lr=0.02)), "2"),
        fit_key(problem, replace(cell, method=replace(QUICK, version=2)), "2"),
        fit_key(problem, replace(cell, source="another"), "2"),
        fit_key(problem, replace(cell, package=package), "2"),
        fit_key(problem, replace(cell, task_description=task.describe()), "2"),
        fit_key(replace(problem, epochs=81), cell, "2"),
        fit_key(replace(problem, batch_size=19), cell, "2"),
        fit_key(replace(problem, x=problem.x + 1e-6), cell, "2"),
        fit_key(replace(problem, y=problem.y.flip(0)), cell, "2"),
        fit_key(replace(problem, augmented=augmented), cell, "2"),
        fit_key(replace(problem, augmented=replace(augmented, originals=problem.x + 1)), cell, "2"),
        fit_key(replace(problem, augmented=replace(augmented, augmentation=Brighter(2))), cell, "2"),
    ]
    assert all(keys.count(key) == 1 for key in keys)
    assert fit_key(small_problem(), cell, "2") == keys[0]
    evaluation = replace(TINY, attacks=(), samples=5, title="another").describe()
    assert fit_key(problem, replace(cell, task_description=evaluation), "2") == keys[0]  # what comes after the fit


def test_a_second_run_finds_the_posterior_and_records_who_fitted_it(tmp_path):
    bench, cell = context(posteriors=PosteriorCache(tmp_path)), planned(TINY, QUICK)
    loaded = TINY.load(Path())
    first = run_cell(bench, cell, lambda: loaded, NoProgress()).record
    again = replace(bench, provenance=changed(bench.provenance, command="another", commit="another"))
    second = run_cell(again, cell, lambda: loaded, NoProgress()).record
    assert second.scores == first.scores
    assert (first.provenance.fit, second.provenance.command) == (None, "another")
    assert second.provenance.fit.command == first.provenance.command
    assert second.provenance.fit.commit == first.provenance.commit
    assert second.cost["fit/seconds"] == first.cost["fit/seconds"]
    assert second.cost["fit/relative"] == first.cost["fit/relative"]
    assert "stage/fit/seconds" not in second.cost
    edited = run_cell(again, replace(cell, source="edited"), lambda: loaded, NoProgress()).record
    assert edited.provenance.fit is None  # fitted again


def only_file(folder):
    (path,) = folder.iterdir()
    return path


def test_a_broken_file_says_what_to_do(tmp_path, cpu):
    PosteriorCache(tmp_path).put(KEY, Fit(None, PARTS, 5, None))
    only_file(tmp_path).write_bytes(b"nothing")
    with pytest.raises(BenchError, match="Delete it"):
        PosteriorCache(tmp_path).get(KEY, cpu)
    assert PosteriorCache(tmp_path).get(KEY | {"seed": 1}, cpu) is None


def test_a_posterior_of_another_fit_under_the_right_file_name_is_refused(tmp_path, cpu):
    PosteriorCache(tmp_path).put(KEY, Fit(None, PARTS, 5, None))
    right = only_file(tmp_path)
    right.unlink()
    PosteriorCache(tmp_path).put(KEY | {"seed": 1, "source": "b"}, Fit(None, PARTS, 5, None))
    only_file(tmp_path).rename(right)
    with pytest.raises(BenchError, match=r"is that of another fit \(another seed, source\)\. Delete it"):
        PosteriorCache(tmp_path).get(KEY, cpu)
    torch.save(Fit(None, PARTS, 5, None), right)  # without its key
    with pytest.raises(BenchError, match="does not say which fit it is of"):
        PosteriorCache(tmp_path).get(KEY, cpu)


def test_a_posterior_that_cannot_be_pickled_costs_a_warning_only(tmp_path):
    with pytest.warns(BenchWarning, match="cannot be stored"):
        PosteriorCache(tmp_path).put(KEY, Fit(lambda n: None, PARTS, 5, None))
    assert list(tmp_path.iterdir()) == []


def test_a_fit_is_not_lost_with_its_folder(tmp_path):
    (tmp_path / "a-file").write_text("")
    with pytest.warns(BenchWarning, match="cannot be stored"):
        PosteriorCache(tmp_path / "a-file").put(KEY, Fit(torch.zeros(1), PARTS, 5, None))
