"""The toy regression: its data against the paper's check values, its scores against quadrature and by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from bbh_bench.api import Gaussian, Posterior
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.scoring import _mixture, regression
from bbh_bench.leaderboard import figures, render
from bbh_bench.leaderboard.tables import by_task
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.map import Map
from bbh_bench.running.plan import Cell
from bbh_bench.running.progress import Progress
from bbh_bench.running.provenance import provenance
from bbh_bench.running.runner import Bench, run_cell
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


def test_the_mixture_is_a_density_with_that_distribution_function():
    """Oracle: quadrature of the density."""
    outputs = np.array([[-20.0], [1.0], [3.0]])

    def density(y):
        return float(np.exp(-_mixture(outputs, np.array([[y]]), 2.0)[0][0, 0]))

    assert quad(density, -60, 60, points=[-20, 2])[0] == pytest.approx(1, abs=1e-6)
    for y in (-21.0, 0.0, 2.5):
        below = quad(density, -60, y, points=[-20])[0]
        assert _mixture(outputs, np.array([[y]]), 2.0)[1][0, 0] == pytest.approx(below, abs=1e-6)


def arrays(outputs, noise=9.0):
    data = toy.cubic()
    return {
        "train/x": data.x,
        "train/y": data.y,
        "grid/x": data.grid,
        "grid/truth": data.truth,
        "grid/targets": data.targets,
        "grid/outputs": outputs(data),
        "noise": np.array(noise),
    }


def test_one_network_that_knows_the_truth():
    scores, curves = regression(arrays(lambda data: data.truth[None]))
    assert scores["inside/rmse"] == 0
    assert scores["outside/width"] == 0
    assert scores["inside/nll"] == pytest.approx(norm(scale=9).entropy(), abs=0.02)  # 5,800 targets: s.e. 0.01
    for level in (50, 90, 95):
        share = level / 100
        error = (share * (1 - share) / 5800) ** 0.5
        assert scores[f"inside/coverage{level}"] == pytest.approx(share, abs=4 * error)
    assert curves["grid/prediction"]["std"] == [0.0] * 500


def test_a_spread_of_networks_by_hand():
    """Networks at truth + k for k from -50 to 50: the mean is the truth, and 95 % of them span 95."""
    shifts = np.linspace(-50, 50, 401)[:, None]
    scores, curves = regression(arrays(lambda data: data.truth + shifts))
    assert scores["inside/rmse"] == pytest.approx(0, abs=1e-6)
    assert scores["outside/width"] == pytest.approx(95)
    assert scores["inside/coverage50"] > 0.9
    assert curves["grid/prediction"]["std"] == pytest.approx([shifts.std()] * 500)


def test_rmse_counts_only_the_range_of_the_training_inputs():
    def outputs(data):
        inside = (data.grid >= data.x.min()) & (data.grid <= data.x.max())
        return np.where(inside, data.truth + 3, 1e6)[None]

    scores, _ = regression(arrays(outputs))
    assert scores["inside/rmse"] == pytest.approx(3)
    assert scores["grid/nll"] > 1e6


QUICK = replace(toy.TASK, epochs=30, draws=20)


@pytest.fixture
def records(cpu, metrics):
    bench = Bench(cpu, tuple(metrics), provenance(cpu, {"bbh-bench"}))
    loaded = QUICK.load(Path())
    methods = [Map(name="a", lr=0.01), Dropout(name="b", lr=0.01)]
    made = []
    for method in methods:
        with Progress("test") as progress:
            made.append(run_cell(bench, Cell(QUICK, method, "bbh-bench", "", 0), loaded, progress))
    return made


def test_a_cell_of_the_runner_and_its_figure(records, tmp_path):
    (point, arrays), (spread, _) = records
    assert point.status == spread.status == "finished"
    assert arrays["grid/outputs"].shape == (1, 500)
    assert point.scores["outside/width"] == 0
    assert spread.scores["outside/width"] > 0
    page = render([point, spread], tmp_path).read_text()
    (group,) = by_task([point, spread])
    assert f"({figures.name(group)})" in page
    assert (tmp_path / figures.name(group)).read_bytes().startswith(b"\x89PNG")
    assert "RMSE inside ↓" in page
    assert "### In distribution" not in page
    assert point.better["rmse"] == "lower"


class Odd(Posterior):
    """Answers what it is told to."""

    parameters = 1

    def __init__(self, answer):
        self.answer = answer

    def sample(self, n):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda x: torch.zeros(2, len(x)), "must be"),
        (lambda x: torch.zeros(2, len(x), 2), "must be"),
        (lambda x: torch.full((1, len(x), 1), float("inf")), "aren't finite"),
    ],
)
def test_outputs_that_break_the_contract_are_refused(answer, complaint, cpu):
    with pytest.raises(ContractError, match=complaint):
        QUICK.load(Path()).evaluate(Odd(answer), cpu, Stages(0, cpu))
