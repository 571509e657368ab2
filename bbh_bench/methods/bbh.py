"""Bayes by Hypernet: Pawlowski et al. 2017, arXiv 1711.01297.

The posterior over all weights is implicit: a hypernetwork turns noise into weights. It minimises the expected negative
log-likelihood plus an estimate of KL / N from a few draws. This is the paper's method with its reference code's flaws
mended: biases and kernels share nothing, slices are output units, constants are right, and the optimiser is Adam.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bbh_bench.api import Posterior, Problem
from bbh_bench.hypernet import Generator, Part, Shapes, layer_wise, single, sliced
from bbh_bench.kl import Discriminator, nearest_full, nearest_per_weight
from bbh_bench.training import adam, annealed, minimise
from bbh_bench.weights import WeightPosterior, drawn_shapes, forward
from bbh_bench.wide import WideAdam

KlEstimate = Callable[[Tensor], Tensor]
"""Draws of all weights ``[S, W]`` -> an estimate of their KL to the prior, a scalar, in nats."""


class DeadGeneratorWarning(UserWarning):
    """The generator has learnt no more than a constant prediction."""


@dataclass(frozen=True)
class Bbh:
    """Bayes by Hypernet: weights generated from noise, one hypernetwork for each tensor."""

    name: str = "bbh"
    generator: Literal["layer-wise", "sliced", "single"] = "layer-wise"
    chunks: int = 130
    """In how many pieces the single generator gives all weights; the paper's number for LeNet."""
    noise: int = 8
    """Dimensions of the noise; the paper runs 1, 8 and 64."""
    shared: bool = True
    """One noise vector for all hypernetworks of a draw; otherwise one for each."""
    units: tuple[int, ...] = (64, 256, 512)
    lr: float = 3e-4
    """The paper's RMSProp runs at 1e-4 for ten times as many steps. At 1e-3 with one likelihood draw, gradient noise alone
    drives the generator to a constant prediction from which it doesn't come back."""
    likelihood_draws: int = 5
    """Draws in the expected log-likelihood a step. The paper takes one; several keep the gradient's noise down."""
    kl: Literal["per-weight", "full", "discriminator"] = "per-weight"
    kl_draws: int = 5
    """Draws in the estimate of the KL a step, the likelihood's among them."""
    prior_scale: float = 1.0
    wait: float = 0.05
    """Share of the steps before the KL counts; on the paper's MNIST 5 of 100 epochs."""
    anneal: float = 0.15
    """Share of the steps over which it then rises to its full weight; 15 of 100 epochs."""

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood plus KL / N."""
        network = problem.network().train()
        shapes = drawn_shapes(network, self.name)
        generator = Generator(shapes, self._parts(shapes), self.noise, self.units, self.shared).to(problem.x.device)
        points = [weight for name, weight in network.named_parameters() if name not in shapes]
        estimate = self._estimate(problem)
        watch = _Watch()

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            draws = generator.draw(max(self.likelihood_draws, self.kl_draws))
            used = {name: weights[: self.likelihood_draws] for name, weights in draws.items()}
            likelihood = torch.stack([problem.likelihood(outputs, y) for outputs in forward(network, used, x)]).mean()
            watch.see(likelihood)
            weight = annealed(step, problem.steps, self.anneal, self.wait)
            if weight == 0:
                return likelihood
            flat = torch.cat([weights[: self.kl_draws].flatten(1) for weights in draws.values()], dim=1)
            return likelihood + weight / len(problem.x) * estimate(flat)

        minimise(problem, WideAdam(nn.ModuleList([generator, _Points(points)]), self.lr), loss)
        watch.warn(self.name)
        count = sum(weight.numel() for weight in [*generator.parameters(), *points])
        return WeightPosterior(network, generator.eval().requires_grad_(False).draw, count)

    def _parts(self, shapes: Shapes) -> list[Part]:
        if self.generator == "single":
            return single(shapes, self.chunks)
        return {"layer-wise": layer_wise, "sliced": sliced}[self.generator](shapes)

    def _estimate(self, problem: Problem) -> KlEstimate:
        """The chosen estimator with fresh draws of the prior at every call."""

        def prior(draws: Tensor) -> Tensor:
            return self.prior_scale * torch.randn_like(draws)

        if self.kl == "discriminator":
            return _trained_alongside(Discriminator().to(problem.x.device), prior, self.lr)
        nearest = {"per-weight": nearest_per_weight, "full": nearest_full}[self.kl]
        return lambda draws: nearest(draws, prior(draws))


class _Points(nn.Module):
    """Weights that are learnt as points: those of normalisation."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)


def _trained_alongside(
    discriminator: Discriminator, prior: Callable[[Tensor], Tensor], lr: float, head_start: int = 100
) -> KlEstimate:
    """The discriminator's estimate; it learns for 100 steps in advance, then one step at every call, as in the paper."""
    optimiser = adam(discriminator.parameters(), lr)
    steps = head_start

    def estimate(draws: Tensor) -> Tensor:
        nonlocal steps
        for _ in range(max(1, steps)):
            optimiser.zero_grad()
            discriminator.loss(draws, prior(draws)).backward()
            optimiser.step()
        steps = 0
        return discriminator.kl(draws)

    return estimate


class _Watch:
    """Compares the likelihood at the end with that at the start, when the generated weights are still almost zero."""

    def __init__(self) -> None:
        self.first: Tensor | None = None
        self.recent = torch.tensor(0.0)

    def see(self, likelihood: Tensor) -> None:
        """Note one step's mean negative log-likelihood, without waiting for the device."""
        now = likelihood.detach()
        self.first = now if self.first is None else self.first
        self.recent = now if self.first is now else self.recent.lerp(now, 0.02)

    def warn(self, name: str) -> None:
        """Warn if the last hundred steps or so are hardly better than the first."""
        if self.first is not None and self.recent > 0.9 * self.first:
            warnings.warn(
                f"method '{name}': the generator hasn't learnt to predict (negative log-likelihood {self.recent:.3g}, and "
                f"{self.first:.3g} at the start). Lower lr, raise likelihood_draws, or give it more steps.",
                DeadGeneratorWarning,
                stacklevel=3,
            )
