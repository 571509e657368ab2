"""Oracles: the closed-form worst case of a linear classifier, and plain autograd for FGSM on a predictive."""

from dataclasses import dataclass, replace

import foolbox
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bbh_bench.api import Attack, AttackAlgorithm
from bbh_bench.attacks.adaptive import Adaptive, Phase
from bbh_bench.attacks.auditing import stronger_variants
from bbh_bench.attacks.ball import distance, scaled_to
from bbh_bench.attacks.builtin import (
    ADAPTIVE_L2,
    ADAPTIVE_LINF,
    ATTACKS,
    BOUNDARY,
    CARLINI_WAGNER_L2,
    DEEPFOOL_L2,
    FGSM,
    FMN_LINF,
    NOISE_LINF,
    PAPER_FGSM,
    PGD_L2,
    PGD_LINF,
    SQUARE_LINF,
    TRANSFER,
)
from bbh_bench.attacks.gradient import Pgd, PlainPgd
from bbh_bench.attacks.losses import log_odds_against
from bbh_bench.attacks.minimum_norm import Boundary, CarliniWagner, DeepFool, FastMinimumNorm
from bbh_bench.attacks.square import Square
from bbh_bench.attacks.threat_model import craft, threat_model, verify_perturbation
from bbh_bench.errors import ContractError
from bbh_bench.records.identity import describe
from bbh_bench.running.stages import seed_everything

CPU = torch.device("cpu")


def adversarial_images(*arguments):
    """The images at each epsilon."""
    return craft(*arguments).images


@pytest.fixture
def samples():
    """Seven linear classifiers of 12 pixels and 3 classes, as one predictive distribution."""
    weight = torch.randn(7, 3, 12, generator=torch.Generator().manual_seed(0))
    return lambda x: torch.einsum("nkd,bd->nbk", weight, x.flatten(1))


def images(n, seed=0):
    return torch.rand(n, 1, 3, 4, generator=torch.Generator().manual_seed(seed))


def test_fgsm_is_the_sign_of_the_gradient_of_the_predictives_log_likelihood(samples):
    x, y = images(250), torch.arange(250) % 3  # three chunks
    attack = replace(FGSM, epsilons=(0.0, 0.1, 0.3))
    clean, small, large = adversarial_images(attack, samples, x, y, (0.0, 1.0), CPU)
    leaf = x.clone().requires_grad_()
    F.nll_loss(samples(leaf).softmax(-1).mean(0).log(), y).backward()
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

    (adversarial,) = adversarial_images(replace(FGSM, epsilons=(0.2,)), model, x, y, (0.0, 1.0), CPU)
    lowered = x.flatten(1) @ w - adversarial.flatten(1) @ w
    assert torch.allclose(lowered, 0.2 * w.abs().sum().expand(50), atol=1e-5)


SHORT = Adaptive(phases=(Phase("log-odds", 2), Phase("margin", 2, groups=2)), targets=1, target_steps=2, restarts=2)
QUICK = [
    FGSM,
    FMN_LINF,
    NOISE_LINF,
    PAPER_FGSM,
    replace(PGD_LINF, algorithm=Pgd(steps=5)),
    replace(PGD_L2, algorithm=Pgd(steps=5, restarts=2)),
    replace(ADAPTIVE_LINF, algorithm=SHORT, samples=8),
    replace(ADAPTIVE_L2, algorithm=SHORT, samples=8),
    replace(FMN_LINF, algorithm=FastMinimumNorm(steps=5)),
    replace(SQUARE_LINF, algorithm=Square(steps=5)),
    replace(TRANSFER, algorithm=PlainPgd(steps=3)),
    replace(DEEPFOOL_L2, algorithm=DeepFool(steps=5)),
    replace(CARLINI_WAGNER_L2, algorithm=CarliniWagner(searches=2, steps=5)),
    replace(BOUNDARY, algorithm=Boundary(steps=10)),
]


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
        adversarial_images(
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
class Shift(AttackAlgorithm):
    """Adds a number to every pixel, whatever the threat model allows."""

    shift: float

    def foolbox(self, norm):
        return lambda model, x, y, epsilons: (None, [x + self.shift for _ in epsilons], None)


def shift_attack(shift, norm="linf"):
    return Attack("shift", 1, norm, (0.1,), Shift(shift), samples=1)


@pytest.mark.parametrize(
    ("shift", "complaint"), [(0.2, "beyond epsilon"), (float("nan"), "are not finite"), (0.09, "outside")]
)
def test_an_attack_that_breaks_the_threat_model_is_refused(samples, shift, complaint):
    x = images(4) / 2 if shift == 0.2 else images(4).clamp(min=0.95)
    with pytest.raises(ContractError, match=complaint):
        adversarial_images(shift_attack(shift), samples, x, torch.zeros(4).long(), (0.0, 1.0), CPU)


@dataclass(frozen=True)
class Forgetful(AttackAlgorithm):
    """Returns images for the first epsilon only."""

    def foolbox(self, norm):
        return lambda model, x, y, epsilons: (None, [x], None)


def test_an_attack_that_leaves_out_an_epsilon_is_refused(samples):
    attack = Attack("forgetful", 1, "linf", (0.1, 0.2), Forgetful())
    with pytest.raises(ContractError, match="images for 1 epsilons instead of 2"):
        adversarial_images(attack, samples, images(4), torch.zeros(4).long(), (0.0, 1.0), CPU)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_algorithm_refuses_a_norm_that_it_does_not_support(attack):
    other = "l2" if attack.norm == "linf" else "linf"
    if isinstance(attack.algorithm, Pgd | PlainPgd | Adaptive | FastMinimumNorm):
        assert callable(attack.algorithm.foolbox(other))
    else:
        with pytest.raises(ContractError, match=f"'{attack.norm}', not '{other}'"):
            attack.algorithm.foolbox(other)


def test_the_threat_model_states_bounds_and_samples():
    model = threat_model((0.0, 1.0), 100)
    assert list(model) == ["version", "access", "gradient", "perturbation", "bounds", "evaluated", "goal"]
    assert model["bounds"] == [0.0, 1.0]
    assert "100 fresh samples" in model["evaluated"]


def test_distance_in_both_norms():
    a, b = torch.zeros(2, 1, 1, 2), torch.tensor([[[[3.0, -4.0]]], [[[0.0, 1.0]]]])
    assert distance(a, b, "linf").tolist() == [4, 1]
    assert distance(a, b, "l2").tolist() == [5, 1]


def test_an_l2_attack_is_measured_in_l2():
    x = images(3) / 2
    with pytest.raises(ContractError, match="l2 distance"):
        verify_perturbation(shift_attack(0.0, "l2"), x, x + 0.09, epsilon=0.1, bounds=(0.0, 1.0))


@dataclass(frozen=True)
class UniformNoise(AttackAlgorithm):
    """Uniform noise in L-infinity."""

    def foolbox(self, norm):
        return foolbox.attacks.LinfAdditiveUniformNoiseAttack()


def test_a_third_partys_foolbox_attack_is_one_dataclass(samples):
    attack = Attack("uniform-noise", 1, "linf", (0.1,), UniformNoise(), samples=4)
    assert attack.description == "Uniform noise in L-infinity."
    assert describe(attack)["algorithm"] == {"type": "UniformNoise"}
    (noisy,) = adversarial_images(attack, samples, images(5), torch.zeros(5).long(), (0.0, 1.0), CPU)
    assert 0 < (noisy - images(5)).abs().max() <= 0.1 + 1e-6


@dataclass(frozen=True)
class Halfway(AttackAlgorithm):
    """Minimises: half of the way to black."""

    share: float = 0.5

    @property
    def minimises(self):
        return True

    def foolbox(self, norm):
        def run(model, inputs, labels, *, epsilons):
            assert epsilons == [None]
            return None, [inputs * self.share], None

        return run


def test_a_third_partys_attack_that_minimises_is_scaled_to_each_epsilon(samples):
    x = 0.4 + 0.2 * images(5)
    attack = Attack("halfway", 1, "l2", (0.0, 0.1, 0.2), Halfway())
    examples = craft(attack, samples, x, torch.zeros(5).long(), (0.0, 1.0), CPU)
    assert torch.allclose(examples.smallest, x / 2)
    for epsilon, perturbed in zip(attack.epsilons, examples.images, strict=True):
        assert torch.allclose(distance(perturbed, x, "l2"), torch.tensor(epsilon), atol=1e-6)


WIDE = (-4.0, 5.0)  # bounds that no closed form here meets


@pytest.fixture
def linear():
    """A linear softmax classifier of 12 pixels and 4 classes, 40 images, and their classes, all predicted correctly."""
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


@pytest.mark.parametrize(
    ("attack", "dual"),
    [(PGD_LINF, 1), (PGD_L2, 2), (ADAPTIVE_LINF, 1), (ADAPTIVE_L2, 2)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_iterated_attacks_find_every_adversarial_example_that_the_closed_form_says_exists(linear, attack, dual):
    """Up to 3 % of epsilon: cross-entropy leads to the likeliest class, whose boundary is nearly always the nearest."""
    weight, x, y = linear
    needed = smallest(weight, x, y, dual)
    attack = replace(attack, epsilons=tuple(needed.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()))
    seed_everything(0)
    for epsilon, adversarial in zip(
        attack.epsilons, adversarial_images(attack, as_networks(weight), x, y, WIDE, CPU), strict=True
    ):
        misclassified = (adversarial.flatten(1) @ weight.T).argmax(1) != y
        assert not misclassified[needed > 1.0001 * epsilon].any()  # impossible
        assert misclassified[needed < 0.97 * epsilon].double().mean() > 0.9


def test_pgd_in_l2_reaches_the_worst_case_of_a_linear_two_class_model():
    w = torch.randn(12, generator=torch.Generator().manual_seed(1))
    x, y = 0.4 + 0.2 * images(50), torch.zeros(50).long()
    model = as_networks(torch.stack([w, torch.zeros(12)]))
    seed_everything(0)
    (adversarial,) = adversarial_images(replace(PGD_L2, epsilons=(0.7,)), model, x, y, WIDE, CPU)
    lowered = (x - adversarial).flatten(1) @ w
    assert torch.allclose(lowered, 0.7 * w.norm().expand(50), rtol=3e-3)


@pytest.mark.parametrize(
    ("attack", "excess"), [(DEEPFOOL_L2, 0.03), (CARLINI_WAGNER_L2, 0.06), (BOUNDARY, 0.25)],
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
    small, large = adversarial_images(
        replace(NOISE_LINF, epsilons=(0.1, 0.2)), as_networks(torch.ones(2, 64)), x, torch.zeros(20).long(), (0, 1), CPU
    )
    assert torch.allclose((small - x).abs(), torch.tensor(0.1))
    assert torch.allclose((large - x).abs(), torch.tensor(0.2))
    assert abs((small > x).double().mean() - 0.5) < 4 * 0.5 / 1280**0.5


def test_the_papers_attack_is_weaker_where_samples_disagree():
    """Forty samples share a weight, and each adds one of its own. The predictive distribution still has one clear gradient."""
    generator = torch.Generator().manual_seed(0)
    common, own = torch.randn(2, 64, generator=generator), 3 * torch.randn(40, 2, 64, generator=generator)
    x = torch.rand(300, 1, 8, 8, generator=generator)

    def networks(x):
        return torch.einsum("nkd,bd->nbk", common + own, x.flatten(1) - 0.5)

    y = networks(x).softmax(-1).mean(0).argmax(1)
    accuracy = {}
    for attack in (replace(FGSM, epsilons=(0.05,)), replace(PAPER_FGSM, epsilons=(0.05,))):
        (adversarial,) = adversarial_images(attack, networks, x, y, (0.0, 1.0), CPU)
        accuracy[attack.name] = (networks(adversarial).softmax(-1).mean(0).argmax(1) == y).double().mean().item()
    assert accuracy["fgsm"] < accuracy["paper-fgsm"] - 0.1


def test_the_papers_attack_is_fgsm_on_a_point_estimate(linear):
    weight, x, y = linear
    ours, papers = (
        adversarial_images(attack, as_networks(weight), x, y, (0.0, 1.0), CPU)
        for attack in (replace(FGSM, epsilons=(0.1, 0.3)), replace(PAPER_FGSM, epsilons=(0.1, 0.3)))
    )
    for a, b in zip(ours, papers, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_the_boundary_walk_needs_an_image_of_another_class():
    """A classifier of one class gives it none. A black image that is misclassified is a start for all others."""
    bright, zeros = images(6), torch.zeros(6).long()
    seed_everything(0)
    for perturbed in adversarial_images(
        replace(BOUNDARY, epsilons=(0.5, 5.0)), as_networks(torch.zeros(2, 12)), bright, zeros, (0.0, 1.0), CPU
    ):
        assert perturbed.equal(bright)
    bright[5] = 0

    def dark(x):
        return as_networks(torch.stack([torch.ones(12), torch.zeros(12)]))(x) - torch.tensor([1.0, 0.0])

    assert (dark(bright)[0].argmax(1) != zeros).tolist() == [False] * 5 + [True]
    (perturbed,) = adversarial_images(
        replace(BOUNDARY, epsilons=(9.0,), algorithm=Boundary(steps=20)), dark, bright, zeros, (0.0, 1.0), CPU
    )
    assert (dark(perturbed)[0].argmax(1) != zeros).all()


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
    """With logits 1000 times as large, cross-entropy has no gradient in single precision; the log odds find the worst case."""
    weight, x, y = linear
    confident = as_networks(1000 * weight)
    leaf = x.clone().requires_grad_()
    F.cross_entropy(confident(leaf)[0], y, reduction="sum").backward()
    assert (leaf.grad.flatten(1).abs().amax(1) == 0).double().mean() > 0.5
    (ours,) = adversarial_images(replace(FGSM, epsilons=(0.2,)), confident, x, y, WIDE, CPU)
    (plain,) = adversarial_images(replace(FGSM, epsilons=(0.2,)), as_networks(weight), x, y, WIDE, CPU)
    accuracy = [((images.flatten(1) @ weight.T).argmax(1) == y).double().mean() for images in (ours, plain)]
    assert accuracy[0] <= accuracy[1] + 0.03


def test_certainly_misclassified_images_are_scaled_and_not_attacked_again(linear):
    """Their perturbations double with epsilon, and far fewer gradients are computed than for both epsilons separately."""
    weight, x, y = linear
    gradients = []

    def counting(x):
        gradients.append(len(x) * x.requires_grad)
        return as_networks(30 * weight)(x)

    seed_everything(0)
    small, large = adversarial_images(replace(PGD_LINF, epsilons=(1.0, 2.0)), counting, x, y, WIDE, CPU)
    certain = log_odds_against((30 * small.flatten(1) @ weight.T).log_softmax(1), y) > 2
    assert certain.double().mean() > 0.9
    assert torch.allclose((large - x)[certain], 2 * (small - x)[certain], atol=1e-5)
    assert sum(gradients) <= 40 * (len(x) + (~certain).sum())


def test_a_perturbation_is_scaled_in_its_direction_and_clipped():
    clean = torch.tensor([[[[0.5, 0.5]]], [[[0.9, 0.5]]], [[[0.1, 0.2]]]])
    adversarial = clean + torch.tensor([[[[0.06, -0.08]]], [[[0.06, 0.08]]], [[[0.0, 0.0]]]])
    longer = scaled_to(clean, adversarial, 0.2, "l2", (0.0, 1.0))
    assert torch.allclose(longer, torch.tensor([[[[0.62, 0.34]]], [[[1.0, 0.66]]], [[[0.1, 0.2]]]]))


def test_a_stronger_pgd_has_more_of_one_thing_each():
    variants = stronger_variants(PGD_LINF, 0.1)
    assert list(variants) == ["iterations", "restarts", "draws"]
    assert {variant.epsilons for variant in variants.values()} == {(0.1,)}
    assert variants["iterations"].algorithm.steps == 100
    assert variants["restarts"].algorithm.restarts == 2
    assert variants["draws"].samples == 64


def test_a_stronger_adaptive_attack_has_more_of_one_thing_each():
    variants = stronger_variants(ADAPTIVE_LINF, 0.1)
    assert list(variants) == ["iterations", "restarts", "losses", "outside", "draws"]
    assert [phase.steps for phase in variants["iterations"].algorithm.phases] == [25, 75, 75, 50]
    assert variants["restarts"].algorithm.restarts == 2
    assert {phase.loss for phase in variants["losses"].algorithm.phases}.isdisjoint({"log-odds", "margin"})
    assert (variants["outside"].samples, variants["iterations"].samples, variants["draws"].samples) == (16, 256, 1024)


def test_which_attacks_have_stronger_variants():
    named = [attack.name for attack in ATTACKS if attack.algorithm.stronger()]
    assert named == ["adaptive-linf", "adaptive-l2", "pgd-linf", "pgd-l2"]


def test_an_uncertain_predictor_is_attacked_as_well(linear):
    """Twelve classes of nearly equal probability: the log odds are against each of them, and against the label too."""
    weight, x, _ = linear
    weight = torch.cat([weight, torch.randn(8, 12, generator=torch.Generator().manual_seed(5))])
    y = (x.flatten(1) @ weight.T).argmax(1)
    unsure = as_networks(1e-3 * weight)
    assert log_odds_against(unsure(x)[0].log_softmax(1), y).min() > 2
    seed_everything(0)
    (images,) = adversarial_images(replace(PGD_LINF, epsilons=(0.1,)), unsure, x, y, WIDE, CPU)
    assert (unsure(images)[0].argmax(1) == y).double().mean() < 0.5
