"""The Square Attack: against all corners of a small ball, and within its threat model."""

from itertools import product

import pytest
import torch
from torch import nn

from bbh_bench.api import Attack
from bbh_bench.attacks.builtin import NOISE_LINF
from bbh_bench.attacks.square import Square
from bbh_bench.attacks.threat_model import craft
from bbh_bench.errors import ContractError
from bbh_bench.evaluation.predictive import log_mean_softmax
from bbh_bench.running.stages import seed_everything

CPU = torch.device("cpu")
BOUNDS = (0.0, 1.0)
EPSILONS = (0.05, 0.2)


def attack(steps=300):
    return Attack("square", 1, "linf", EPSILONS, Square(steps=steps), access="black")


@pytest.fixture
def networks():
    """Three networks of 3x3 pixels and four classes, and twelve images with the labels that they predict."""
    seed_everything(0)
    members = [nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 4)) for _ in range(3)]
    for member in members:
        member[1].weight.data *= 4
        member[3].weight.data *= 4

    def outputs(x):
        with torch.no_grad():
            return torch.stack([member(x) for member in members])

    return outputs


@pytest.fixture
def data(networks):
    x = torch.rand(12, 1, 3, 3)
    return x, networks(x).softmax(-1).mean(0).argmax(1)


def margin(networks, x, y):
    log_probs = log_mean_softmax(networks(x))
    others = log_probs.scatter(1, y[:, None], -torch.inf).amax(1)
    return log_probs.gather(1, y[:, None]).squeeze(1) - others


def test_it_misclassifies_nearly_all_that_a_corner_of_the_ball_misclassifies(networks, data):
    x, y = data
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=9))).view(-1, 1, 1, 3, 3)
    found = craft(attack(), networks, x, y, BOUNDS, CPU).images
    for epsilon, images in zip(EPSILONS, found, strict=True):
        every = (x + epsilon * corners).clamp(*BOUNDS)
        smallest = torch.stack([margin(networks, images, y) for images in every]).amin(0)
        ours = margin(networks, images, y)
        assert (ours < 0).sum() >= (smallest < 0).sum() - 1
        still_correct = ours > 0
        assert (ours[still_correct] - smallest[still_correct] < 0.5).all()
    assert (smallest < 0).sum() >= 3


def test_it_stays_in_the_ball_and_beats_noise(networks, data):
    x, y = data
    found = craft(attack(steps=50), networks, x, y, BOUNDS, CPU).images
    noise = Attack("noise", 1, "linf", EPSILONS, NOISE_LINF.algorithm, access="black")
    random = craft(noise, networks, x, y, BOUNDS, CPU).images
    for epsilon, images, noisy in zip(EPSILONS, found, random, strict=True):
        assert (images - x).abs().max() <= epsilon + 1e-6
        assert images.min() >= 0
        assert images.max() <= 1
        assert margin(networks, images, y).mean() < margin(networks, noisy, y).mean() - 0.1


def test_an_image_that_is_certainly_misclassified_costs_no_more_queries(networks, data):
    x, y = data
    queried = []

    def counting(images):
        queried.append(len(images))
        return networks(images)

    craft(attack(steps=5), counting, x, (y + 1) % 4, BOUNDS, CPU)
    assert queried[:2] == [len(x), len(x)]
    assert max(queried[2:7]) < len(x) / 2


def test_it_never_decreases_the_success_with_epsilon_and_repeats(networks, data):
    x, y = data
    seed_everything(1)
    first = craft(attack(steps=30), networks, x, y, BOUNDS, CPU).images
    seed_everything(1)
    again = craft(attack(steps=30), networks, x, y, BOUNDS, CPU).images
    assert all(one.equal(two) for one, two in zip(first, again, strict=True))
    assert (margin(networks, first[1], y) <= margin(networks, first[0], y) + 1e-5).all()


def test_inputs_that_are_no_images_are_attacked_too():
    weights = torch.tensor([[1.0, -1.0], [-2.0, 2.0], [0.5, -0.5]])
    x = torch.full((4, 3), 0.5)
    y = (x @ weights).argmax(1)
    found = craft(attack(), lambda x: (x @ weights).unsqueeze(0), x, y, BOUNDS, CPU).images[-1]
    sign = torch.where(y == 0, -1.0, 1.0)[:, None]
    assert torch.allclose(found, x + 0.2 * sign * torch.tensor([1.0, -1.0, 1.0]), atol=1e-6)


def test_squares_become_smaller():
    square = Square(steps=1000, area=0.8)
    sides = [square.side(step, 784) for step in (0, 2, 30, 300, 999)]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] == 25
    assert sides[-1] == 1
    assert Square().side(0, 1) == 1


def test_l2_is_refused():
    with pytest.raises(ContractError, match="supports the norm 'linf'"):
        Square().foolbox("l2")
