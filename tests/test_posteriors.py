"""A kept posterior is the one that was fitted, is found by all that its fit depended on, and its record says so."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import QUICK, TINY

from bbh_bench.errors import BenchError
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import LAYER_WISE, SINGLE, SLICED
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.mnf import Mnf
from bbh_bench.running.plan import Cell
from bbh_bench.running.posterior_cache import Fitted, Posteriors, fit_key
from bbh_bench.running.progress import Progress
from bbh_bench.running.provenance import provenance
from bbh_bench.running.runner import Bench, run_cell
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import small_problem

METHODS = [QUICK, Ensemble(members=2), Dropout(), Bbb(), Mnf(), LAYER_WISE, SLICED, SINGLE]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.filterwarnings("ignore::bbh_bench.methods.bbh.DeadGeneratorWarning")
def test_a_kept_posterior_draws_the_same_networks(tmp_path, cpu, method):
    problem = small_problem(epochs=2)
    posterior = method.fit(problem)
    Posteriors(tmp_path).put("key", Fitted(posterior, 1.0, [0.1], 5, {"commit": "abc"}))
    kept = Posteriors(tmp_path).get("key", cpu)
    assert (kept.seconds, kept.reference, kept.peak_memory, kept.provenance) == (1.0, [0.1], 5, {"commit": "abc"})
    assert kept.posterior.parameters == posterior.parameters
    outputs = []
    for each in (posterior, kept.posterior):
        seed_everything(3)
        outputs.append(each.sample(4)(problem.x))
    assert outputs[0].equal(outputs[1])


def test_the_key_changes_with_what_the_fit_depends_on():
    problem = small_problem()
    keys = [
        fit_key(problem, QUICK, 0, {"torch": "2"}),
        fit_key(problem, QUICK, 1, {"torch": "2"}),
        fit_key(problem, QUICK, 0, {"torch": "3"}),
        fit_key(problem, replace(QUICK, lr=0.02), 0, {"torch": "2"}),
        fit_key(replace(problem, epochs=81), QUICK, 0, {"torch": "2"}),
        fit_key(replace(problem, batch_size=19), QUICK, 0, {"torch": "2"}),
        fit_key(replace(problem, x=problem.x + 1e-6), QUICK, 0, {"torch": "2"}),
        fit_key(replace(problem, y=problem.y.flip(0)), QUICK, 0, {"torch": "2"}),
        fit_key(replace(problem, network=lambda: torch.nn.Linear(6, 3)), QUICK, 0, {"torch": "2"}),
    ]
    assert len(set(keys)) == len(keys)
    assert fit_key(small_problem(), QUICK, 0, {"torch": "2"}) == keys[0]


def test_a_second_run_finds_the_posterior_and_says_whose_it_is(tmp_path, metrics, cpu):
    bench = Bench(cpu, tuple(metrics), provenance(cpu, {"bbh-bench"}), Posteriors(tmp_path))
    cell = Cell(TINY, QUICK, "bbh-bench", "a line", 0)
    loaded = TINY.load(Path())
    with Progress("test") as progress:
        first, _ = run_cell(bench, cell, loaded, progress)
        again = replace(bench, provenance=bench.provenance | {"command": "another"})
        second, _ = run_cell(again, cell, loaded, progress)
    assert second.scores == first.scores
    assert (first.provenance["fit"], second.provenance["command"]) == ({}, "another")
    assert second.provenance["fit"]["command"] == first.provenance["command"]
    assert second.cost["fit/seconds"] == first.cost["fit/seconds"]
    assert second.cost["fit/fits"] == first.cost["fit/fits"]
    assert "stage/fit/seconds" not in second.cost


def test_a_broken_file_says_what_to_do(tmp_path, cpu):
    (tmp_path / "key.pt").write_bytes(b"nothing")
    with pytest.raises(BenchError, match="Delete it"):
        Posteriors(tmp_path).get("key", cpu)
    assert Posteriors(tmp_path).get("other", cpu) is None


def test_a_posterior_that_cannot_be_pickled_costs_a_warning_alone(tmp_path, cpu):
    fitted = Fitted(lambda n: None, 1.0, [0.1], 5, {})
    with pytest.warns(UserWarning, match="can't be kept"):
        Posteriors(tmp_path).put("key", fitted)
    assert list(tmp_path.iterdir()) == []


def test_a_fit_is_not_lost_with_its_folder(tmp_path):
    (tmp_path / "a-file").write_text("")
    with pytest.warns(UserWarning, match="can't be kept"):
        Posteriors(tmp_path / "a-file").put("key", Fitted(None, 1.0, [0.1], 5, {}))
