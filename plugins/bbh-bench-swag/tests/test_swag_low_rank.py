import math
from dataclasses import replace

import pytest
import torch
from bbh_bench_swag.low_rank import Swag, sample_low_rank
from torch import nn

from bbh_bench.api import Gaussian, Problem
from bbh_bench.errors import ContractError
from bbh_bench.plugins import load_plugins
from bbh_bench.running.checkpoint import Checkpoints
from bbh_bench.running.clock import FitClock
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import check_method, small_problem


def linear_problem():
    torch.manual_seed(0)
    x = torch.randn(12, 2)
    y = x @ torch.tensor([1.0, -2.0]) + 0.3 + 0.5 * torch.randn(12)
    return Problem(x, y, lambda: nn.Sequential(nn.Linear(2, 1)), Gaussian(0.5), epochs=20, batch_size=4)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_it_satisfies_the_contract(kind):
    check_method(Swag(), kind)


def test_the_suite_finds_it_through_its_entry_point():
    assert load_plugins().methods.registered("swag").package == "bbh-bench-swag"


def test_samples_have_the_covariance_of_the_paper():
    """Mean and covariance of 200,000 samples, in units of their standard errors; the largest of 9 and 45 must be below 5."""
    torch.manual_seed(0)
    n, rank = 200_000, 5
    shapes = {"kernel": (2, 3), "bias": (3,)}
    mean = {name: torch.randn(shape) for name, shape in shapes.items()}
    std = {name: torch.rand(shape) + 0.1 for name, shape in shapes.items()}
    deviations = {name: torch.randn(rank, *shape) for name, shape in shapes.items()}
    samples = sample_low_rank(mean, std, deviations, n)
    assert {name: weights.shape for name, weights in samples.items()} == {"kernel": (n, 2, 3), "bias": (n, 3)}

    flat = torch.cat([samples[name].flatten(1) for name in shapes], 1).double()
    columns = torch.cat([deviations[name].flatten(1) for name in shapes], 1).T.double()
    diagonal = torch.cat([std[name].flatten() for name in shapes]).double().square()
    covariance = 0.5 * torch.diag(diagonal) + columns @ columns.T / (2 * (rank - 1))
    expected = torch.cat([mean[name].flatten() for name in shapes])
    variance = covariance.diagonal()
    assert ((flat.mean(0) - expected) * (n / variance).sqrt()).abs().max() < 5
    errors = ((torch.outer(variance, variance) + covariance.square()) / n).sqrt()  # of the entries of a Wishart matrix
    assert ((flat.T.cov() - covariance) / errors).abs().max() < 5


def test_a_fit_stores_deviations_along_the_path_of_sgd():
    """SGD by hand on the same batches. In 15 steps after the burn-in, 4 deviations are those after 4, 8, 12 and 15 of them.

    Mean and covariance of 100,000 samples must be within 5 standard errors of what the path gives.
    """
    problem, method = linear_problem(), Swag(lr=0.02, rank=4)
    torch.manual_seed(1)
    posterior = method.fit(problem)
    torch.manual_seed(1)
    network = problem.network()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9)
    path = []
    for x, y in problem.batches():
        path.append(torch.cat([weight.detach().flatten() for weight in network.parameters()]))
        optimiser.zero_grad()
        problem.likelihood(network(x), y).backward()
        optimiser.step()
    visited = torch.stack(path[45:]).double()
    columns = torch.stack([visited[k - 1] - visited[:k].mean(0) for k in (4, 8, 12, 15)], 1)
    covariance = 0.5 * torch.diag(visited.var(0, correction=0)) + columns @ columns.T / 6

    n = 100_000
    samples = posterior.sample_weights(n)
    flat = torch.cat([samples[name].flatten(1) for name in ("0.weight", "0.bias")], 1).double()
    variance = covariance.diagonal()
    assert ((flat.mean(0) - visited.mean(0)) * (n / variance).sqrt()).abs().max() < 5
    errors = ((torch.outer(variance, variance) + covariance.square()) / n).sqrt()
    assert ((flat.T.cov() - covariance) / errors).abs().max() < 5


def test_the_number_of_parameters_counts_all_deviations():
    posterior = Swag(lr=0.02, rank=4).fit(linear_problem())
    assert posterior.parameters == 3 * (2 + 4)


class Killed(BaseException):
    pass


def test_a_fit_that_is_killed_goes_on_to_the_same_samples(tmp_path):
    """Killed at batch 55 of 60, when 2 of the 4 deviations are stored. The checkpoint is of the batch before."""
    clock = FitClock(torch.device("cpu"))
    clock.start()

    def samples(kill_at=None, folder=None):
        problem, calls = linear_problem(), 0

        def likelihood(outputs, targets):
            nonlocal calls
            calls += 1
            if calls == kill_at:
                raise Killed
            return Gaussian(0.5)(outputs, targets)

        if folder is not None:  # saves after every step
            checkpoints = Checkpoints(folder, {"key": "a fit"}, 0.0, clock, share=math.inf)
            problem = replace(problem, checkpoint=checkpoints.open, network=checkpoints.tracked(problem.network))
        seed_everything(0, "fit")
        posterior = Swag(lr=0.02, rank=4).fit(replace(problem, likelihood=likelihood))
        seed_everything(0, "sample")
        return posterior.sample_weights(3), calls

    expected, whole = samples()
    with pytest.raises(Killed):
        samples(kill_at=55, folder=tmp_path)
    resumed, rest = samples(folder=tmp_path)
    assert (whole, rest) == (60, 6)
    assert all(resumed[name].equal(expected[name]) for name in expected)


@pytest.mark.parametrize("method", [Swag(rank=1), Swag(burn_in=0.999)])
def test_too_few_deviations_are_refused(method):
    with pytest.raises(ContractError, match="at least 2"):
        method.fit(replace(small_problem(), epochs=2))
