"""``--no-fast``: the plain computations give the scores of the fast ones, and every process of a run uses them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import TINY, context, planned

import bbh_bench
from bbh_bench.acceleration import accelerated, acceleration
from bbh_bench.inference.adam import Adam
from bbh_bench.inference.training import adam
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import Bbh
from bbh_bench.methods.dropout import Dropout, live_dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.methods.mnf import Mnf
from bbh_bench.running.cell import fit_identity
from bbh_bench.running.options import RunOptions
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import small_problem

PLUGIN = Path(__file__).with_name("line_plugin.py")
SHORT = replace(TINY, attacks=(), attacked=0, epochs=2)
WARNING = "run without the suite's accelerations (--no-fast): its costs are not those of a usual run"


def records(method, seeds, fast):
    results = bbh_bench.run(methods=[method], tasks=[SHORT], seeds=seeds, options=RunOptions(fast=fast))
    assert all(result.record.finished for result in results), results[0].record.error
    return [result.record for result in results]


@pytest.mark.parametrize("method", [Map(), Ensemble(members=2), Bbb()], ids=lambda method: method.name)
def test_where_both_ways_use_the_same_random_numbers_scores_are_equal_up_to_rounding(method):
    (fast,), (plain,) = (records(method, [0], fast) for fast in (True, False))
    assert WARNING in plain.warnings
    assert WARNING not in fast.warnings
    assert plain.task == fast.task  # the fingerprint, too
    assert plain.scores == pytest.approx(fast.scores, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("method", [Dropout(), Mnf(), Bbh()], ids=lambda method: method.name)
def test_where_they_use_others_scores_are_equal_within_noise(method):
    """Two seeds each. The log-likelihoods of two seeds differ by a factor of up to two after two epochs."""
    fast, plain = ([record.scores["test/nll"] for record in records(method, [0, 1], fast)] for fast in (True, False))
    assert abs(math.log(sum(plain) / sum(fast))) < math.log(2)
    assert plain != fast


@pytest.mark.parametrize("method", [Map(), Ensemble(members=2), Bbb(), Dropout()], ids=lambda method: method.name)
def test_the_samples_of_one_posterior_are_the_same_networks(method):
    """Not for ``mnf``, whose flows take other random masks in the fast way."""
    problem = small_problem(epochs=2)
    seed_everything(0)
    posterior = method.fit(problem)
    outputs = []
    for on in (True, False):
        seed_everything(1)
        with acceleration(on):
            outputs.append(posterior.sample(12)(problem.x))
    assert torch.allclose(*outputs, atol=1e-5)


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_every_process_of_a_run_computes_as_its_option_says(executor):
    """The method warns about what it sees during the fit and when it is sampled."""
    for fast in (True, False):
        options = RunOptions(executor=executor, plugin_files=(PLUGIN,), fast=fast)
        (result,) = bbh_bench.run(methods=["asking"], tasks=["line"], options=options)
        seen = [sentence for sentence in result.record.warnings if sentence.startswith("accelerated")]
        assert seen == [f"accelerated in fit: {fast}", f"accelerated in sample: {fast}"]


def test_plain_parts_are_pytorchs():
    x = torch.ones(5, 8)
    with acceleration(False):
        assert type(adam([torch.zeros(1)], 0.1)) is torch.optim.Adam
        torch.manual_seed(0)
        dropped = live_dropout(x, 0.5)
    torch.manual_seed(0)
    assert dropped.equal(torch.nn.functional.dropout(x, 0.5))
    assert type(adam([torch.zeros(1)], 0.1)) is Adam


def test_the_context_ends_where_it_began():
    with acceleration(False):
        with acceleration(True):
            assert accelerated()
        assert not accelerated()
    assert accelerated()


def test_fits_of_both_ways_do_not_share_checkpoints_or_posteriors():
    """And those of before, whose keys say nothing of it, are fast ones."""
    cell = planned(TINY, Map())
    fast = fit_identity(cell, "2", "cpu")
    assert "fast" not in fast
    assert fit_identity(cell, "2", "cpu", fast=False) == fast | {"fast": False}
    assert context().fast
