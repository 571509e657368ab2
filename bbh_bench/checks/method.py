"""Tests of the contract of a method: call ``check_method(YourMethod())`` in a test of your plugin.

A method that supports regression should pass ``check_method(YourMethod(), "regression")`` too.
"""

import warnings
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from bbh_bench.api import Method, OodDetector, Posterior, Problem, is_differentiable
from bbh_bench.checks.small_problems import CLASSES, small_problem, small_regression
from bbh_bench.checks.tools import advice, no_data_files, require
from bbh_bench.contracts import check_object
from bbh_bench.data import sealed
from bbh_bench.errors import BenchWarning, ContractError
from bbh_bench.evaluation.ood_scores import check_scores
from bbh_bench.evaluation.predictive import PROBABILITIES, looks_like_probabilities
from bbh_bench.running.stages import seed_everything

SAMPLES = 8


def check_method(method: Method, kind: Literal["classification", "regression"] = "classification") -> None:
    """Fit a small problem, and raise ``AssertionError`` with advice if the method breaks its contract.

    Warns (``BenchWarning``) of what is probably a mistake but breaks no contract, such as probabilities in place of logits.
    """
    make = {"classification": small_problem, "regression": small_regression}[kind]
    width = {"classification": CLASSES, "regression": 1}[kind]
    problem, untouched = make(), make()
    try:
        check_object("method", method)
    except ContractError as error:
        raise AssertionError(str(error)) from error
    posterior = _fit(method, problem, seed=0)
    require(
        problem.x.equal(untouched.x) and problem.y.equal(untouched.y), "fit changed the training data; copy them first."
    )
    _check_posterior(posterior)
    x = problem.x[:7].clone()
    first = _outputs(posterior, x, seed=0)
    require(x.equal(problem.x[:7]), "sample(n)(x) changed its input; work on a copy.")
    _check_shapes(posterior, x, first, width)
    _check_frozen(posterior, x)
    _check_images_apart(posterior, x)
    if is_differentiable(posterior):
        _check_differentiable(posterior, x)
    refitted = _fit(method, problem, seed=0)
    again = _outputs(refitted, x, seed=0)
    require(first.equal(again), "the same seed gave another posterior; use torch's global random generator only.")
    if isinstance(posterior, OodDetector):
        _check_ood_score(posterior, x)
        require(
            isinstance(refitted, OodDetector) and refitted.ood_score(x).equal(posterior.ood_score(x)),
            "the same seed gave other values of ood_score; use torch's global random generator only.",
        )
    other = _outputs(_fit(method, problem, seed=1), x, seed=0)
    require(not first.equal(other), "another seed gave the same posterior; do not seed inside fit, the runner does.")
    if kind == "classification":
        _warn_of_probabilities(first)
        _check_classifies(posterior, problem)
    else:
        _check_fits(posterior, problem)


def _fit(method: Method, problem: Problem, seed: int) -> Posterior:
    fractions: list[float] = []
    seed_everything(seed, "fit")
    with sealed(f"method '{method.name}'"), no_data_files(), advice("fit"):
        posterior = method.fit(replace(problem, progress=lambda fraction, loss: fractions.append(fraction)))
    outside = [fraction for fraction in fractions if not 0 <= fraction <= 1]
    require(not outside, f"progress got the fractions {outside}; the completed fraction lies in [0, 1].")
    return posterior


def _outputs(posterior: Posterior, x: Tensor, seed: int) -> Tensor:
    seed_everything(seed, "sample")
    with advice("sample(n)(x)"):
        return posterior.sample(SAMPLES)(x).detach()


def _check_posterior(posterior: Posterior) -> None:
    require(callable(getattr(posterior, "sample", None)), "fit must return an object with a method sample(n).")
    parameters = getattr(posterior, "parameters", None)
    require(isinstance(parameters, int), "the posterior needs `parameters`: its number of parameters, an integer.")


def _check_shapes(posterior: Posterior, x: Tensor, outputs: Tensor, width: int) -> None:
    shape = list(outputs.shape)
    wanted = f"[n, {len(x)}, {width}] with n from 1 to {SAMPLES}"
    fits = len(shape) == 3 and 1 <= shape[0] <= SAMPLES and shape[1:] == [len(x), width]
    require(fits, f"sample({SAMPLES})(x) has shape {shape}; it must be {wanted}.")
    require(outputs.is_floating_point(), f"outputs are {outputs.dtype}; they must be floating-point numbers.")
    require(outputs.isfinite().all(), "outputs are not all finite.")


def _check_frozen(posterior: Posterior, x: Tensor) -> None:
    with advice("sample(n)(x)"):
        networks = posterior.sample(SAMPLES)
        first = networks(x).detach()
        posterior.sample(SAMPLES)(x)  # other samples must not change these
        second = networks(x).detach()
    require(
        second.equal(first),
        "two calls of the function that sample(n) returned differ on the same inputs; sample in sample(n), not in the call.",
    )


def _check_images_apart(posterior: Posterior, x: Tensor) -> None:
    with advice("sample(n)(x), for a batch of another size,"):
        networks = posterior.sample(SAMPLES)
        together, alone = networks(x)[:, :2].detach(), networks(x[:2]).detach()
    require(
        alone.shape == together.shape, f"two inputs got outputs of shape {list(alone.shape)}; any batch size must do."
    )
    require(
        torch.allclose(together, alone, atol=1e-4),
        "the outputs of an image depend on the other images of its batch; normalise each image by itself.",
    )


def _check_differentiable(posterior: Posterior, x: Tensor) -> None:
    x = x.clone().requires_grad_()
    no_gradient = (
        "outputs have no gradient with respect to the inputs; do not use detach or no_grad, or set "
        "`differentiable = False`."
    )
    with advice("sample(n)(x), for an input with gradient,"):
        outputs = posterior.sample(SAMPLES)(x)
    require(outputs.requires_grad, no_gradient)
    with advice("the gradient with respect to the input"):
        (gradient,) = torch.autograd.grad(outputs.logsumexp(-1).sum(), x, allow_unused=True)
    require(gradient is not None, no_gradient)
    require(gradient.isfinite().all(), "gradients with respect to the inputs are not all finite.")
    require(gradient.abs().sum() > 0, "gradients with respect to the inputs are all zero.")


def _check_ood_score(detector: OodDetector, x: Tensor) -> None:
    images = x.clone()
    with advice("ood_score(x)"):
        first = detector.ood_score(images)
        second = detector.ood_score(x.clone())
    try:
        check_scores(first, len(x))
    except ContractError as error:
        raise AssertionError(str(error)) from error
    require(images.equal(x), "ood_score(x) changed its input; work on a copy.")
    require(
        second.equal(first),
        "two calls of ood_score differ on the same inputs; sample the networks that it uses in fit.",
    )
    with advice("ood_score(x), for a batch of another size,"):
        alone = detector.ood_score(x[:2].clone())
    require(
        alone.shape == (2,) and torch.allclose(first[:2], alone, rtol=1e-4, atol=1e-4 * float(first.abs().max())),
        "the OOD score of an image depends on the other images of its batch; compare it with the training data only.",
    )


def _warn_of_probabilities(outputs: Tensor) -> None:
    if looks_like_probabilities(outputs):
        warnings.warn(PROBABILITIES, BenchWarning, stacklevel=3)


def _check_classifies(posterior: Posterior, problem: Problem) -> None:
    probs = _outputs(posterior, problem.x, seed=0).softmax(-1).mean(0)
    accuracy = (probs.argmax(-1) == problem.y).float().mean().item()
    require(accuracy > 0.6, f"only {accuracy:.0%} of the training images of a simple problem are classified correctly.")


def _check_fits(posterior: Posterior, problem: Problem) -> None:
    mean = _outputs(posterior, problem.x, seed=0).mean(0).squeeze(-1)
    left = ((mean - problem.y).square().mean() / problem.y.var()).sqrt().item()
    require(
        left < 0.7,
        f"the error of the mean is {left:.0%} of the standard deviation of the targets, on a simple regression.",
    )
