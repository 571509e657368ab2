"""The audit fails a predictor that masks its gradients and passes a sound one."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import TINY

from bbh_bench.attacks.audit import audit, difference
from bbh_bench.attacks.builtin import (
    ADAPTIVE_L2,
    ADAPTIVE_LINF,
    FGSM,
    NOISE_LINF,
    PGD_LINF,
    SQUARE_LINF,
    TRANSFER,
)
from bbh_bench.errors import BenchWarning
from bbh_bench.methods.map import Map
from bbh_bench.running.stages import Stages
from bbh_bench.tasks.digits5 import TASK

FEW = {"samples": 32, "algorithm": replace(ADAPTIVE_LINF.algorithm, groups=8, checks=16)}
ATTACKS = (
    replace(ADAPTIVE_LINF, epsilons=(0.1, 0.2), **FEW),
    replace(FGSM, epsilons=(0.0, 0.1, 0.2)),
    replace(NOISE_LINF, epsilons=(0.1, 0.2)),
    replace(TRANSFER, epsilons=(0.1, 0.2)),
    replace(ADAPTIVE_L2, epsilons=(0.75,), **FEW),
    replace(SQUARE_LINF, epsilons=(0.1, 0.2)),
)


UNITS = {
    "pgd_vs_fgsm": "points",
    "white_vs_black": "points",
    "white_vs_transfer": "points",
    "widest": "%",
    "monotone": "points",
    "more_steps": "points",
    "more_restarts": "points",
    "more_samples": "points",
    "other_losses": "points",
    "outside_attack": "points",
    "gradients": "%",
}


@pytest.fixture(scope="module")
def loaded():
    task = replace(TINY, epochs=20, attacked=100, samples=8, attacks=ATTACKS)
    return task.load("")


@pytest.fixture(scope="module")
def network():
    """A trained one, of digits5."""
    torch.manual_seed(0)
    return Map(lr=3e-3).fit(TASK.load("").problem(torch.device("cpu"))).network


class Posterior:
    """Samples are ``change(z, seed)`` of one network's logits ``z``, with another seed for each."""

    def __init__(self, network, change):
        self.network, self.change, self.parameters = network, change, 1

    def sample(self, n):
        seeds = torch.randint(10**6, (n,)).tolist()

        def networks(x):
            z = self.network(x)
            return torch.stack([self.change(z, seed) for seed in seeds])

        return networks


def audited(loaded, network, change):
    return evaluated_and_audited(loaded, Posterior(network, change))


def evaluated_and_audited(loaded, posterior):
    device = torch.device("cpu")
    return audit(loaded.evaluate(posterior, device, 0, Stages(0, device)))


def failed(checks):
    return [name for name, check in checks.items() if check.verdict == "fail"]


def noise(z, seed, scale=0.5):
    return z + scale * torch.randn(z.shape[1], generator=torch.Generator().manual_seed(seed))


class Quantised(torch.autograd.Function):
    """Rounded values, with the gradient that rounding has: zero."""

    @staticmethod
    def forward(ctx, z):
        return z.round()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient)


class Shattered(torch.autograd.Function):
    """The same values, with a gradient that leads nowhere: other random numbers at every call."""

    @staticmethod
    def forward(ctx, z):
        return z.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.randn_like(gradient)


@pytest.mark.parametrize("change", [lambda z, seed: z, noise], ids=["a point", "samples"])
def test_a_sound_predictor_passes_every_item(loaded, network, change):
    checks = audited(loaded, network, change)
    assert {name: check.unit for name, check in checks.items()} == UNITS
    assert {name: check for name, check in checks.items() if check.verdict != "pass"} == {}


@pytest.mark.parametrize(
    ("change", "items"),
    [
        (lambda z, seed: Quantised.apply(z), {"gradients", "widest", "white_vs_transfer"}),
        (lambda z, seed: 9 * torch.tanh(1e4 * z), {"gradients", "widest", "white_vs_transfer"}),
    ],
    ids=["quantised", "saturated"],
)
def test_a_predictor_that_masks_its_gradients_fails(loaded, network, change, items):
    checks = audited(loaded, network, change)
    assert items <= set(failed(checks))
    if "gradients" in items:
        assert checks["gradients"].value > 50


def test_shattered_gradients_fail(loaded, network):
    """With respect to the inputs: every step is noise, and attacks without the predictor's gradients are much stronger."""

    def shattered(x):
        return network(Shattered.apply(x))

    checks = audited(loaded, shattered, noise)
    assert {"white_vs_black", "white_vs_transfer"} <= set(failed(checks))


def test_a_scale_of_the_logits_masks_no_gradients(loaded, network):
    """Cross-entropy has no gradient where a probability rounds to one; the log odds do."""
    checks = audited(loaded, network, lambda z, seed: 20 * z)
    assert failed(checks) == []


def test_items_that_do_not_apply_say_so(loaded, network):
    checks = audited(replace(loaded.task, attacks=(NOISE_LINF,)).load(""), network, noise)
    assert {check.verdict for check in checks.values()} == {"not applicable"}
    assert {check.value for check in checks.values()} == {None}
    assert {check.limit for check in checks.values()} == {None}
    assert audit({"test/labels": np.zeros(3)}) == {}


def test_a_posterior_without_gradients_is_not_audited(loaded, network):
    opaque = SimpleNamespace(sample=Posterior(network, noise).sample, parameters=1, differentiable=False)
    with pytest.warns(BenchWarning, match="black-box and transfer attacks only"):
        checks = evaluated_and_audited(loaded, opaque)
    assert {check.verdict for check in checks.values()} <= {"not applicable"}


def test_differences_of_accuracy_by_hand():
    """Five of a hundred images are correct for the first only and two for the second only: 3 points, standard error sqrt(7)."""
    first, second = np.ones(100, dtype=bool), np.ones(100, dtype=bool)
    second[:5] = False
    first[10:12] = False
    points, error = difference(first, second)
    assert points == pytest.approx(3)
    assert error == pytest.approx(7**0.5)


def test_the_audit_of_projected_gradient_descent_has_the_items_that_older_records_have(loaded, network):
    checks = audited(replace(loaded.task, attacks=(replace(PGD_LINF, epsilons=(0.1,)), FGSM)).load(""), network, noise)
    assert set(UNITS) - set(checks) == {"other_losses", "outside_attack"}
    assert set(checks) - set(UNITS) == {"fresh_samples"}
    assert checks["more_samples"].limit >= 5
