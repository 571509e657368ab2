"""Bayes by Hypernet: Pawlowski et al. 2017, arXiv 1711.01297.

The posterior over all weights is implicit: a hypernetwork turns noise into weights. It minimises the expected negative
log-likelihood plus an estimate of KL / N from a few draws. This is the paper's method with its reference code's flaws
mended: biases and kernels share nothing, slices are output units, constants are right, and the optimiser is Adam. Generated
weights start at the size of the network's own, and change with a step of Adam as slowly as a network's do: without that
only the layer-wise generator was seen to learn on small data (``bbh_bench.inference.hypernet`` says why).
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bbh_bench.api import Posterior, Problem
from bbh_bench.inference.hypernet import Generator, Part, Shapes, layer_wise, single, sliced
from bbh_bench.inference.kl import Discriminator, nearest_full, nearest_per_weight
from bbh_bench.inference.low_rank_adam import WideAdam
from bbh_bench.inference.training import adam, annealed, minimise
from bbh_bench.inference.weights import WeightPosterior, drawn_shapes, forward, layers

EPS = 1e-8
"""Adam's. The paper's 1e-5 is larger than most gradients of the head of a large part."""

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
    """In how many pieces the single generator gives all weights, at most: the paper's number for LeNet. No more than the root
    of the number of weights, or a small network's pieces would be too small to share anything."""
    noise: int = 8
    """Dimensions of the noise; the paper runs 1, 8 and 64."""
    shared: bool = True
    """One noise vector for all hypernetworks of a draw; otherwise one for each."""
    units: tuple[int, ...] = (64, 256, 512)
    spread: float = 1.0
    """Of the noise against the number of the slice, at the start.

    The slices of one hypernetwork, units of a layer or chunks of the network, move in concert with the noise, and their
    variations don't average out: from 1 on those generators are often dead, and start at 0.5.
    """
    lr: float = 2e-3
    """1e-3 where weights share more of the generator, in slices or chunks. The paper's RMSProp runs at 1e-4, on weights of
    Glorot's size and for ten times as many steps as most budgets here."""
    likelihood_draws: int = 3
    """Draws in the expected log-likelihood a step. The paper takes one; several keep the gradient's noise down."""
    kl: Literal["per-weight", "full", "discriminator"] = "per-weight"
    kl_draws: int = 5
    """Draws in the estimate of the KL a step, the likelihood's among them."""
    prior_scale: float = 1.0
    kl_weight: float = 1.0
    """Below 1 the posterior is cold (Wenzel et al. 2020, arXiv 2002.02405). 0.2 in slices or chunks: the estimate of the KL
    counts every weight as if it varied by itself, though few directions do."""
    wait: float = 0.05
    """Share of the steps before the KL counts; on the paper's MNIST 5 of 100 epochs."""
    anneal: float = 0.15
    """Share of the steps over which it then rises to its full weight; 15 of 100 epochs."""

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood plus KL / N."""
        network = problem.network().train()
        shapes = drawn_shapes(network, self.name)
        generator = self._generator(network, shapes).to(problem.x.device)
        points = [weight for name, weight in network.named_parameters() if name not in shapes]
        estimate = self._estimate(problem)
        watch = _Watch(problem)

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            draws = generator.draw(max(self.likelihood_draws, self.kl_draws))
            used = {name: weights[: self.likelihood_draws] for name, weights in draws.items()}
            outputs = forward(network, used, x)
            likelihood = torch.stack([problem.likelihood(output, y) for output in outputs]).mean()
            watch.see(likelihood, outputs)
            weight = annealed(step, problem.steps, self.anneal, self.wait)
            if weight == 0:
                return likelihood
            flat = torch.cat([weights[: self.kl_draws].flatten(1) for weights in draws.values()], dim=1)
            return likelihood + self.kl_weight * weight / len(problem.x) * estimate(flat)

        minimise(problem, WideAdam(nn.ModuleList([generator, _Points(points)]), self.lr, eps=EPS), loss)
        watch.warn(self.name)
        count = sum(weight.numel() for weight in [*generator.parameters(), *points])
        return WeightPosterior(network, generator.eval().requires_grad_(False).draw, count)

    def _generator(self, network: nn.Module, shapes: Shapes) -> Generator:
        """Its weights start at the size of the network's; a bias, which starts at zero there, at that of its kernel."""
        sizes = {
            name: layer.weight.detach().square().mean().sqrt().item()
            for prefix, layer in layers(network, self.name).items()
            for name, _ in layer.named_parameters(prefix)
        }
        return Generator(shapes, self._parts(shapes), self.noise, self.units, self.shared, sizes, self.spread)

    def _parts(self, shapes: Shapes) -> list[Part]:
        if self.generator == "single":
            weights = sum(shape.numel() for shape in shapes.values())
            return single(shapes, min(self.chunks, math.isqrt(weights)))
        return {"layer-wise": layer_wise, "sliced": sliced}[self.generator](shapes)

    def _estimate(self, problem: Problem) -> KlEstimate:
        """The chosen estimator with fresh draws of the prior at every call."""

        def prior(draws: Tensor) -> Tensor:
            return self.prior_scale * torch.randn_like(draws)

        if self.kl == "discriminator":
            return _trained_alongside(Discriminator().to(problem.x.device), prior, self.lr)
        nearest = {"per-weight": nearest_per_weight, "full": nearest_full}[self.kl]
        return lambda draws: nearest(draws, prior(draws))


LAYER_WISE = Bbh()
SLICED = Bbh(name="bbh-sliced", generator="sliced", lr=1e-3, spread=0.5, kl_weight=0.2)
SINGLE = Bbh(name="bbh-single", generator="single", lr=1e-3, spread=0.5, kl_weight=0.2)


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
    """Compares the likelihood at the end with that of the best constant prediction."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.width: int | None = None
        self.recent = torch.tensor(0.0)

    def see(self, likelihood: Tensor, outputs: Tensor) -> None:
        """Note one step's mean negative log-likelihood, without waiting for the device."""
        now = likelihood.detach()
        self.recent = now if self.width is None else self.recent.lerp(now, min(1.0, 10 / self.problem.steps))
        self.width = outputs.shape[-1]

    def warn(self, name: str) -> None:
        """Warn if the last tenth of the steps, or so, is not a tenth of a nat better."""
        if self.width is None:
            return
        constant = self._constant(self.width)
        if not self.recent < constant - 0.1:
            warnings.warn(
                f"method '{name}': the generator hasn't learnt to predict (negative log-likelihood {self.recent:.3g}; the "
                f"best constant prediction has {constant:.3g}). Lower lr, kl_weight or spread, raise likelihood_draws, or "
                "give it more steps.",
                DeadGeneratorWarning,
                stacklevel=3,
            )

    def _constant(self, width: int) -> float:
        """The lowest mean negative log-likelihood of outputs that are the same for all inputs."""
        output = torch.zeros(width, device=self.problem.x.device, requires_grad=True)
        optimiser = torch.optim.LBFGS([output], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = self.problem.likelihood(output.expand(len(self.problem.y), -1), self.problem.y)
            value.backward()
            return value

        optimiser.step(loss)
        return loss().item()
