"""Oracles: the closed-form worst case of a linear classifier, and plain autograd for FGSM on a predictive."""

from dataclasses import dataclass, replace

import foolbox
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bbh_bench.attacks.algorithms import (
    PGD_L2,
    PGD_LINF,
    Boundary,
    CarliniWagnerL2,
    DeepFoolL2,
    Fgsm,
    NoiseLinf,
    PaperFgsm,
    Transfer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bbh_bench.attacks.gradient import log_odds_against
from bbh_bench.attacks.threat_model import craft, distance, resized, verify
from bbh_bench.errors import ContractError
from bbh_bench.running.stages import seed_everything

CPU = torch.device("cpu")


def made(*given):
    """The images at each epsilon."""
    return craft(*given).images


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
    clean, small, large = made(attack, draws, x, y, (0.0, 1.0), CPU)
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

    (adversarial,) = made(Fgsm(epsilons=(0.2,)), model, x, y, (0.0, 1.0), CPU)
    lowered = x.flatten(1) @ w - adversarial.flatten(1) @ w
    assert torch.allclose(lowered, 0.2 * w.abs().sum().expand(50), atol=1e-5)


QUICK = [
    Fgsm(), NoiseLinf(), PaperFgsm(), replace(PGD_LINF, steps=5), replace(PGD_L2, steps=5, restarts=2),
    replace(Transfer(), steps=3), DeepFoolL2(steps=5), CarliniWagnerL2(searches=2, steps=5), Boundary(steps=10),
]  # fmt: skip


@pytest.mark.parametrize("attack", QUICK, ids=lambda attack: attack.name)
@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-3, 2.0), st.integers(1, 6))
def test_norm_and_bounds_of_every_adversarial_image(attack, seed, epsilon, n):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, 3, 12, generator=generator)
    x = torch.rand(n, 1, 3, 4, generator=generator).round(decimals=1)  # pixels on the bounds are frequent
    y = torch.randint(3, (n,), generator=generator)
    seed_everything(seed)
    for size, adversarial in zip(
        (epsilon, 2 * epsilon),
        made(
            replace(attack, epsilons=(epsilon, 2 * epsilon)),
            lambda x: torch.einsum("nkd,bd->nbk", weight, x.flatten(1)),
            x,
            y,
            (0.0, 1.0),
            CPU,
        ),
        strict=True,
    ):
        moved = (adversarial - x).flatten(1).double().numpy()
        assert np.linalg.norm(moved, ord=np.inf if attack.norm == "linf" else 2, axis=1).max() <= size + 1e-5
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
        made(Liar(shift), draws, x, torch.zeros(4).long(), (0.0, 1.0), CPU)


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

    (noisy,) = made(Noise(), draws, images(5), torch.zeros(5).long(), (0.0, 1.0), CPU)
    assert 0 < (noisy - images(5)).abs().max() <= 0.1 + 1e-6


WIDE = (-4.0, 5.0)  # bounds that no closed form here meets


@pytest.fixture
def linear():
    """A linear softmax classifier of 12 pixels and 4 classes, 40 images, and their classes, all right."""
    generator = torch.Generator().manual_seed(3)
    weight, x = torch.randn(4, 12, generator=generator), torch.rand(40, 1, 3, 4, generator=generator)
    return weight, x, (x.flatten(1) @ weight.T).argmax(1)


def smallest(weight, x, y, dual):
    """Closed form: to class k an L2 (L-infinity) perturbation needs margin_k / |w_y - w_k|, in the dual norm."""
    outputs = x.flatten(1) @ weight.T
    margins = outputs.gather(1, y[:, None]) - outputs
    slopes = (weight[y][:, None] - weight[None]).norm(p=dual, dim=2)
    return (margins / slopes).masked_fill(torch.eye(4)[y].bool(), float("inf")).amin(1)


def as_networks(weight):
    return lambda x: (x.flatten(1) @ weight.T).unsqueeze(0)


@pytest.mark.parametrize(("attack", "dual"), [(PGD_LINF, 1), (PGD_L2, 2)], ids=["linf", "l2"])
def test_pgd_turns_every_image_that_the_closed_form_says_can_be_turned(linear, attack, dual):
    """Up to 3 % of epsilon: cross-entropy leads to the likeliest class, whose boundary is nearly always the nearest."""
    weight, x, y = linear
    needed = smallest(weight, x, y, dual)
    attack = replace(attack, epsilons=tuple(needed.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()))
    seed_everything(0)
    for epsilon, adversarial in zip(attack.epsilons, made(attack, as_networks(weight), x, y, WIDE, CPU), strict=True):
        turned = (adversarial.flatten(1) @ weight.T).argmax(1) != y
        assert not turned[needed > 1.0001 * epsilon].any()  # impossible
        assert turned[needed < 0.97 * epsilon].double().mean() > 0.9


def test_pgd_in_l2_reaches_the_worst_case_of_a_linear_two_class_model():
    w = torch.randn(12, generator=torch.Generator().manual_seed(1))
    x, y = 0.4 + 0.2 * images(50), torch.zeros(50).long()
    model = as_networks(torch.stack([w, torch.zeros(12)]))
    seed_everything(0)
    (adversarial,) = made(replace(PGD_L2, epsilons=(0.7,)), model, x, y, WIDE, CPU)
    lowered = (x - adversarial).flatten(1) @ w
    assert torch.allclose(lowered, 0.7 * w.norm().expand(50), rtol=3e-3)


@pytest.mark.parametrize(
    ("attack", "excess"), [(DeepFoolL2(), 0.03), (CarliniWagnerL2(), 0.06), (Boundary(), 0.25)],
    ids=lambda value: getattr(value, "name", ""),
)  # fmt: skip
def test_minimising_attacks_find_the_closed_forms_distance(linear, attack, excess):
    """Never below it, and above it by the stated share at most, for nine images in ten."""
    weight, x, y = linear
    needed = smallest(weight, x, y, 2)
    seed_everything(0)
    adversarial = craft(replace(attack, epsilons=(20.0,)), as_networks(weight), x, y, WIDE, CPU).smallest
    assert ((adversarial.flatten(1) @ weight.T).argmax(1) != y).double().mean() >= 0.95
    ratio = distance(adversarial, x, "l2") / needed
    assert ratio.min() > 0.999
    assert ratio.quantile(0.9) < 1 + excess


def test_noise_is_signs_of_size_epsilon():
    x = 0.5 * torch.ones(20, 1, 8, 8)
    seed_everything(0)
    small, large = made(
        NoiseLinf(epsilons=(0.1, 0.2)), as_networks(torch.ones(2, 64)), x, torch.zeros(20).long(), (0, 1), CPU
    )
    assert torch.allclose((small - x).abs(), torch.tensor(0.1))
    assert torch.allclose((large - x).abs(), torch.tensor(0.2))
    assert abs((small > x).double().mean() - 0.5) < 4 * 0.5 / 1280**0.5


def test_the_papers_attack_is_weaker_where_draws_disagree():
    """Each of forty draws has a weight of its own besides the common one: the predictive still has one clear gradient."""
    generator = torch.Generator().manual_seed(0)
    common, own = torch.randn(2, 64, generator=generator), 3 * torch.randn(40, 2, 64, generator=generator)
    x = torch.rand(300, 1, 8, 8, generator=generator)

    def networks(x):
        return torch.einsum("nkd,bd->nbk", common + own, x.flatten(1) - 0.5)

    y = networks(x).softmax(-1).mean(0).argmax(1)
    accuracy = {}
    for attack in (Fgsm(epsilons=(0.05,)), PaperFgsm(epsilons=(0.05,))):
        (adversarial,) = made(attack, networks, x, y, (0.0, 1.0), CPU)
        accuracy[attack.name] = (networks(adversarial).softmax(-1).mean(0).argmax(1) == y).double().mean().item()
    assert accuracy["fgsm"] < accuracy["paper-fgsm"] - 0.1


def test_the_papers_attack_is_fgsm_on_a_point_estimate(linear):
    weight, x, y = linear
    ours, papers = (
        made(attack, as_networks(weight), x, y, (0.0, 1.0), CPU)
        for attack in (Fgsm(epsilons=(0.1, 0.3)), PaperFgsm(epsilons=(0.1, 0.3)))
    )
    for a, b in zip(ours, papers, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_boundary_walk_needs_an_image_of_another_class():
    """A classifier of one class gives it none; a black image that is misclassified is a start for all others."""
    bright, zeros = images(6), torch.zeros(6).long()
    seed_everything(0)
    for crafted in made(Boundary(epsilons=(0.5, 5.0)), as_networks(torch.zeros(2, 12)), bright, zeros, (0.0, 1.0), CPU):
        assert crafted.equal(bright)
    bright[5] = 0

    def dark(x):
        return as_networks(torch.stack([torch.ones(12), torch.zeros(12)]))(x) - torch.tensor([1.0, 0.0])

    assert (dark(bright)[0].argmax(1) != zeros).tolist() == [False] * 5 + [True]
    (crafted,) = made(Boundary(epsilons=(9.0,), steps=20), dark, bright, zeros, (0.0, 1.0), CPU)
    assert (dark(crafted)[0].argmax(1) != zeros).all()


def test_log_odds_lead_where_the_likelihood_does():
    """Their gradient is that of the negative log-likelihood over 1 - p, in double precision."""
    logits = torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    y = torch.arange(30) % 5
    p = logits.softmax(1).gather(1, y[:, None])
    (ours,) = torch.autograd.grad(log_odds_against(logits.log_softmax(1), y).sum(), logits, retain_graph=True)
    (theirs,) = torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), logits)
    assert torch.allclose(ours, theirs / (1 - p), rtol=1e-9)
    assert torch.allclose(log_odds_against(logits.log_softmax(1), y).exp(), ((1 - p) / p).squeeze(1))


def test_log_odds_do_not_saturate(linear):
    """At forty times the logits cross-entropy has lost its gradient, in single precision, where ours finds the worst case."""
    weight, x, y = linear
    sure = as_networks(1000 * weight)
    leaf = x.clone().requires_grad_()
    F.cross_entropy(sure(leaf)[0], y, reduction="sum").backward()
    assert (leaf.grad.flatten(1).abs().amax(1) == 0).double().mean() > 0.5
    (ours,) = made(Fgsm(epsilons=(0.2,)), sure, x, y, WIDE, CPU)
    (plain,) = made(Fgsm(epsilons=(0.2,)), as_networks(weight), x, y, WIDE, CPU)
    right = [((images.flatten(1) @ weight.T).argmax(1) == y).double().mean() for images in (ours, plain)]
    assert right[0] <= right[1] + 0.03


def test_what_is_turned_for_certain_is_stretched_and_not_attacked_again(linear):
    """The perturbations double with epsilon, and the attack asks for far fewer gradients than at each epsilon anew."""
    weight, x, y = linear
    asked = []

    def counting(x):
        asked.append(len(x) * x.requires_grad)
        return as_networks(30 * weight)(x)

    seed_everything(0)
    small, large = made(replace(PGD_LINF, epsilons=(1.0, 2.0)), counting, x, y, WIDE, CPU)
    certain = log_odds_against((30 * small.flatten(1) @ weight.T).log_softmax(1), y) > 2
    assert certain.double().mean() > 0.9
    assert torch.allclose((large - x)[certain], 2 * (small - x)[certain], atol=1e-5)
    assert sum(asked) <= 40 * (len(x) + (~certain).sum())


def test_a_perturbation_is_resized_in_its_direction_and_clipped():
    clean = torch.tensor([[[[0.5, 0.5]]], [[[0.9, 0.5]]], [[[0.1, 0.2]]]])
    adversarial = clean + torch.tensor([[[[0.06, -0.08]]], [[[0.06, 0.08]]], [[[0.0, 0.0]]]])
    longer = resized(clean, adversarial, 0.2, "l2", (0.0, 1.0))
    assert torch.allclose(longer, torch.tensor([[[[0.62, 0.34]]], [[[1.0, 0.66]]], [[[0.1, 0.2]]]]))


def test_a_stronger_pgd_has_more_of_one_thing_each():
    versions = PGD_LINF.stronger(0.1)
    assert {version.epsilons for version in versions.values()} == {(0.1,)}
    assert versions["iterations"].steps == 100
    assert versions["restarts"].restarts == 2
    assert versions["draws"].draws == 64


def test_a_predictor_that_is_sure_of_nothing_is_attacked_all_the_same(linear):
    """Twelve classes of nearly equal probability: the odds are against each of them, the right one's too."""
    weight, x, _ = linear
    weight = torch.cat([weight, torch.randn(8, 12, generator=torch.Generator().manual_seed(5))])
    y = (x.flatten(1) @ weight.T).argmax(1)
    unsure = as_networks(1e-3 * weight)
    assert log_odds_against(unsure(x)[0].log_softmax(1), y).min() > 2
    seed_everything(0)
    (images,) = made(replace(PGD_LINF, epsilons=(0.1,)), unsure, x, y, WIDE, CPU)
    assert (unsure(images)[0].argmax(1) == y).double().mean() < 0.5
