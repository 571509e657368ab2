"""Bayes by Hypernet: Pawlowski et al. 2017, arXiv 1711.01297.

The posterior over all weights is implicit: a hypernetwork generates weights from noise. It minimises the expected negative
log-likelihood plus an estimate of KL / N from a few samples.

This is the paper's method without the errors of its reference code: biases and kernels share nothing, slices are output units,
and constants are correct. The optimiser is Adam. Generated weights start at the size of the network's own, and a step of Adam
changes them as slowly as the weights of a network. Without that, only the layer-wise generator was observed to learn on small
data (see ``bbh_bench.inference.hypernet`` for the reason).
"""

import math
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bbh_bench.acceleration import accelerated
from bbh_bench.api import Choices, LogUniform, OneOf, Posterior, Problem, Stateful
from bbh_bench.errors import BenchWarning
from bbh_bench.inference.hypernet import Generator, Part, Shapes, layer_wise, single, sliced
from bbh_bench.inference.kl import Discriminator, nearest_full, nearest_per_weight
from bbh_bench.inference.low_rank_adam import LowRankAdam
from bbh_bench.inference.training import Optimiser, adam, annealing_weight, minimise
from bbh_bench.inference.weights import WeightPosterior, forward, sampled_layers, sampled_shapes

ADAM_EPSILON = 1e-8
"""The paper's 1e-5 is larger than most gradients of the head of a large part."""

PRETRAINING_STEPS = 100
"""Of the discriminator, before the first step of the generator."""

KlEstimate = Callable[[Tensor], Tensor]
"""Samples of all weights ``[S, W]`` -> an estimate of their KL to the prior, a scalar, in nats."""


class DeadGeneratorWarning(BenchWarning):
    """The generator has learned no more than a constant prediction."""


@dataclass(frozen=True)
class Bbh:
    """Bayes by Hypernet: weights that hypernetworks generate from noise, in one of three arrangements (`generator`)."""

    name: str = "bbh"
    version: int = 1
    generator: Literal["layer-wise", "sliced", "single"] = "layer-wise"
    chunks: int = 130
    """Maximum number of chunks in which the single generator generates all weights: the paper's number for LeNet.

    It is also at most the square root of the number of weights. The chunks of a small network would otherwise be too small to
    share anything.
    """
    noise: int = 8
    """Dimensions of the noise; the paper uses 1, 8 and 64."""
    shared: bool = True
    """One noise vector for all hypernetworks of a sample; otherwise one for each."""
    units: tuple[int, ...] = (64, 256, 512)
    """Hidden units of each hypernetwork."""
    spread: float = 1.0
    """Size of the noise relative to the slice index, in the first layer, at the start.

    The slices of one hypernetwork, which are units of a layer or chunks of the network, vary together with the noise, and their
    variations do not average out. From 1 on, those generators often learn nothing; they use 0.5.
    """
    lr: float = 2e-3
    """1e-3 if weights share more of the generator, in slices or chunks. The paper uses RMSProp at 1e-4, for weights of Glorot's
    size, and ten times as many steps as most budgets here."""
    likelihood_samples: int = 3
    """Samples per step in the expected log-likelihood. The paper uses one, and so does the single generator; several reduce the
    noise of the gradient."""
    kl: Literal["per-weight", "full", "discriminator"] = "per-weight"
    kl_samples: int = 5
    """Samples per step in the estimate of the KL, including those of the likelihood."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on every weight and bias."""
    kl_weight: float = 1.0
    """Below 1, the posterior is cold (Wenzel et al. 2020, arXiv 2002.02405). 0.2 for slices or chunks: the estimate of the KL
    treats every weight as if it varied independently, though only few directions vary. With the full weight, the validation NLL
    of both was higher in every trial (``docs/tuning.md``)."""
    wait: float = 0.05
    """Share of the steps before the KL counts; 5 of 100 epochs for the paper's MNIST."""
    anneal: float = 0.15
    """Share of the steps over which the KL then rises to its full weight; 15 of 100 epochs."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``api.Searchable``."""
        return {
            "lr": LogUniform(3e-4, 1e-2),
            "noise": OneOf((1, 8, 64)),
            "spread": LogUniform(0.2, 1.0),
            "likelihood_samples": OneOf((1, 3)),
            "kl_weight": OneOf((0.2, 1.0)),
        }

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood plus KL / N. Issues ``DeadGeneratorWarning`` if nothing was learned."""
        network = problem.network().train()
        shapes = sampled_shapes(network, self.name)
        generator = self._generator(network, shapes).to(problem.x.device)
        points = [weight for name, weight in network.named_parameters() if name not in shapes]
        estimate = self._estimate(problem)
        check = _DeadGeneratorCheck(problem)

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            samples = generator.sample(max(self.likelihood_samples, self.kl_samples))
            likelihood_samples = {name: weights[: self.likelihood_samples] for name, weights in samples.items()}
            outputs = forward(network, likelihood_samples, x)
            likelihood = torch.stack([problem.likelihood(output, y) for output in outputs]).mean()
            check.update(likelihood, outputs)
            weight = annealing_weight(step, problem.steps, self.anneal, self.wait)
            if weight == 0:
                return likelihood
            flat = torch.cat([weights[: self.kl_samples].flatten(1) for weights in samples.values()], dim=1)
            return likelihood + self.kl_weight * weight / len(problem.x) * estimate(flat)

        weights = nn.ModuleList([generator, _Points(points)])
        state: dict[str, Stateful] = {"weights": weights, "check": check}
        if isinstance(estimate, Stateful):
            state["estimate"] = estimate
        minimise(problem, _optimiser(weights, self.lr), loss, state)
        check.warn(self.name)
        count = sum(weight.numel() for weight in [*generator.parameters(), *points])
        return WeightPosterior(network, generator.eval().requires_grad_(False).sample, count)

    def _generator(self, network: nn.Module, shapes: Shapes) -> Generator:
        """Its weights start at the size of the network's. A bias, which is zero there, starts at the size of its kernel."""
        initial_rms = {
            name: layer.weight.detach().square().mean().sqrt().item()
            for prefix, layer in sampled_layers(network, self.name).items()
            for name, _ in layer.named_parameters(prefix)
        }
        return Generator(shapes, self._parts(shapes), self.noise, self.units, self.shared, initial_rms, self.spread)

    def _parts(self, shapes: Shapes) -> list[Part]:
        if self.generator == "single":
            weights = sum(shape.numel() for shape in shapes.values())
            return single(shapes, min(self.chunks, math.isqrt(weights)))
        return {"layer-wise": layer_wise, "sliced": sliced}[self.generator](shapes)

    def _estimate(self, problem: Problem) -> KlEstimate:
        """The chosen estimator, with new samples of the prior at every call."""
        prior_scale = problem.prior_scale_or(self.prior_scale)

        def prior(samples: Tensor) -> Tensor:
            return prior_scale * torch.randn_like(samples)

        if self.kl == "discriminator":
            return _TrainedAlongside(Discriminator().to(problem.x.device), prior, self.lr)
        nearest = {"per-weight": nearest_per_weight, "full": nearest_full}[self.kl]
        return lambda samples: nearest(samples, prior(samples))


LAYER_WISE = Bbh()
SLICED = Bbh(name="bbh-sliced", generator="sliced", lr=1e-3, spread=0.5, kl_weight=0.2)
SINGLE = Bbh(name="bbh-single", generator="single", lr=1e-3, spread=0.5, likelihood_samples=1, kl_weight=0.2)


def _optimiser(weights: nn.Module, lr: float) -> Optimiser:
    if accelerated():
        return LowRankAdam(weights, lr, eps=ADAM_EPSILON)
    return adam(weights.parameters(), lr, ADAM_EPSILON)


class _Points(nn.Module):
    """Weights that have point estimates: those of normalisation layers."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)


class _TrainedAlongside:
    """The discriminator's estimate. As in the paper, it is trained for 100 steps at the first call, then for one per call."""

    def __init__(self, discriminator: Discriminator, prior: Callable[[Tensor], Tensor], lr: float) -> None:
        self._discriminator = discriminator
        self._prior = prior
        self._optimiser = adam(discriminator.parameters(), lr)
        self._steps = PRETRAINING_STEPS
        """Of the next call."""

    def __call__(self, samples: Tensor) -> Tensor:
        for _ in range(self._steps):
            self._optimiser.zero_grad()
            self._discriminator.loss(samples, self._prior(samples)).backward()
            self._optimiser.step()
        self._steps = 1
        return self._discriminator.kl(samples)

    def state_dict(self) -> dict[str, Any]:
        return {
            "discriminator": self._discriminator.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "steps": self._steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._discriminator.load_state_dict(state_dict["discriminator"])
        self._optimiser.load_state_dict(deepcopy(state_dict["optimiser"]))  # which would keep the tensors that it gets
        self._steps = state_dict["steps"]


class _DeadGeneratorCheck:
    """Compares the likelihood at the end of training with that of the best constant prediction."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.outputs: int | None = None  # K, known after the first step
        self.recent = torch.tensor(0.0)  # moving average of the negative log-likelihood

    def update(self, likelihood: Tensor, outputs: Tensor) -> None:
        """Add the mean negative log-likelihood of one step, without waiting for the device."""
        current = likelihood.detach()
        if self.outputs is None:
            self.recent = current
        else:
            self.recent = self.recent.lerp(current, min(1.0, 10 / self.problem.steps))
        self.outputs = outputs.shape[-1]

    def state_dict(self) -> dict[str, Any]:
        return {"outputs": self.outputs, "recent": self.recent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.outputs = state_dict["outputs"]
        self.recent = state_dict["recent"].to(self.problem.x.device, copy=True)

    def warn(self, name: str) -> None:
        """Warn unless the average over about the last tenth of the steps is at least 0.1 nats better than a constant."""
        if self.outputs is None:
            return
        constant = self._constant(self.outputs)
        if not self.recent < constant - 0.1:
            warnings.warn(
                f"method '{name}': the generator has not learned to predict (negative log-likelihood {self.recent:.3g}; the "
                f"best constant prediction has {constant:.3g}). Lower lr, kl_weight or spread, raise likelihood_samples, or "
                "give it more steps.",
                DeadGeneratorWarning,
                stacklevel=3,
            )

    def _constant(self, outputs: int) -> float:
        """The lowest mean negative log-likelihood of outputs that are the same for all inputs."""
        output = torch.zeros(outputs, device=self.problem.x.device, requires_grad=True)
        optimiser = torch.optim.LBFGS([output], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimiser.zero_grad()
            value = self.problem.likelihood(output.expand(len(self.problem.y), -1), self.problem.y)
            value.backward()
            return value

        optimiser.step(loss)
        return loss().item()
