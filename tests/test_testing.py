"""``check_method`` names each way of breaking the contract, with its advice."""

import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from sklearn.datasets import load_digits

from bbh_bench.api import Posterior
from bbh_bench.errors import BenchWarning
from bbh_bench.methods.map import Map
from bbh_bench.tasks import digits5
from bbh_bench.testing import check_method


class Changed(Posterior):
    """A good posterior with one change."""

    def __init__(self, good, **changes):
        self.good = good
        self.parameters = changes.get("parameters", good.parameters)
        self.differentiable = changes.get("differentiable", True)
        self.answer = changes.get("answer", lambda networks, x: networks(x))
        self.ood_score = changes.get("ood_score")  # None: it has none

    def sample(self, n):
        networks = self.good.sample(n)
        return lambda x: self.answer(networks, x)


def wrapped(fault):
    """MAP with a fault: a function of the problem and MAP's fit. It is not a field, since a record could not describe it."""

    @dataclass(frozen=True)
    class Wrapped:
        """MAP with a fault."""

        name: str = "wrapped"
        version: int = 1

        def fit(self, problem):
            return fault(problem, Map(lr=0.01).fit)

    return Wrapped()


def answer(function):
    """A fault in the outputs of the networks."""
    return lambda problem, fit: Changed(fit(problem), answer=function)


def scores(function):
    """A fault in the OOD scores, a function of the logits ``[B, K]`` and the inputs."""

    def fault(problem, fit):
        good = fit(problem)
        return Changed(good, ood_score=lambda x: function(good.sample(1)(x)[0], x))

    return fault


def energy(logits, x):
    return -logits.logsumexp(-1)


def scores_at_random(problem, fit):
    posterior, shift = fit(problem), torch.rand(1, generator=torch.Generator().manual_seed(torch.seed() % 2**31))
    return Changed(posterior, ood_score=lambda x: energy(posterior.sample(1)(x)[0], x) + shift)


def same_size(problem):
    """Always returns outputs for seven inputs."""
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
    "no parameters": (lambda problem, fit: Changed(fit(problem), parameters=None), "its number of parameters"),
    "raises": (raises, "fit raised KeyError"),
    "raises in the call": (answer(lambda networks, x: x[99]), "sample(n)(x) raised IndexError"),
    "two dimensions": (answer(lambda networks, x: networks(x)[0]), "has shape [7, 3]"),
    "more classes": (answer(lambda networks, x: torch.cat([networks(x)] * 2, -1)), "has shape [1, 7, 6]"),
    "too many samples": (answer(lambda networks, x: torch.cat([networks(x)] * 9)), "has shape [9, 7, 3]"),
    "integers": (answer(lambda networks, x: networks(x).long()), "must be floating-point"),
    "not finite": (answer(lambda networks, x: networks(x) / 0), "are not all finite"),
    "live samples": (answer(lambda networks, x: networks(x) + torch.rand(1)), "sample in sample(n), not in the call"),
    "batch leaks": (answer(lambda networks, x: networks(x - x.mean(0) / 2)), "depend on the other images"),
    "detached": (answer(lambda networks, x: networks(x).detach()), "do not use detach"),
    "rounded": (answer(lambda networks, x: networks((4 * x).round()) + 0 * networks(x)), "are all zero"),
    "one batch size": (answer(lambda networks, x: networks(x).view(-1, 7, 3)), "for a batch of another size, raised"),
    "ignores the size": (
        lambda problem, fit: Changed(fit(problem), answer=same_size(problem)),
        "any batch size must do",
    ),
    "detached input": (
        answer(lambda networks, x: networks(x.detach()) + torch.zeros(1, requires_grad=True)),
        "do not use detach",
    ),
    "spoils its input": (answer(lambda networks, x: networks(x.detach().mul_(0.9))), "changed its input"),
    "spoils its data": (spoils, "changed the training data"),
    "seeds itself": (seeds_itself, "do not seed inside fit"),
    "own generator": (own_generator, "torch's global random generator only"),
    "learns nothing": (learns_nothing, "of the training images"),
    "nonsense progress": (tells_nonsense, "lies in [0, 1]"),
    "one score for all": (scores(lambda logits, x: energy(logits, x).mean()), "returned the shape [] for 7 inputs"),
    "a score for each class": (scores(lambda logits, x: logits), "returned the shape [7, 3] for 7 inputs"),
    "scores in a list": (scores(lambda logits, x: energy(logits, x).tolist()), "returned a list for 7 inputs"),
    "infinite scores": (scores(lambda logits, x: 1e300 * energy(logits, x).double()), "not finite in float32"),
    "scores of the batch": (scores(lambda logits, x: energy(logits - logits.mean(0), x)), "OOD score of an image"),
    "scores of one size": (
        scores(lambda logits, x: energy(logits, x) * torch.ones(7)),
        "batch of another size, raised",
    ),
    "live scores": (scores(lambda logits, x: energy(logits, x) + torch.rand(1)), "sample the networks that it uses"),
    "scores change images": (scores(lambda logits, x: energy(logits, x.add_(1))), "ood_score(x) changed its input"),
    "scores raise": (scores(lambda logits, x: x[99]), "ood_score(x) raised IndexError"),
    "scores with a seed": (scores_at_random, "other values of ood_score"),
    "loads the task": (lambda problem, fit: digits5.TASK.load(None) or fit(problem), "asked for the data set"),
    "reads the file": (lambda problem, fit: load_digits() and fit(problem), "opened the data file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named(fault):
    break_it, complaint = FAULTS[fault]
    with pytest.raises(AssertionError) as caught:
        check_method(wrapped(break_it))
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
    check_method(wrapped(lambda problem, fit: Changed(fit(problem))))


def test_a_method_with_ood_scores_passes():
    check_method(wrapped(scores(energy)))


def test_a_posterior_that_says_it_has_no_gradients_needs_none():
    def still(problem, fit):
        return Changed(fit(problem), differentiable=False, answer=lambda networks, x: networks(x).detach())

    check_method(wrapped(still))


def test_a_method_that_cannot_fit_a_line_is_told():
    def flat(networks, x):
        return 1e-3 * networks(x)

    with pytest.raises(AssertionError, match="of the standard deviation of the targets"):
        check_method(
            wrapped(lambda problem, fit: Changed(fit(problem), answer=flat, differentiable=False)), "regression"
        )


def test_a_classifier_is_told_what_shape_a_regression_has():
    fault = answer(lambda networks, x: networks(x).expand(-1, -1, 3))
    with pytest.raises(AssertionError, match=r"must be \[n, 7, 1\]"):
        check_method(wrapped(fault), "regression")


def test_probabilities_in_place_of_logits_are_noticed():
    """They pass, and get a bad likelihood: NLL 0.91 at 0 % error was seen on digits5."""
    softmax = answer(lambda networks, x: networks(x).softmax(-1))
    with pytest.warns(BenchWarning, match=r"look like probabilities.*return log\(p\)"):
        check_method(wrapped(softmax))


def test_logits_are_no_reason_to_warn(recwarn):
    check_method(wrapped(lambda problem, fit: Changed(fit(problem))))
    assert [warning for warning in recwarn if warning.category is BenchWarning] == []


def test_what_can_be_seen_without_a_run_is_checked_too():
    @dataclass(frozen=True)
    class NoVersion:
        name: str = "no-version"

        def fit(self, problem):
            return Map().fit(problem)

    with pytest.raises(AssertionError, match="`version: int = 1`"):
        check_method(NoVersion())
