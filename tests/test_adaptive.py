"""The adaptive attack: stronger than its predecessor at equal cost, and what it does for known networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import TINY

from bbh_bench.attacks.adaptive import Adaptive, Phase
from bbh_bench.attacks.builtin import ADAPTIVE_LINF, PGD_LINF
from bbh_bench.attacks.losses import LOSSES, log_odds_against, margin, towards
from bbh_bench.attacks.networks import AttackerNetworks, grouped, unknown_to_defender
from bbh_bench.attacks.passes import PassCounter
from bbh_bench.attacks.robustness import robustness
from bbh_bench.attacks.threat_model import craft
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.running.stages import Stages, seed_everything
from bbh_bench.tasks.digits5 import TASK

CPU = torch.device("cpu")
BOUNDS = (0.0, 1.0)


@pytest.fixture(scope="module")
def dropout():
    """A posterior whose samples differ much, and a hundred test images that it is attacked on."""
    loaded = replace(TASK, epochs=30).load("")
    seed_everything(0, "fit")
    posterior = Dropout(rate=0.5, lr=2e-3).fit(loaded.problem(CPU))
    x, y = loaded.data.test
    return posterior, x[:100], y[:100]


def accuracy(posterior, x, y):
    """On 400 fresh samples."""
    seed_everything(1, "fresh")
    with torch.no_grad():
        return (posterior.sample(400)(x).softmax(-1).mean(0).argmax(1) == y).double().mean().item()


def test_it_is_stronger_than_frozen_samples_at_a_third_of_their_cost(dropout):
    """At least five points, at the epsilon where about a fifth of the images are still correct."""
    posterior, x, y = dropout
    left, cost = {}, {}
    for attack in (replace(PGD_LINF, epsilons=(0.2,)), replace(ADAPTIVE_LINF, epsilons=(0.2,))):
        counter = PassCounter()
        seed_everything(0, "attack")
        networks = unknown_to_defender(posterior, attack).counted(counter)
        (images,) = craft(attack, networks, x, y, BOUNDS, CPU).images
        left[attack.name], cost[attack.name] = accuracy(posterior, images, y), counter.backward
    assert left["adaptive-linf"] <= left["pgd-linf"] - 0.05
    assert cost["adaptive-linf"] <= cost["pgd-linf"] / 3


def test_an_image_that_networks_misclassify_they_misclassify_if_they_are_known(dropout):
    """The attack goes on from the images for unknown networks, here against ten that decide, and misleads more of them."""
    posterior, *_ = dropout
    attacks = (replace(ADAPTIVE_LINF, images=60, epsilons=(0.1, 0.2)),)
    task = replace(TASK, samples=10, attacks=attacks, uncertainty=None)
    arrays = task.load("").evaluate(posterior, CPU, 0, Stages(0, CPU))
    scores, curves = robustness(arrays)
    known, fresh = (np.array(curves["robust/linf"][column]) for column in ("known_accuracy", "accuracy"))
    assert (known <= fresh).all()
    assert known.sum() < fresh.sum()
    assert scores["robust/linf/known_accuracy@0.1"] == known[1]


def test_a_point_has_the_same_accuracy_on_known_and_fresh_networks():
    loaded = replace(TINY, attacks=(replace(ADAPTIVE_LINF, images=40),)).load("")
    posterior = Map().fit(loaded.problem(CPU))
    curve = robustness(loaded.evaluate(posterior, CPU, 0, Stages(0, CPU)))[1]["robust/linf"]
    assert curve["known_accuracy"] == curve["accuracy"]


def test_an_ensemble_decides_with_all_of_its_members():
    """Its predictions at epsilon 0 are those of the test set, though groups of the attack have fewer networks."""
    attacks = (replace(ADAPTIVE_LINF, images=40, epsilons=(0.0, 0.1)),)
    loaded = replace(TINY, samples=8, attacks=attacks).load("")
    posterior = Ensemble(members=6).fit(replace(loaded.problem(CPU), epochs=1))
    arrays = loaded.evaluate(posterior, CPU, 0, Stages(0, CPU))
    index = arrays["attack/adaptive-linf/index"]
    assert np.allclose(arrays["attack/adaptive-linf/0/log_odds"], arrays["test/log_odds"][index], rtol=2e-3, atol=1e-3)


def linear(weight):
    return lambda x: torch.einsum("nkd,bd->nbk", weight, x.flatten(1))


def test_starting_points_that_are_better_than_any_step_are_kept():
    """Without a single step, the result is the start that is misclassified, and the clean image where no start is better."""
    weight = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    x, y = torch.full((2, 1, 1, 2), 0.6) - 0.5, torch.zeros(2).long()
    starts = torch.stack([x[0] - 0.2, x[1] + 0.2])
    attack = replace(ADAPTIVE_LINF, epsilons=(0.2,), algorithm=Adaptive(phases=(Phase("margin", 0),)))
    (images,) = craft(attack, linear(weight), x, y, (-1.0, 1.0), CPU, [starts]).images
    assert torch.equal(images, torch.stack([starts[0], x[1]]))


def test_every_gradient_is_of_another_group_of_networks():
    """Of seven groups, all are used, in turns; a phase with two groups for each gradient uses two at a time."""
    calls = []

    def group(k):
        def networks(x):
            calls.append(k)
            return linear(torch.zeros(1, 2, 4))(x)

        return networks

    networks = AttackerNetworks(tuple(map(group, range(7))), linear(torch.zeros(1, 2, 4)))
    attack = replace(
        ADAPTIVE_LINF,
        epsilons=(0.1,),
        algorithm=Adaptive(phases=(Phase("margin", 8, start="random"), Phase("margin", 2, groups=2))),
    )
    craft(attack, networks, torch.rand(3, 1, 2, 2), torch.zeros(3).long(), BOUNDS, CPU)
    assert calls == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4]


class Numbers:
    """A posterior whose networks say how many were sampled together."""

    def sample(self, n):
        return lambda x: torch.full((n, len(x), 2), float(n))


def test_samples_are_divided_into_groups_of_equal_size():
    x = torch.zeros(1, 4)
    networks = unknown_to_defender(Numbers(), ADAPTIVE_LINF)
    assert [len(group(x)) for group in networks.groups] == [4] * 64
    assert len(networks.check(x)) == 64
    assert [len(group(x)) for group in grouped(Numbers(), 10, 4).groups] == [3, 3, 2, 2]
    assert len(grouped(Numbers(), 10, 4).check(x)) == 10
    assert len(grouped(Numbers(), 2, 4).groups) == 2


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_increases_where_the_label_becomes_less_likely(name):
    """From certain of the label to certain of another class; each image has a loss of its own."""
    certain = torch.tensor([8.0, 4.0, 1.0, 0.0, -1.0, -4.0])
    logits = torch.stack([certain, torch.zeros(6), torch.full((6,), -1.0)], 1).expand(3, 6, 3)
    values = LOSSES[name](logits, torch.zeros(6).long())
    assert values.shape == (6,)
    assert (values.diff() > 0).all()


def test_the_margin_keeps_its_gradient_where_the_labels_probability_rounds_to_one():
    logits = torch.tensor([[[60.0, 0.0, -1.0]]]).requires_grad_()
    (gradient,) = torch.autograd.grad(LOSSES["margin"](logits, torch.tensor([0])).sum(), logits)
    assert gradient[0, 0, 0] < -0.5
    (gradient,) = torch.autograd.grad(towards(torch.tensor([2]))(logits, torch.tensor([0])).sum(), logits)
    assert gradient[0, 0].tolist() == pytest.approx([-1.0, 0.0, 1.0])


def test_a_margin_is_that_of_the_nearest_other_class():
    values = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]])
    assert margin(values, torch.tensor([0, 0])).tolist() == pytest.approx([-0.2, 0.5])
    assert log_odds_against(values.log(), torch.tensor([0, 0])).exp().tolist() == pytest.approx([1.0, 9.0])
