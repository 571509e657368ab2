"""The toy regression: its data against values of the paper's code, and its cells."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bbh_bench.api import Gaussian, Posterior
from bbh_bench.errors import ContractError
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
