"""The contract for every built-in method, and tests of MAP, ensembles and dropout."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from bbh_bench.api import Posterior
from bbh_bench.errors import ContractError
from bbh_bench.inference.training import Diverged, kernels, negative_log_prior
from bbh_bench.methods import bbh_methods
from bbh_bench.methods.dropout import Dropout, DropoutPosterior, live_dropout, sample_masks, with_sites
from bbh_bench.methods.ensemble import Ensemble, EnsemblePosterior
from bbh_bench.methods.map import Map, PointPosterior
from bbh_bench.running.stages import seed_everything
from bbh_bench.tasks.networks import lenet
from bbh_bench.testing import check_method, small_problem

METHODS = [
    *bbh_methods(),
    Ensemble(name="ensemble-dropout", base=Dropout(), members=2),
]


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_contract(method, kind):
    check_method(method, kind)


def test_map_finds_the_mode_of_logistic_regression():
    """Oracle: scikit-learn's LogisticRegression, whose C is the prior's variance; its bias has no prior, either."""
    x = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] + 0.5 * x[:, 1] > 0).long() + (x[:, 2] > 1).long()
    problem = replace(small_problem(epochs=1500), x=x, y=y, network=lambda: nn.Linear(4, 3), batch_size=90)
    seed_everything(0)
    network = Map(lr=0.02, prior_scale=0.7).fit(problem).network
    oracle = LogisticRegression(C=0.49, tol=1e-8, max_iter=5000).fit(x.numpy(), y.numpy())
    ours = network.weight - network.weight.mean(0)  # a common shift of all classes does not change the softmax
    theirs = torch.tensor(oracle.coef_, dtype=torch.float32)
    assert torch.allclose(ours, theirs - theirs.mean(0), atol=2e-3)


def test_the_prior_covers_kernels_and_is_the_normal_log_density():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.InstanceNorm2d(2, affine=True), nn.Flatten(), nn.Linear(8, 3))
    weights = kernels(network)
    assert [tuple(weight.shape) for weight in weights] == [(2, 1, 3, 3), (3, 8)]
    normal = torch.distributions.Normal(0, 2.0)
    constant = sum(weight.numel() for weight in weights) * normal.log_prob(torch.tensor(0.0))
    expected = -sum(normal.log_prob(weight).sum() for weight in weights) + constant
    assert negative_log_prior(weights, 2.0).item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_diverging_fit_raises():
    with pytest.raises(Diverged, match="lower learning rate"):
        Map(lr=1e20).fit(small_problem())


def test_ensemble_members_differ_and_progress_covers_all_of_them():
    problem = small_problem(epochs=2)
    fractions = []
    seed_everything(0)
    posterior = Ensemble(members=3).fit(replace(problem, progress=lambda fraction, loss: fractions.append(fraction)))
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1)
    outputs = posterior.sample(100)(problem.x)
    assert len(outputs) == 3
    assert len({tuple(member.flatten().tolist()) for member in outputs}) == 3
    assert posterior.parameters == 3 * sum(p.numel() for p in problem.network().parameters())


@dataclass
class Constant(Posterior):
    """Each of its samples outputs the same number."""

    number: float
    parameters: int = 1
    differentiable: bool = False

    def sample(self, n):
        return lambda x: torch.full((n, len(x), 2), self.number)


@pytest.mark.parametrize(("n", "counts"), [(100, [34, 33, 33]), (3, [1, 1, 1]), (7, [3, 2, 2])])
def test_an_ensemble_divides_the_samples_among_its_members(n, counts):
    outputs = EnsemblePosterior([Constant(k) for k in range(3)]).sample(n)(torch.zeros(1, 1))
    assert [int((outputs[:, 0, 0] == k).sum()) for k in range(3)] == counts


def test_an_ensemble_asked_for_fewer_samples_than_members_chooses_different_members():
    posterior = EnsemblePosterior([Constant(k) for k in range(5)])
    seed_everything(0)
    assert len(posterior.sample(3)(torch.zeros(1, 1))[:, 0, 0].unique()) == 3
    assert not posterior.differentiable


def test_dropout_needs_a_site():
    problem = replace(small_problem(), network=lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))
    with pytest.raises(ContractError, match=r"put nn.Dropout\(p=0\)"):
        Dropout().fit(problem)


class Residual(nn.Module):
    """Not an ``nn.Sequential``, so that no part of it is computed once for all masks."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.0), nn.Tanh())
        self.outer = nn.Linear(6, 3)

    def forward(self, x):
        return self.outer(x + self.inner(x))


@pytest.mark.parametrize("make", [lenet, Residual], ids=["sequence", "module"])
def test_frozen_masks_have_the_mean_and_spread_of_nn_dropout_left_on(make):
    """Oracle: the network with its nn.Dropout left on, one pass per sample; 600 samples, five standard errors."""
    seed_everything(0)
    network = make()
    x = torch.rand(4, 1, 28, 28) if make is lenet else torch.rand(4, 6)
    frozen = DropoutPosterior(with_sites(copy.deepcopy(network), 0.25), x[:1]).sample(600)(x)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.25
    with torch.no_grad():
        live = torch.stack([network.train()(x) for _ in range(600)])
    error = ((frozen.var(0) + live.var(0)) / 600).sqrt()
    assert ((frozen.mean(0) - live.mean(0)).abs() < 5 * error).all()
    assert torch.allclose(frozen.std(0), live.std(0), rtol=0.3)


def test_a_frozen_mask_is_the_same_for_all_images():
    x = torch.rand(1, 6).expand(4, 6)
    outputs = DropoutPosterior(with_sites(Residual(), 0.5), x[:1]).sample(20)(x)
    assert torch.allclose(outputs, outputs[:, :1].expand_as(outputs), atol=1e-6)
    assert outputs[:, 0].std(0).min() > 0


def test_a_rate_of_zero_is_the_network_itself():
    seed_everything(0)
    network = lenet()
    x = torch.rand(3, 1, 28, 28)
    expected = PointPosterior(network).sample(1)(x)
    outputs = DropoutPosterior(with_sites(network, 0.0), x[:1]).sample(2)(x)
    assert torch.allclose(outputs, expected.expand(2, -1, -1), atol=1e-6)


def test_masks_have_the_memory_format_of_the_units():
    posterior = DropoutPosterior(with_sites(lenet(), 0.5), torch.rand(1, 1, 28, 28))
    masks = sample_masks(3, posterior.sites[0], torch.device("cpu"))
    assert masks[1].unsqueeze(0).is_contiguous(memory_format=torch.channels_last)
    assert set(masks.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 0.3])  # 0.3 is not a multiple of 1/256
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_live_dropout_is_dropout(rate, layout):
    """Each unit is dropped with the given probability, independently of its neighbours. Gradients have the same mask."""
    seed_everything(0)
    x = torch.full((40, 5, 20, 21), 3.0).to(memory_format=layout).requires_grad_()
    y = live_dropout(x, rate)
    y.sum().backward()
    mask = y > 0
    assert torch.allclose(y[mask], torch.tensor(3.0) / (1 - rate))
    assert torch.allclose(x.grad, mask / (1 - rate))
    n = mask.numel()
    tolerance = 4 * (rate * (1 - rate) / n) ** 0.5 + 1e-9
    assert abs(mask.double().mean().item() - (1 - rate)) < tolerance
    for dim in range(4):  # neighbours along every dimension
        both = (mask & mask.roll(1, dim)).double().mean().item()
        assert abs(both - (1 - rate) ** 2) < 3 * tolerance


def test_live_dropout_uses_all_bytes_equally():
    """A random 64-bit integer without its sign bit would drop every eighth unit less often."""
    seed_everything(0)
    mask = live_dropout(torch.ones(80_000), 0.5).view(-1, 8).gt(0).double().mean(0)
    assert (mask - 0.5).abs().max() < 4 * 0.5 / 100


@pytest.mark.parametrize("make", [lenet, Residual], ids=["lenet", "residual"])
def test_samples_evaluated_together_equal_those_evaluated_one_by_one(make, monkeypatch):
    network = make()
    x = torch.rand(3, 1, 28, 28) if isinstance(network, nn.Sequential) else torch.rand(3, 6)
    networks = DropoutPosterior(with_sites(network, 0.5), x[:1]).sample(5)
    outputs = []
    for units in (1, 2**30, 2 * 3 * (20 * 24 * 24 if x.dim() == 4 else 6)):
        monkeypatch.setattr("bbh_bench.methods.dropout.CPU_UNITS", units)
        outputs.append(networks(x))
    assert all(torch.allclose(each, outputs[0], atol=1e-5) for each in outputs)
