"""Oracles: the closed-form worst case of a linear classifier, and plain autograd for FGSM on a predictive."""

from dataclasses import dataclass

import foolbox
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bbh_bench.attacks import Fgsm, craft, distance, verify
from bbh_bench.errors import ContractError

CPU = torch.device("cpu")


@pytest.fixture
def draws():
    """Seven linear classifiers of 12 pixels and 3 classes, as one predictive."""
    weight = torch.randn(7, 3, 12, generator=torch.Generator().manual_seed(0))
    return lambda x: torch.einsum("nkd,bd->nbk", weight, x.flatten(1))


def images(n, seed=0):
    return torch.rand(n, 1, 3, 4, generator=torch.Generator().manual_seed(seed))


def test_fgsm_is_the_sign_of_the_gradient_of_the_predictives_log_likelihood(draws):
    x, y = images(250), torch.arange(250) % 3  # three chunks
    attack = Fgsm(epsilons=(0.0, 0.1, 0.3))
    clean, small, large = craft(attack, draws, x, y, (0.0, 1.0), CPU)
    leaf = x.clone().requires_grad_()
    F.nll_loss(draws(leaf).softmax(-1).mean(0).log(), y).backward()
    assert clean.equal(x)
    assert torch.allclose(small, (x + 0.1 * leaf.grad.sign()).clamp(0, 1), atol=1e-6)
    assert torch.allclose(large, (x + 0.3 * leaf.grad.sign()).clamp(0, 1), atol=1e-6)


def test_fgsm_reaches_the_worst_case_of_a_linear_two_class_model():
    # Logit difference w.x: the worst L-infinity perturbation lowers it by eps * |w|_1, attained where no pixel is clipped.
    w = torch.randn(12, generator=torch.Generator().manual_seed(1))
    x, y = 0.4 + 0.2 * images(50), torch.zeros(50).long()

    def model(x):
        margin = x.flatten(1) @ w
        return torch.stack([margin, torch.zeros_like(margin)], 1).unsqueeze(0)

    (adversarial,) = craft(Fgsm(epsilons=(0.2,)), model, x, y, (0.0, 1.0), CPU)
    lowered = x.flatten(1) @ w - adversarial.flatten(1) @ w
    assert torch.allclose(lowered, 0.2 * w.abs().sum().expand(50), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 2.0), st.integers(1, 6))
def test_norm_and_bounds_of_every_adversarial_image(seed, epsilon, n):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 3, 12, generator=generator)
    x = torch.rand(n, 1, 3, 4, generator=generator).round(decimals=1)  # pixels on the bounds are frequent
    (adversarial,) = craft(
        Fgsm(epsilons=(epsilon,)),
        lambda x: torch.einsum("nkd,bd->nbk", weight, x.flatten(1)),
        x,
        torch.zeros(n).long(),
        (0.0, 1.0),
        CPU,
    )
    assert (adversarial - x).abs().max() <= epsilon + 1e-5
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


@dataclass(frozen=True)
class Liar:
    """An attack that returns what it is told to, whatever Foolbox would allow."""

    shift: float
    name: str = "liar"
    version: int = 1
    norm: str = "linf"
    epsilons: tuple[float, ...] = (0.1,)
    draws: int = 1

    def foolbox(self):
        return lambda model, x, y, epsilons: (None, [x + self.shift for _ in epsilons], None)


@pytest.mark.parametrize(
    ("shift", "complaint"), [(0.2, "beyond epsilon"), (float("nan"), "aren't finite"), (0.09, "outside")]
)
def test_an_attack_that_breaks_the_threat_model_is_refused(draws, shift, complaint):
    x = images(4) / 2 if shift == 0.2 else images(4).clamp(min=0.95)
    with pytest.raises(ContractError, match=complaint):
        craft(Liar(shift), draws, x, torch.zeros(4).long(), (0.0, 1.0), CPU)


def test_distance_in_both_norms():
    a, b = torch.zeros(2, 1, 1, 2), torch.tensor([[[[3.0, -4.0]]], [[[0.0, 1.0]]]])
    assert distance(a, b, "linf").tolist() == [4, 1]
    assert distance(a, b, "l2").tolist() == [5, 1]


def test_an_l2_attack_is_measured_in_l2(draws):
    x = images(3) / 2
    with pytest.raises(ContractError, match="l2 distance"):
        verify(Liar(0.0, norm="l2"), x, x + 0.09, epsilon=0.1, bounds=(0.0, 1.0))


def test_a_strangers_foolbox_attack_is_one_dataclass(draws):
    @dataclass(frozen=True)
    class Noise:
        name: str = "noise-linf"
        version: int = 1
        norm: str = "linf"
        epsilons: tuple[float, ...] = (0.1,)
        draws: int = 4

        def foolbox(self):
            return foolbox.attacks.LinfAdditiveUniformNoiseAttack()

    (noisy,) = craft(Noise(), draws, images(5), torch.zeros(5).long(), (0.0, 1.0), CPU)
    assert 0 < (noisy - images(5)).abs().max() <= 0.1 + 1e-6
