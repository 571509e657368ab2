"""The toy regression: its data against values of the paper's code, and its cells."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NoProgress, context, planned

from bbh_bench.api import Gaussian, Posterior, task_fingerprint
from bbh_bench.attacks.builtin import NOISE_LINF
from bbh_bench.errors import BenchError, ContractError
from bbh_bench.leaderboard import figures, render
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.map import Map
from bbh_bench.running.runner import run_cell
from bbh_bench.running.stages import Stages
from bbh_bench.tasks import toy


def test_the_data_are_those_of_the_papers_code():
    data = toy.cubic()
    assert len(data.x) == 20
    assert (data.x.min(), data.y[data.x.argmin()]) == pytest.approx((-3.999, -65.51), abs=5e-3)
    assert (data.x.max(), data.y[data.x.argmax()]) == pytest.approx((3.025, 19.26), abs=5e-3)
    assert data.targets.shape == (20, 500)
    assert (data.targets - data.truth).std() == pytest.approx(9, rel=0.03)


def test_the_likelihood_is_the_normal_log_density():
    outputs, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, -3.0])
    expected = -torch.distributions.Normal(outputs.squeeze(1), 9.0).log_prob(targets).mean()
    assert Gaussian(9.0)(outputs, targets).item() == pytest.approx(expected.item(), rel=1e-6)


QUICK = replace(toy.TASK, epochs=30, samples=20)


@pytest.fixture
def results():
    loaded, bench = QUICK.load(Path()), context()
    methods = [Map(name="a", lr=0.01), Dropout(name="b", lr=0.01)]
    return [run_cell(bench, planned(QUICK, method), lambda: loaded, NoProgress()) for method in methods]


def test_a_cell_of_the_runner_and_its_figure(results, tmp_path):
    point, spread = (result.record for result in results)
    assert point.status == spread.status == "finished"
    assert point.task.kind == "regression"
    assert results[0].arrays["grid/outputs"].shape == (1, 500)
    assert point.scores["outside/width"] == 0
    assert spread.scores["outside/width"] > 0
    page = render([point, spread], tmp_path).read_text()
    (group,) = by_task([point, spread])
    assert f"({figures.file_name(group)})" in page
    assert (tmp_path / figures.file_name(group)).read_bytes().startswith(b"\x89PNG")
    assert "RMSE inside ↓" in page
    assert "### In distribution" not in page
    assert point.directions["rmse"] == "lower"


class FixedOutputs(Posterior):
    """Its networks are any given function."""

    parameters = 1

    def __init__(self, outputs):
        self.outputs = outputs

    def sample(self, n):
        return self.outputs


@pytest.mark.parametrize(
    ("outputs", "complaint"),
    [
        (lambda x: torch.zeros(2, len(x)), "must be"),
        (lambda x: torch.zeros(2, len(x), 2), "must be"),
        (lambda x: torch.full((1, len(x), 1), float("inf")), "not finite"),
    ],
)
def test_outputs_that_break_the_contract_are_refused(outputs, complaint, cpu):
    with pytest.raises(ContractError, match=complaint):
        QUICK.load(Path()).evaluate(FixedOutputs(outputs), cpu, 0, Stages(0, cpu))


def test_a_regression_cannot_be_attacked():
    with pytest.raises(BenchError, match=r"--attack noise-linf: the task 'toy' is a regression"):
        QUICK.with_attacks([NOISE_LINF])


def test_the_identity_does_not_depend_on_the_last_bit_of_a_power():
    """Processors with other vector instructions round powers differently; the published records come from both kinds."""
    data = toy.cubic()
    nudged = replace(data, truth=np.nextafter(data.truth, np.inf), targets=np.nextafter(data.targets, -np.inf))
    assert task_fingerprint(replace(toy.TASK, data=lambda: nudged)) == task_fingerprint(toy.TASK)
    other = replace(data, truth=data.truth + 1e-6)
    assert task_fingerprint(replace(toy.TASK, data=lambda: other)) != task_fingerprint(toy.TASK)
