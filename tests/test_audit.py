"""The audit fails a predictor whose gradients hide something and passes a sound one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bbh_bench.attacks.algorithms import PGD_L2, PGD_LINF, Boundary, Fgsm, NoiseLinf, Transfer
from helpers import TINY

from bbh_bench.attacks.audit import audit, difference
from bbh_bench.methods.map import Map
from bbh_bench.running.stages import Stages
from bbh_bench.tasks.digits5 import TASK

ATTACKS = (
    replace(PGD_LINF, epsilons=(0.1, 0.2)),
    Fgsm(epsilons=(0.0, 0.1, 0.2)),
    NoiseLinf(epsilons=(0.1, 0.2)),
    Transfer(epsilons=(0.1, 0.2)),
    replace(PGD_L2, epsilons=(0.75,)),
    Boundary(epsilons=(0.75,), steps=75),
)


@pytest.fixture(scope="module")
def loaded():
    task = replace(TINY, epochs=20, attacked=100, draws=8, attacks=ATTACKS)
    return task.load("")


@pytest.fixture(scope="module")
def network(loaded):
    """A trained one, of digits5."""
    torch.manual_seed(0)
    return Map(lr=3e-3).fit(replace(loaded, task=TASK).problem(torch.device("cpu"))).network


class Posterior:
    """Draws of one network's logits ``z``, each changed by ``change(z, k)`` for the k-th."""

    def __init__(self, network, change):
        self.network, self.change, self.parameters = network, change, 1

    def sample(self, n):
        seeds = torch.randint(10**6, (n,)).tolist()
        return lambda x: torch.stack([self.change(self.network(x), seed) for seed in seeds])


def audited(loaded, network, change):
    posterior = Posterior(network, change)
    return audit(loaded.evaluate(posterior, torch.device("cpu"), Stages(0, torch.device("cpu"))))


def failed(checks):
    return [name for name, check in checks.items() if check.verdict == "fail"]


def noise(z, seed, scale=0.5):
    return z + scale * torch.randn(z.shape[1], generator=torch.Generator().manual_seed(seed))


class Quantised(torch.autograd.Function):
    """Steps, with the gradient that steps have."""

    @staticmethod
    def forward(ctx, z):
        return z.round()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


class Shattered(torch.autograd.Function):
    """The same logits, with a gradient that leads nowhere."""

    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("change", [lambda z, seed: z, noise], ids=["a point", "draws"])
def test_a_sound_predictor_passes_every_item(loaded, network, change):
    checks = audited(loaded, network, change)
    assert len(checks) == 10
    assert {name: check for name, check in checks.items() if check.verdict != "pass"} == {}


@pytest.mark.parametrize(
    ("change", "items"),
    [
        (lambda z, seed: Quantised.apply(z), {"gradients", "widest", "white_vs_transfer"}),
        (lambda z, seed: 9 * torch.tanh(1e4 * z), {"gradients", "widest", "white_vs_transfer"}),
        (lambda z, seed: Shattered.apply(z), {"widest"}),
    ],
    ids=["quantised", "saturated", "shattered"],
)
def test_a_predictor_that_masks_its_gradients_fails(loaded, network, change, items):
    checks = audited(loaded, network, change)
    assert items <= set(failed(checks))
    if "gradients" in items:
        assert checks["gradients"].figure > 50


def test_a_scale_of_the_logits_hides_nothing(loaded, network):
    """Cross-entropy has no gradient where a probability rounds to one; the log odds do."""
    checks = audited(loaded, network, lambda z, seed: 20 * z)
    assert failed(checks) == []


def test_what_does_not_apply_says_so(loaded, network):
    few = replace(loaded, task=replace(loaded.task, attacks=(NoiseLinf(),)))
    checks = audited(few, network, noise)
    assert {check.verdict for check in checks.values()} == {"not applicable"}
    assert {check.figure for check in checks.values()} == {None}
    assert audit({"test/labels": np.zeros(3)}) == {}


def test_a_posterior_without_gradients_is_not_audited(loaded, network):
    calm = SimpleNamespace(sample=Posterior(network, noise).sample, parameters=1, differentiable=False)
    device = torch.device("cpu")
    assert audit(loaded.evaluate(calm, device, Stages(0, device))) == {}


def test_differences_of_accuracy_by_hand():
    """Five images right for the first alone and two for the second, of a hundred: 3 points, deviation sqrt(7)."""
    first, second = np.ones(100, dtype=bool), np.ones(100, dtype=bool)
    second[:5] = False
    first[10:12] = False
    points, error = difference(first, second)
    assert points == pytest.approx(3)
    assert error == pytest.approx(7**0.5)
