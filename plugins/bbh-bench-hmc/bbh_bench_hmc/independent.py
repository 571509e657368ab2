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
    x, y, scale = problem.x.double(), problem.y, problem.prior_scale_or(1.0)
    y = y.double() if y.is_floating_point() else y

    def density(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.tensor(flat, requires_grad=True)
        likelihood = len(y) * problem.likelihood(functional_call(network, by_name(network, weights), (x,)), y)
        value = -likelihood - weights.square().sum() / (2 * scale**2)
        (gradient,) = torch.autograd.grad(value, weights)
        return value.item(), gradient.numpy()

    return network, density


def by_name(network: nn.Module, flat: Tensor) -> dict[str, Tensor]:
    """Flat weights ``[..., W]`` as parameters of the network, ``[..., *shape]`` each."""
    parameters = dict(network.named_parameters())
    parts = flat.split([w.numel() for w in parameters.values()], dim=-1)
    return {name: part.unflatten(-1, parameters[name].shape) for name, part in zip(parameters, parts, strict=True)}


def sample_with_nuts(settings: Nuts, problem: Problem, seed: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network in float64, and draws of each of its parameters by name, ``[chains, draws, *shape]``."""
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    network, density = log_density(problem)
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
    return network, by_name(network, torch.from_numpy(np.array(trace.posterior["weights"])))
