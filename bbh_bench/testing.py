"""Tests of the contract of a method: call ``check_method(YourMethod())`` in a test of your plugin.

A method that supports regression should pass ``check_method(YourMethod(), "regression")`` too.
"""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from bbh_bench.api import Categorical, Gaussian, Method, OodDetector, Posterior, Problem, is_differentiable
from bbh_bench.contracts import check_object
from bbh_bench.data import data_folder, sealed
from bbh_bench.errors import BenchWarning, ContractError, DataError
from bbh_bench.evaluation.ood_scores import check_scores
from bbh_bench.evaluation.predictive import PROBABILITIES, looks_like_probabilities
from bbh_bench.running.stages import seed_everything
from bbh_bench.tasks.networks import initialise

SAMPLES = 8
CLASSES = 3


def small_network() -> nn.Module:
    """A network with every kind of layer that the suite's tasks use, for images ``[B, 1, 6, 6]``."""
    return initialise(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Dropout(0.0),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(36, 16),
            nn.Dropout(0.0),
            nn.ReLU(),
            nn.Linear(16, CLASSES),
        )
    )


def small_problem(epochs: int = 80) -> Problem:
    """Sixty images of three classes, which differ in the third that is bright. The same at every call, in new tensors."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % CLASSES
    x = torch.rand(60, 1, 6, 6, generator=generator) / 2
    for c in range(CLASSES):
        x[y == c, :, :, 2 * c : 2 * c + 2] += 0.5
    return Problem(x=x, y=y, network=small_network, likelihood=Categorical(CLASSES), epochs=epochs, batch_size=20)


def small_regression(epochs: int = 300) -> Problem:
    """Forty points of a parabola in two variables, in one batch, with standard deviation 1 and noise of 0.2."""
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(40, 2, generator=generator) - 1
    y = x.square().sum(1) + x[:, 0]
    y = (y - y.mean()) / y.std() + 0.2 * torch.randn(40, generator=generator)

    def network() -> nn.Module:
        return initialise(nn.Sequential(nn.Linear(2, 20), nn.Dropout(0.0), nn.ReLU(), nn.Linear(20, 1)))

    return Problem(x=x, y=y, network=network, likelihood=Gaussian(0.2), epochs=epochs, batch_size=40)


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
    _require(
        problem.x.equal(untouched.x) and problem.y.equal(untouched.y), "fit changed the training data; copy them first."
    )
    _check_posterior(posterior)
    x = problem.x[:7].clone()
    first = _outputs(posterior, x, seed=0)
    _require(x.equal(problem.x[:7]), "sample(n)(x) changed its input; work on a copy.")
    _check_shapes(posterior, x, first, width)
    _check_frozen(posterior, x)
    _check_images_apart(posterior, x)
    if is_differentiable(posterior):
        _check_differentiable(posterior, x)
    refitted = _fit(method, problem, seed=0)
    again = _outputs(refitted, x, seed=0)
    _require(first.equal(again), "the same seed gave another posterior; use torch's global random generator only.")
    if isinstance(posterior, OodDetector):
        _check_ood_score(posterior, x)
        _require(
            isinstance(refitted, OodDetector) and refitted.ood_score(x).equal(posterior.ood_score(x)),
            "the same seed gave other values of ood_score; use torch's global random generator only.",
        )
    other = _outputs(_fit(method, problem, seed=1), x, seed=0)
    _require(not first.equal(other), "another seed gave the same posterior; do not seed inside fit, the runner does.")
    if kind == "classification":
        _warn_of_probabilities(first)
        _check_classifies(posterior, problem)
    else:
        _check_fits(posterior, problem)


def _fit(method: Method, problem: Problem, seed: int) -> Posterior:
    fractions: list[float] = []
    seed_everything(seed, "fit")
    with sealed(f"method '{method.name}'"), _no_data_files(), _advice("fit"):
        posterior = method.fit(replace(problem, progress=lambda fraction, loss: fractions.append(fraction)))
    outside = [fraction for fraction in fractions if not 0 <= fraction <= 1]
    _require(not outside, f"progress got the fractions {outside}; the completed fraction lies in [0, 1].")
    return posterior


def _outputs(posterior: Posterior, x: Tensor, seed: int) -> Tensor:
    seed_everything(seed, "sample")
    with _advice("sample(n)(x)"):
        return posterior.sample(SAMPLES)(x).detach()


def _check_posterior(posterior: Posterior) -> None:
    _require(callable(getattr(posterior, "sample", None)), "fit must return an object with a method sample(n).")
    parameters = getattr(posterior, "parameters", None)
    _require(isinstance(parameters, int), "the posterior needs `parameters`: its number of parameters, an integer.")


def _check_shapes(posterior: Posterior, x: Tensor, outputs: Tensor, width: int) -> None:
    shape = list(outputs.shape)
    wanted = f"[n, {len(x)}, {width}] with n from 1 to {SAMPLES}"
    fits = len(shape) == 3 and 1 <= shape[0] <= SAMPLES and shape[1:] == [len(x), width]
    _require(fits, f"sample({SAMPLES})(x) has shape {shape}; it must be {wanted}.")
    _require(outputs.is_floating_point(), f"outputs are {outputs.dtype}; they must be floating-point numbers.")
    _require(outputs.isfinite().all(), "outputs are not all finite.")


def _check_frozen(posterior: Posterior, x: Tensor) -> None:
    with _advice("sample(n)(x)"):
        networks = posterior.sample(SAMPLES)
        first = networks(x).detach()
        posterior.sample(SAMPLES)(x)  # other samples must not change these
        second = networks(x).detach()
    _require(
        second.equal(first),
        "two calls of the function that sample(n) returned differ on the same inputs; sample in sample(n), not in the call.",
    )


def _check_images_apart(posterior: Posterior, x: Tensor) -> None:
    with _advice("sample(n)(x), for a batch of another size,"):
        networks = posterior.sample(SAMPLES)
        together, alone = networks(x)[:, :2].detach(), networks(x[:2]).detach()
    _require(
        alone.shape == together.shape, f"two inputs got outputs of shape {list(alone.shape)}; any batch size must do."
    )
    _require(
        torch.allclose(together, alone, atol=1e-4),
        "the outputs of an image depend on the other images of its batch; normalise each image by itself.",
    )


def _check_differentiable(posterior: Posterior, x: Tensor) -> None:
    x = x.clone().requires_grad_()
    no_gradient = (
        "outputs have no gradient with respect to the inputs; do not use detach or no_grad, or set "
        "`differentiable = False`."
    )
    with _advice("sample(n)(x), for an input with gradient,"):
        outputs = posterior.sample(SAMPLES)(x)
    _require(outputs.requires_grad, no_gradient)
    with _advice("the gradient with respect to the input"):
        (gradient,) = torch.autograd.grad(outputs.logsumexp(-1).sum(), x, allow_unused=True)
    _require(gradient is not None, no_gradient)
    _require(gradient.isfinite().all(), "gradients with respect to the inputs are not all finite.")
    _require(gradient.abs().sum() > 0, "gradients with respect to the inputs are all zero.")


def _check_ood_score(detector: OodDetector, x: Tensor) -> None:
    images = x.clone()
    with _advice("ood_score(x)"):
        first = detector.ood_score(images)
        second = detector.ood_score(x.clone())
    try:
        check_scores(first, len(x))
    except ContractError as error:
        raise AssertionError(str(error)) from error
    _require(images.equal(x), "ood_score(x) changed its input; work on a copy.")
    _require(
        second.equal(first),
        "two calls of ood_score differ on the same inputs; sample the networks that it uses in fit.",
    )
    with _advice("ood_score(x), for a batch of another size,"):
        alone = detector.ood_score(x[:2].clone())
    _require(
        alone.shape == (2,) and torch.allclose(first[:2], alone, rtol=1e-4, atol=1e-4 * float(first.abs().max())),
        "the OOD score of an image depends on the other images of its batch; compare it with the training data only.",
    )


def _warn_of_probabilities(outputs: Tensor) -> None:
    if looks_like_probabilities(outputs):
        warnings.warn(PROBABILITIES, BenchWarning, stacklevel=3)


def _check_classifies(posterior: Posterior, problem: Problem) -> None:
    probs = _outputs(posterior, problem.x, seed=0).softmax(-1).mean(0)
    accuracy = (probs.argmax(-1) == problem.y).float().mean().item()
    _require(
        accuracy > 0.6, f"only {accuracy:.0%} of the training images of a simple problem are classified correctly."
    )


def _check_fits(posterior: Posterior, problem: Problem) -> None:
    mean = _outputs(posterior, problem.x, seed=0).mean(0).squeeze(-1)
    left = ((mean - problem.y).square().mean() / problem.y.var()).sqrt().item()
    _require(
        left < 0.7,
        f"the error of the mean is {left:.0%} of the standard deviation of the targets, on a simple regression.",
    )


@contextmanager
def _advice(what: str) -> Iterator[None]:
    """Turn any exception inside into an ``AssertionError``."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise AssertionError(f"{what} raised {type(error).__name__}: {error}") from error


_watched: ContextVar[Path | None] = ContextVar("watched", default=None)


@cache
def _watch_files() -> None:
    """Install an audit hook, once per process: it cannot be removed, so it does nothing unless a folder is watched."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        folder = _watched.get()
        if event == "open" and folder is not None and isinstance(arguments[0], str):
            path = Path(arguments[0]).absolute()
            bundled = "datasets" in path.parts and path.suffix not in (".py", ".pyc", ".so")  # scikit-learn's, say
            if bundled or path.is_relative_to(folder):
                raise PermissionError(f"it opened the data file '{path}'; use the data of the Problem.")

    sys.addaudithook(hook)


@contextmanager
def _no_data_files() -> Iterator[None]:
    """Refuse to open files of scikit-learn's data sets and of the data folder, inside."""
    _watch_files()
    try:
        folder = data_folder()
    except DataError:  # a folder that does not exist needs no guard
        folder = Path("no data folder")
    token = _watched.set(folder.absolute())
    try:
        yield
    finally:
        _watched.reset(token)


def _require(holds: object, advice: str) -> None:
    """An assertion that holds under ``python -O`` too."""
    if not holds:
        raise AssertionError(advice)
