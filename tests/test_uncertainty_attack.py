"""The attack on the uncertainty: against closed forms, against another optimiser, and its scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY

from bbh_bench.attacks.context import AttackContext
from bbh_bench.attacks.stored_uncertainty import StoredUncertainty, attacked_arrays
from bbh_bench.attacks.uncertainty import HIGH, LOW, UncertaintyAttack, attacked, change_entropy, log_entropy
from bbh_bench.attacks.uncertainty_scores import DIRECTIONS, uncertainty_scores
from bbh_bench.data import stratified
from bbh_bench.evaluation.detection import area_under_roc
from bbh_bench.evaluation.predictive import log_mean_softmax
from bbh_bench.running.stages import Stages, seed_everything

CPU = torch.device("cpu")
BOUNDS = (0.0, 1.0)
SETTINGS = UncertaintyAttack(epsilons=(0.05, 0.1), images=30)


def entropy(networks, x):
    with torch.no_grad():
        log_probs = log_mean_softmax(networks(x).double())
    return -(log_probs.exp() * log_probs).sum(1)


class Linear:
    """One network of two classes with the log odds ``scale * (weights . x + bias)``."""

    parameters = 5

    def __init__(self, scale=1.0):
        self.weights = torch.tensor([2.0, -1.0, 0.5, 1.5])
        self.bias, self.scale = -1.3, scale

    def odds(self, x):
        return self.scale * (x @ self.weights + self.bias)

    def sample(self, n):
        return lambda x: torch.stack([torch.zeros(len(x)), self.odds(x)], 1).unsqueeze(0)


@pytest.fixture(scope="module")
def tiny():
    return TINY.load("")


class Prototypes:
    """Networks that compare an image with the mean of each class; their weights are normally distributed. Not trained."""

    parameters = 5 * 64

    def __init__(self, x, y):
        means = torch.stack([x[y == c].mean(0).flatten() for c in range(5)])
        self.weights, self.bias = 4 * means, -2 * (means**2).sum(1)

    def sample(self, n):
        weights = self.weights + 0.8 * torch.randn(n, *self.weights.shape)
        return lambda x: torch.einsum("bi,nki->nbk", x.flatten(1), weights) + self.bias


@pytest.fixture(scope="module")
def posterior(tiny):
    return Prototypes(*tiny.data.train)


@pytest.fixture(scope="module")
def context(tiny):
    return AttackContext(*tiny.data.test, classes=5, bounds=BOUNDS, samples=30, attacked=40, device=CPU)


def test_log_entropy_is_the_logarithm_of_the_entropy():
    log_probs = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)).mul(6).double().log_softmax(1)
    expected = (log_probs.exp() * -log_probs).sum(1).log()
    assert torch.allclose(log_entropy(log_probs.float()).double(), expected, atol=1e-5)
    uniform = torch.zeros(1, 5)
    assert log_entropy(uniform).exp().item() == pytest.approx(np.log(5), rel=1e-6)


@pytest.mark.parametrize("odds", [20.0, 1000.0, 1e5])
def test_log_entropy_has_a_gradient_where_the_entropy_has_none(odds):
    logits = torch.tensor([[odds, 0.0, -1.0]], requires_grad=True)
    log_entropy(logits.log_softmax(1)).sum().backward()
    assert logits.grad[0, 0].item() == pytest.approx(-1.0, abs=0.1)  # H is nearly (1 + odds) exp(-odds)


@pytest.mark.parametrize("scale", [1.0, 50.0, 3000.0])
def test_a_linear_network_is_attacked_as_the_closed_form_says(scale):
    """Whatever the scale of its logits: confident networks have no entropy left in float32, and no gradient of it."""
    network = Linear(scale)
    x = 0.5 + 0.3 * (torch.rand(50, 4, generator=torch.Generator().manual_seed(0)) - 0.5)
    epsilons = (0.05, 0.2)
    seed_everything(0)
    low, high = (
        change_entropy(
            network, x, torch.full((50,), towards), replace(SETTINGS, epsilons=epsilons, steps=40), BOUNDS, CPU
        )
        for towards in (LOW, HIGH)
    )
    odds = network.odds(x)
    for epsilon, certain, uncertain in zip(epsilons, low, high, strict=True):
        reach = scale * epsilon * network.weights.abs().sum()
        assert torch.allclose(network.odds(certain).abs(), odds.abs() + reach, rtol=1e-3)
        smallest = (odds.abs() - reach).clamp_min(0)
        assert (network.odds(uncertain).abs() <= smallest + 0.05 * reach).all()


@pytest.mark.parametrize("towards", [LOW, HIGH])
def test_images_stay_in_the_ball_and_get_worse_with_epsilon(tiny, posterior, towards):
    x = tiny.data.test[0][:40]
    seed_everything(0)
    perturbed = change_entropy(
        posterior, x, torch.full((40,), towards), replace(SETTINGS, steps=5, restarts=2), BOUNDS, CPU
    )
    fresh = posterior.sample(200)
    values = [towards * entropy(fresh, images).mean() for images in (x, *perturbed)]
    assert values == sorted(values)
    assert values[-1] - values[0] > 0.1
    for epsilon, images in zip(SETTINGS.epsilons, perturbed, strict=True):
        assert (images - x).abs().max() <= epsilon + 1e-6
        assert images.min() >= 0
        assert images.max() <= 1


def adam(posterior, x, towards, epsilon, samples=64, steps=150):
    """Another optimiser of the entropy itself: Adam on an unbounded variable that is squashed into the ball ``[N, ...]``."""
    low, high = (x - epsilon).clamp_min(0), (x + epsilon).clamp_max(1)
    free = torch.zeros_like(x, requires_grad=True)
    optimiser = torch.optim.Adam([free], lr=0.1)
    for _ in range(steps):
        images = low + (high - low) * free.sigmoid()
        log_probs = log_mean_softmax(posterior.sample(samples)(images))
        optimiser.zero_grad()
        (towards * (log_probs.exp() * log_probs).sum()).backward()
        optimiser.step()
    return (low + (high - low) * free.sigmoid()).detach()


@pytest.mark.parametrize("towards", [LOW, HIGH])
def test_another_optimiser_with_more_steps_and_samples_gains_at_most_two_points(tiny, posterior, towards):
    """Of the area under the ROC curve at the largest epsilon, on the same fresh samples."""
    test, ood = tiny.data.test[0][::6], tiny.data.ood["digits5-9"][::20]
    x = test if towards == HIGH else ood
    seed_everything(0)
    ours = change_entropy(posterior, x, torch.full((len(x),), towards), SETTINGS, BOUNDS, CPU)[-1]
    theirs = adam(posterior, x, towards, SETTINGS.epsilons[-1])
    fresh = posterior.sample(200)

    def auroc(attacked):
        sets = (attacked, ood) if towards == HIGH else (test, attacked)
        return area_under_roc(*(entropy(fresh, images).numpy() for images in sets))

    assert auroc(ours) < auroc(x) - 0.1
    assert auroc(ours) <= auroc(theirs) + 0.02


def test_more_steps_restarts_and_samples_gain_at_most_two_points(tiny, context, posterior):
    settings = replace(SETTINGS, images=100)

    def areas(settings):
        arrays = attacked(context, posterior, tiny.data.ood, settings, Stages(0, CPU))
        return uncertainty_scores(arrays)[0]

    weak, strong = areas(settings), areas(replace(settings, steps=60, restarts=3, samples=64))
    for name, value in strong.items():
        assert value >= weak[name] - 0.02, name


def test_the_arrays_have_one_set_of_fresh_samples_and_repeat(tiny, context, posterior):
    ood = {"first": tiny.data.ood["digits5-9"], "second": tiny.data.test[0] ** 2}
    settings = replace(SETTINGS, steps=3, images=20)
    arrays = attacked(context, posterior, ood, settings, Stages(0, CPU))
    again = attacked(context, posterior, ood, settings, Stages(0, CPU))
    assert set(again) == set(arrays)
    for key, value in again.items():
        assert np.array_equal(value, arrays[key]), key
    other_seed = attacked(context, posterior, ood, replace(settings, ood=("first",)), Stages(1, CPU))
    assert StoredUncertainty(other_seed).ood_sets == ["first"]
    assert not np.array_equal(other_seed["uncertainty/test/2/log_odds"], arrays["uncertainty/test/2/log_odds"])
    stored = StoredUncertainty(arrays)
    assert stored.ood_sets == ["first", "second"]
    assert stored.epsilons == [0.0, 0.05, 0.1]
    assert arrays["uncertainty/test/index"].tolist() == stratified(context.y, 20).tolist()
    assert [each.entropy.shape for each in stored.ood("second")] == [(20,)] * 3


def test_passes_are_counted_per_image(tiny, context, posterior):
    stages = Stages(0, CPU)
    attacked(context, posterior, tiny.data.ood, replace(SETTINGS, steps=3, samples=4), stages)
    passes = stages.passes["uncertainty"]
    assert passes.images == 2 * 30
    assert passes.backward / passes.images == 2 * 3 * 4  # two epsilons, three steps, four networks
    assert passes.forward / passes.images == 2 * 3 * 4 + 4 * 4  # and four evaluations to choose the best images


def test_an_unknown_ood_set_is_refused(tiny, context, posterior):
    with pytest.raises(KeyError, match="other"):
        attacked(context, posterior, tiny.data.ood, replace(SETTINGS, ood=("other",)), Stages(0, CPU))


def predictions(certainties):
    """Predictions of two classes, with these log odds."""
    odds = np.array(certainties)
    log_odds = np.stack([np.zeros_like(odds), -odds], 1).astype(np.float16)
    return {"log_odds": log_odds, "mutual_information": np.linspace(0, 0.1, len(odds)).astype(np.float16)}


def test_scores_are_areas_over_epsilon_of_each_attack():
    index = {"test": torch.tensor([0, 2]), "ood/a": torch.tensor([1, 5])}
    arrays = attacked_arrays(
        (0.0, 0.1, 0.2),
        index,
        {
            "test": [predictions([5.0, 6.0]), predictions([1.5, 6.0]), predictions([0.1, 0.2])],
            "ood/a": [predictions([1.0, 2.0]), predictions([5.5, 2.0]), predictions([8.0, 9.0])],
        },
    )
    scores, curves = uncertainty_scores(arrays)
    curve = curves["uncertainty/a"]
    assert curve["auroc_ood"] == [1.0, 0.75, 0.0]
    assert curve["auroc_test"] == [1.0, 0.75, 0.0]
    assert curve["auroc_both"] == [1.0, 0.5, 0.0]
    assert curve["mi_auroc_both"] == [0.5, 0.5, 0.5]
    assert curve["images_test"] == [2, 2, 2]
    assert scores == {
        "uncertainty/a/auroc_ood": pytest.approx(0.625),
        "uncertainty/a/auroc_test": pytest.approx(0.625),
        "uncertainty/a/auroc_both": pytest.approx(0.5),
    }
    assert {name.rpartition("/")[2] for name in scores} == set(DIRECTIONS)


def test_records_without_the_attack_have_no_scores():
    assert uncertainty_scores({"test/labels": np.zeros(3)}) == ({}, {})


def test_a_point_estimate_is_attacked_too(tiny, context):
    posterior = QUICK.fit(tiny.problem(CPU))
    arrays = attacked(context, posterior, tiny.data.ood, replace(SETTINGS, steps=5), Stages(0, CPU))
    curve = uncertainty_scores(arrays)[1]["uncertainty/digits5-9"]
    assert curve["auroc_both"][-1] < curve["auroc_both"][0] - 0.1
    assert curve["auroc_both"][-1] <= min(curve["auroc_ood"][-1], curve["auroc_test"][-1])
