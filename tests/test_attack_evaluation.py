"""Evaluation under attack: surrogates, worst cases, and posteriors without gradients."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY
from torch import nn

from bbh_bench.api import Attack, AttackAlgorithm
from bbh_bench.attacks.audit import audit
from bbh_bench.attacks.builtin import BOUNDARY, FGSM, NOISE_LINF, PGD_L2, PGD_LINF, TRANSFER
from bbh_bench.attacks.context import AttackContext
from bbh_bench.attacks.evaluate import attacked, gradients_reach_inputs, shared, transferred
from bbh_bench.attacks.gradient import Pgd
from bbh_bench.attacks.minimum_norm import Boundary
from bbh_bench.attacks.robustness import robustness
from bbh_bench.attacks.square import Square
from bbh_bench.data import stratified
from bbh_bench.errors import BenchWarning
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.map import Map
from bbh_bench.running.shared import SharedArrays
from bbh_bench.running.stages import Stages, seed_everything
from bbh_bench.tasks.digits5 import TASK

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits5():
    return TASK.load("")


@pytest.fixture(scope="module")
def context(digits5):
    return AttackContext(*digits5.data.test, classes=5, bounds=(0.0, 1.0), samples=100, attacked=1000, device=CPU)


class CountingMap(Map):
    """A surrogate that counts its fits."""

    fits = 0

    def fit(self, problem):
        CountingMap.fits += 1
        return super().fit(replace(problem, epochs=1))


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(CountingMap, "fits", 0)
    return replace(TRANSFER, images=10, surrogate=CountingMap())


def stages(seed, folder):
    return Stages(seed, CPU, sharing=SharedArrays(folder, {}))


def test_transferred_images_are_reused_by_cells_of_the_same_seed_only(tmp_path, counting):
    task = replace(TINY, attacks=(counting, replace(FGSM, epsilons=(0.1,))))
    loaded = task.load("")
    posterior = QUICK.fit(loaded.problem(CPU))
    first = loaded.evaluate(posterior, CPU, 0, stages(0, tmp_path))
    second = task.load("").evaluate(posterior, CPU, 0, stages(0, tmp_path))
    assert CountingMap.fits == 1
    fresh = loaded.evaluate(posterior, CPU, 0, Stages(0, CPU))
    other = loaded.evaluate(posterior, CPU, 1, stages(1, tmp_path))
    assert CountingMap.fits == 3
    for key, value in first.items():
        assert np.array_equal(value, second[key]), key
        assert np.array_equal(value, fresh[key]), key
    assert not np.array_equal(first["attack/transfer/own"], other["attack/transfer/own"])


def test_a_surrogate_is_shared_by_attack_and_seed(digits5, context, counting):
    cell = Stages(0, CPU)

    def images(attack, seed):
        return transferred(context, attack, lambda: digits5.problem(CPU), seed, cell)[0].images

    first, again = images(counting, 0), images(counting, 0)
    assert CountingMap.fits == 1
    assert all(one.equal(two) for one, two in zip(first, again, strict=True))
    images(counting, 1)
    assert CountingMap.fits == 2
    images(replace(counting, epsilons=(0.1,)), 0)
    assert CountingMap.fits == 3
    with pytest.raises(ValueError, match="'fgsm' has no surrogate"):
        images(FGSM, 0)


def test_the_smallest_perturbations_of_a_surrogate_are_shared_too(digits5, context, counting):
    attack = replace(counting, epsilons=(0.75,), algorithm=Boundary(steps=5), norm="l2")
    cell = Stages(0, CPU)
    crafted = [transferred(context, attack, lambda: digits5.problem(CPU), 0, cell)[0] for _ in range(2)]
    assert crafted[0].smallest.equal(crafted[1].smallest)


def test_the_surrogate_is_another_network_than_that_of_the_row(digits5, context):
    """Otherwise the transfer attack on MAP would be a white-box attack."""
    seed_everything(0, "fit")
    row = Map().fit(digits5.problem(CPU)).network
    attack = replace(TRANSFER, images=50)
    crafted, surrogate = transferred(context, attack, lambda: digits5.problem(CPU), 0, Stages(0, CPU))
    y = context.y[context.index(attack)].numpy()
    with torch.no_grad():
        predicted = np.stack([row(images).argmax(1).numpy() for images in crafted.images])
    assert (surrogate[-1] == y).mean() < (predicted[-1] == y).mean() - 0.1


def test_the_attackers_and_fresh_samples_are_the_same_for_a_point():
    task = replace(TINY, attacks=(replace(PGD_LINF, images=20), NOISE_LINF))
    loaded = task.load("")
    arrays = loaded.evaluate(QUICK.fit(loaded.problem(CPU)), CPU, 0, Stages(0, CPU))
    for name in ("pgd-linf", "noise-linf"):
        fresh = np.stack([arrays[f"attack/{name}/{k}/log_odds"].argmax(1) for k in range(3)])
        assert np.array_equal(fresh, arrays[f"attack/{name}/own"])


def test_the_worst_case_is_defined_by_what_a_tasks_attacks_share(context):
    own = [FGSM, replace(PGD_LINF, images=50, epsilons=(0.1, 0.2, 0.31)), PGD_L2]
    arrays = shared(context, own)
    assert arrays["robust/linf/epsilons"].tolist() == [0.1, 0.2]
    assert arrays["robust/linf/index"].tolist() == stratified(context.y, 50).tolist()
    assert arrays["robust/l2/epsilons"].tolist() == list(PGD_L2.epsilons)
    assert set(arrays["robust/linf/index"]) <= set(stratified(context.y, 200).tolist())
    assert shared(context, [replace(FGSM, epsilons=(0.0,))]) == {}


@dataclass(frozen=True)
class Darken(AttackAlgorithm):
    """Subtracts epsilon from every pixel. Its stronger variant is no stronger."""

    def foolbox(self, norm):
        def run(model, inputs, labels, *, epsilons):
            return None, [(inputs - epsilon).clamp(*model.bounds) for epsilon in epsilons], None

        return run

    def stronger(self):
        return {"iterations": self}


def test_a_third_partys_attack_is_run_and_audited():
    attack = Attack("darken", 1, "linf", (0.0, 0.1), Darken(), images=20)
    loaded = replace(TINY, attacks=(), extra_attacks=(FGSM, attack)).load("")
    arrays = loaded.evaluate(QUICK.fit(loaded.problem(CPU)), CPU, 0, Stages(0, CPU))
    clean = loaded.data.test[0][stratified(loaded.data.test[1], 20)]
    expected = (clean - (clean - 0.1).clamp(min=0)).flatten(1).mean(1)
    assert np.allclose(arrays["attack/darken/moved"], np.stack([np.zeros(20), expected.numpy()]), atol=1e-6)
    assert [key for key in arrays if key.startswith("audit/stronger")] == [
        "audit/stronger/iterations",
        "audit/stronger/draws",
    ]


class Answers:
    """A posterior with the outputs of a linear network, computed by ``compute(network, x)``."""

    parameters = 1

    def __init__(self, compute):
        self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
        self.compute = compute

    def sample(self, n):
        return lambda x: self.compute(self.network, x).unsqueeze(0)


def without_gradient(network, x):
    with torch.no_grad():
        return network(x)


def outside_torch(network, x):
    weight, bias = (parameter.detach().numpy() for parameter in network[1].parameters())
    return torch.from_numpy(x.flatten(1).numpy() @ weight.T + bias)


WITHOUT_GRADIENTS = {
    "no_grad": without_gradient,
    "detached input": lambda network, x: network(x.detach()),  # the outputs have a gradient, but of the weights
    "inference mode": torch.inference_mode()(lambda network, x: network(x)),
    "numpy": outside_torch,
}


SQUARE = Attack("square", 1, "linf", (0.1, 0.3), Square(steps=20), samples=2, access="black", images=20)


@pytest.mark.parametrize("compute", WITHOUT_GRADIENTS.values(), ids=WITHOUT_GRADIENTS)
def test_a_posterior_without_gradients_is_attacked_without_them_and_says_so(compute, counting):
    walk = replace(BOUNDARY, images=20, epsilons=(0.75,), algorithm=Boundary(steps=5))
    loaded = replace(TINY, attacks=(PGD_LINF, FGSM, SQUARE, counting, walk)).load("")
    posterior = Answers(compute)
    assert not gradients_reach_inputs(posterior, loaded.data.test[0][:1])
    with pytest.warns(BenchWarning, match="black-box and transfer attacks only.*no gradient with respect to"):
        arrays = loaded.evaluate(posterior, CPU, 0, Stages(0, CPU))
    scores, curves = robustness(arrays)
    assert [name for name in curves if name.startswith("attack/")] == [
        "attack/square",
        "attack/transfer",
        "attack/boundary",
    ]
    assert curves["attack/square"]["accuracy"][-1] <= curves["attack/square"]["accuracy"][0]
    assert curves["robust/linf"]["epsilon"] == [0.0, 0.1]
    assert "robust/l2/degradation" in scores
    assert {check.verdict for check in audit(arrays).values()} == {"not applicable"}


def test_a_posterior_that_no_attack_suits_is_not_attacked():
    loaded = replace(TINY, attacks=(PGD_LINF, FGSM)).load("")
    with pytest.warns(BenchWarning, match="not attacked.*no gradient with respect to"):
        arrays = loaded.evaluate(Answers(without_gradient), CPU, 0, Stages(0, CPU))
    assert {key.split("/")[0] for key in arrays} == {"test", "outlier"}
    assert robustness(arrays) == ({}, {})
    assert audit(arrays) == {}


def test_a_black_box_attack_finds_what_gradients_find():
    """The same network, with and without gradients: the bound is close to the accuracy under projected gradient descent."""
    own = Attack("square", 1, "linf", (0.1, 0.2), Square(steps=150), samples=1, access="black", images=40)
    gradient = replace(PGD_LINF, images=40, epsilons=(0.1, 0.2))
    loaded = replace(TINY, attacks=(own, gradient)).load("")
    network = QUICK.fit(loaded.problem(CPU)).network

    def curves(compute):
        posterior = Answers(compute)
        posterior.network = network
        return robustness(loaded.evaluate(posterior, CPU, 0, Stages(0, CPU)))[1]

    with pytest.warns(BenchWarning, match="black-box"):
        opaque = curves(without_gradient)
    clear = curves(lambda network, x: network(x))
    assert opaque["robust/linf"]["accuracy"][-1] == pytest.approx(clear["robust/linf"]["accuracy"][-1], abs=0.15)
    assert opaque["robust/linf"]["accuracy"][-1] < opaque["robust/linf"]["accuracy"][0] - 0.2


def test_a_gradient_of_zero_is_one():
    """The audit, and not this check, must find masked gradients."""
    x = torch.rand(1, 1, 8, 8)
    assert gradients_reach_inputs(Answers(lambda network, x: network(x)), x)
    assert gradients_reach_inputs(Answers(lambda network, x: network(x).round()), x)
    with torch.no_grad():
        assert gradients_reach_inputs(Answers(lambda network, x: network(x)), x)
        assert not torch.is_grad_enabled()


def test_the_check_for_gradients_changes_no_random_numbers_of_the_attacks(digits5):
    task = replace(TINY, attacks=(replace(PGD_LINF, images=20, algorithm=Pgd(steps=3)), NOISE_LINF), samples=8)
    loaded = task.load("")
    posterior = Bbb().fit(replace(digits5.problem(CPU), epochs=1))
    checked = loaded.evaluate(posterior, CPU, 0, Stages(0, CPU))
    context = AttackContext(*loaded.data.test, classes=5, bounds=(0.0, 1.0), samples=8, attacked=40, device=CPU)
    unchecked = attacked(context, posterior, task.attacks, lambda: loaded.problem(CPU), 0, Stages(0, CPU))
    assert unchecked
    for key, value in unchecked.items():
        assert np.array_equal(value, checked[key]), key
