"""The independent check: NUTS by nutpie on the density of torch's own network, in float64 (Hoffman & Gelman 2014).

Neither the sampler, nor the derivative, nor the code of the network is that of ``posterior``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bbh_bench.api import Problem


@dataclass(frozen=True)
class Nuts:
    """Settings of the sampler."""

    chains: int
    warmup: int
    draws: int


def log_density(problem: Problem) -> tuple[nn.Module, Callable[[np.ndarray], tuple[float, np.ndarray]]]:
    """The network, and the log-density of its flat weights ``[W]`` up to a constant, with its gradient ``[W]``."""
    network = problem.network().double().requires_grad_(False)
    shapes = {name: w.shape for name, w in network.named_parameters()}
    sizes = [shape.numel() for shape in shapes.values()]
    x, y, scale = problem.x.double(), problem.y, problem.prior_scale_or(1.0)
    y = y.double() if y.is_floating_point() else y

    def density(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.tensor(flat, requires_grad=True)
        named = {name: w.view(shapes[name]) for name, w in zip(shapes, weights.split(sizes), strict=True)}
        likelihood = len(y) * problem.likelihood(functional_call(network, named, (x,)), y)
        value = -likelihood - weights.square().sum() / (2 * scale**2)
        (gradient,) = torch.autograd.grad(value, weights)
        return value.item(), gradient.numpy()

    return network, density


def sample_with_nuts(settings: Nuts, problem: Problem, seed: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network in float64, and draws of each of its parameters by name, ``[chains, draws, *shape]``."""
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    network, density = log_density(problem)
    names = [name for name, _ in network.named_parameters()]
    number = sum(w.numel() for w in network.parameters())
    model = from_pyfunc(
        number,
        lambda: density,
        lambda *_: lambda flat: {"weights": flat},
        [np.dtype("float64")],
        [(number,)],
        ["weights"],
        make_initial_point_fn=lambda seed: np.random.default_rng(seed).normal(0, 0.3, number),
    )
    trace = nutpie.sample(
        model, draws=settings.draws, tune=settings.warmup, chains=settings.chains, seed=seed, progress_bar=False
    )
    flat = torch.from_numpy(np.array(trace.posterior["weights"]))
    parts = flat.split([w.numel() for w in network.parameters()], dim=-1)
    shapes = [w.shape for w in network.parameters()]
    weights = {name: part.unflatten(-1, shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
    return network, weights
