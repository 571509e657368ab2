"""``check_method`` tells each way of breaking the contract from the others, with its advice."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits

from bbh_bench.api import Posterior
from bbh_bench.methods.map import Map
from bbh_bench.tasks import digits5
from bbh_bench.testing import check_method


class Changed(Posterior):
    """A good posterior of which one thing is changed."""

    def __init__(self, good, **changes):
        self.good = good
        self.parameters = changes.get("parameters", good.parameters)
        self.differentiable = changes.get("differentiable", True)
        self.answer = changes.get("answer", lambda networks, x: networks(x))

    def sample(self, n):
        networks = self.good.sample(n)
        return lambda x: self.answer(networks, x)


@dataclass(frozen=True)
class Wrapped:
    """MAP with a fault."""

    fault: Any
    name: str = "wrapped"

    def fit(self, problem):
        return self.fault(problem, Map(lr=0.01).fit)


def answer(function):
    """A fault in what the networks answer."""
    return lambda problem, fit: Changed(fit(problem), answer=function)


def same_size(problem):
    """Always answers for seven inputs."""
    return lambda networks, x: networks(problem.x[:7])


def spoils(problem, fit):
    posterior = fit(problem)
    problem.y.zero_()
    return posterior


def seeds_itself(problem, fit):
    torch.manual_seed(0)
    return fit(problem)


def own_generator(problem, fit):
    posterior = fit(problem)
    for weight in posterior.network.parameters():
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(torch.seed() % 2**31)))
    return posterior


def learns_nothing(problem, fit):
    network = problem.network()
    return Changed(fit(problem), answer=lambda networks, x: 1e-3 * network(x).unsqueeze(0))


def tells_nonsense(problem, fit):
    problem.progress(1.5, 0.0)
    return fit(problem)


def raises(problem, fit):
    raise KeyError("weights")


FAULTS = {
    "no posterior": (lambda problem, fit: object(), "must return an object with a method sample"),
    "no parameters": (lambda problem, fit: Changed(fit(problem), parameters=None), "how many numbers were learnt"),
    "raises": (raises, "fit raised KeyError"),
    "raises in the call": (answer(lambda networks, x: x[99]), "sample(n)(x) raised IndexError"),
    "two dimensions": (answer(lambda networks, x: networks(x)[0]), "has shape [7, 3]"),
    "more classes": (answer(lambda networks, x: torch.cat([networks(x)] * 2, -1)), "has shape [1, 7, 6]"),
    "too many draws": (answer(lambda networks, x: torch.cat([networks(x)] * 9)), "has shape [9, 7, 3]"),
    "integers": (answer(lambda networks, x: networks(x).long()), "must be floating-point"),
    "not finite": (answer(lambda networks, x: networks(x) / 0), "aren't all finite"),
    "live draws": (answer(lambda networks, x: networks(x) + torch.rand(1)), "draw in sample, not in the call"),
    "batch leaks": (answer(lambda networks, x: networks(x - x.mean(0) / 2)), "depend on the other images"),
    "detached": (answer(lambda networks, x: networks(x).detach()), "don't detach"),
    "rounded": (answer(lambda networks, x: networks((4 * x).round()) + 0 * networks(x)), "are all zero"),
    "one batch size": (answer(lambda networks, x: networks(x).view(-1, 7, 3)), "for a batch of another size, raised"),
    "ignores the size": (
        lambda problem, fit: Changed(fit(problem), answer=same_size(problem)),
        "any batch size must do",
    ),
    "detached input": (
        answer(lambda networks, x: networks(x.detach()) + torch.zeros(1, requires_grad=True)),
        "don't detach",
    ),
    "spoils its input": (answer(lambda networks, x: networks(x.detach().mul_(0.9))), "changed its input"),
    "spoils its data": (spoils, "changed the training data"),
    "seeds itself": (seeds_itself, "don't seed inside fit"),
    "own generator": (own_generator, "torch's global generator alone"),
    "learns nothing": (learns_nothing, "of the training images"),
    "nonsense progress": (tells_nonsense, "lies in [0, 1]"),
    "loads the task": (lambda problem, fit: digits5.TASK.load(None) or fit(problem), "asked for the data set"),
    "reads the file": (lambda problem, fit: load_digits() and fit(problem), "opened the data file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told(fault):
    break_it, complaint = FAULTS[fault]
    with pytest.raises(AssertionError) as caught:
        check_method(Wrapped(break_it))
    assert complaint in str(caught.value)


def test_a_method_passes_in_a_fresh_process_without_a_data_folder():
    code = (
        "from bbh_bench.methods.map import Map; from bbh_bench.testing import check_method; check_method(Map(lr=0.01))"
    )
    for folder in (None, "nowhere"):
        environment = {k: v for k, v in os.environ.items() if k != "BBH_BENCH_DATA"}
        environment |= {"BBH_BENCH_DATA": folder} if folder else {}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_the_same_wrapper_without_a_fault_passes():
    check_method(Wrapped(lambda problem, fit: Changed(fit(problem))))


def test_a_posterior_that_says_it_has_no_gradients_needs_none():
    def still(problem, fit):
        return Changed(fit(problem), differentiable=False, answer=lambda networks, x: networks(x).detach())

    check_method(Wrapped(still))


def test_a_method_that_cannot_fit_a_line_is_told():
    def flat(networks, x):
        return 1e-3 * networks(x)

    with pytest.raises(AssertionError, match="of the training targets' deviation off"):
        check_method(
            Wrapped(lambda problem, fit: Changed(fit(problem), answer=flat, differentiable=False)), "regression"
        )


def test_a_classifier_is_told_what_shape_a_regression_has():
    fault = answer(lambda networks, x: networks(x).expand(-1, -1, 3))
    with pytest.raises(AssertionError, match=r"must be \[n, 7, 1\]"):
        check_method(Wrapped(fault), "regression")
