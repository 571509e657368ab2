"""The evaluation under attack: against an attack written here with autograd alone, and what it keeps from cell to cell."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bbh_bench.attacks.algorithms import PGD_L2, PGD_LINF, Fgsm, NoiseLinf, Transfer
from helpers import QUICK, TINY

from bbh_bench.attacks.evaluate import Surrogates, shared
from bbh_bench.attacks.robustness import robustness
from bbh_bench.data import stratified
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.map import Map
from bbh_bench.running.stages import Stages, seed_everything
from bbh_bench.tasks.digits5 import TASK

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits5():
    return TASK.load("")


def independent(posterior, x, y, epsilon, draws=16, steps=100, restarts=5):
    """Projected gradient descent on the cross-entropy of the mean softmax, with plain autograd: the worst of five runs."""
    networks = posterior.sample(draws)
    worst, best = torch.full((len(x),), -torch.inf), x.clone()
    for _ in range(restarts):
        moved = x + epsilon * (2 * torch.rand_like(x) - 1)
        for step in range(steps):
            leaf = moved.clamp(0, 1).requires_grad_()
            mean = networks(leaf).double().softmax(-1).mean(0)
            loss = -mean[torch.arange(len(x)), y].log()
            (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            rate = epsilon * (0.1 if step < 60 else 0.02)
            moved = x + (leaf.detach() + rate * gradient.sign() - x).clamp(-epsilon, epsilon)
        with torch.no_grad():
            moved = moved.clamp(0, 1)
            loss = -networks(moved).double().softmax(-1).mean(0)[torch.arange(len(x)), y].log()
            better = loss > worst
            worst[better], best[better] = loss[better].float(), moved[better]
    return best


@pytest.mark.parametrize("method", [Map(), Bbb()], ids=lambda method: method.name)
def test_an_independent_attack_finds_no_more_than_two_points_more(digits5, method):
    """On a hundred test images of digits5, at each epsilon of the worst case, judged by a hundred fresh networks."""
    seed_everything(0, "fit")
    posterior = method.fit(digits5.problem(CPU))
    arrays = digits5.evaluate(posterior, CPU, Stages(0, CPU))
    curve = robustness(arrays)[1]["robust/linf"]
    x, y = digits5.data.test
    chosen = stratified(y, 100)
    assert arrays["robust/linf/index"].tolist() == chosen.tolist()
    for epsilon, accuracy in zip(curve["epsilon"][1:], curve["accuracy"][1:], strict=True):
        seed_everything(1, epsilon)
        images = independent(posterior, x[chosen], y[chosen], epsilon)
        with torch.no_grad():
            found = posterior.sample(100)(images).softmax(-1).mean(0).argmax(1)
        assert (found == y[chosen]).double().mean() >= accuracy - 0.02


def test_what_a_surrogate_made_is_kept_for_the_next_cell_of_the_seed_alone(digits5):
    task = replace(TINY, attacks=(Transfer(images=30), Fgsm(epsilons=(0.1,))))
    loaded = task.load("")
    posterior = QUICK.fit(loaded.problem(CPU))
    first = loaded.evaluate(posterior, CPU, Stages(0, CPU))
    assert len(loaded.transferred) == 1
    second = loaded.evaluate(posterior, CPU, Stages(0, CPU))
    fresh = task.load("").evaluate(posterior, CPU, Stages(0, CPU))
    other = loaded.evaluate(posterior, CPU, Stages(1, CPU))
    assert len(loaded.transferred) == 2
    for key, value in first.items():
        assert np.array_equal(value, second[key]), key
        assert np.array_equal(value, fresh[key]), key
    assert not np.array_equal(first["attack/transfer/own"], other["attack/transfer/own"])


def test_the_surrogate_is_another_network_than_that_of_the_row(digits5):
    """Else the transferred attack on MAP would be its white box."""
    seed_everything(0, "fit")
    row = Map().fit(digits5.problem(CPU)).network
    surrogates = Surrogates(lambda: digits5.problem(CPU))
    terrain = digits5._terrain(CPU)
    crafted, own = surrogates.craft(terrain, Transfer(images=50), Stages(0, CPU))
    y = terrain.y[terrain.images(Transfer(images=50))].numpy()
    with torch.no_grad():
        theirs = np.stack([row(images).argmax(1).numpy() for images in crafted.images])
    assert (own[-1] == y).mean() < (theirs[-1] == y).mean() - 0.1


def test_own_and_fresh_networks_are_the_same_for_a_point(digits5):
    task = replace(TINY, attacks=(replace(PGD_LINF, images=20), NoiseLinf()))
    loaded = task.load("")
    arrays = loaded.evaluate(QUICK.fit(loaded.problem(CPU)), CPU, Stages(0, CPU))
    for name in ("pgd-linf", "noise-linf"):
        fresh = np.stack([arrays[f"attack/{name}/{k}/log_odds"].argmax(1) for k in range(3)])
        assert np.array_equal(fresh, arrays[f"attack/{name}/own"])


def test_the_worst_case_is_of_what_a_tasks_attacks_share(digits5):
    terrain = digits5._terrain(CPU)
    own = [Fgsm(), replace(PGD_LINF, images=50, epsilons=(0.1, 0.2, 0.31)), PGD_L2]
    arrays = shared(terrain, own)
    assert arrays["robust/linf/epsilons"].tolist() == [0.1, 0.2]
    assert arrays["robust/linf/index"].tolist() == stratified(terrain.y, 50).tolist()
    assert arrays["robust/l2/epsilons"].tolist() == list(PGD_L2.epsilons)
    assert set(arrays["robust/linf/index"]) <= set(stratified(terrain.y, 200).tolist())
    assert shared(terrain, [Fgsm(epsilons=(0.0,))]) == {}
