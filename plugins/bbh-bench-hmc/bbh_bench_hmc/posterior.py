"""The posterior of the weights of a problem's network, sampled with Hamiltonian Monte Carlo."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn

from bbh_bench import Posterior, Problem, WeightPosterior
from bbh_bench.api import Categorical, Gaussian
from bbh_bench.errors import ContractError
from bbh_bench_hmc import Hmc
from bbh_bench_hmc.chains import sample_chains
from bbh_bench_hmc.translate import Weights, as_jax, translate


def sample_posterior(method: Hmc, problem: Problem) -> Posterior:
    """All draws of all chains, of which a prediction uses some. Raises ``ContractError``, see ``Hmc.fit``."""
    network, draws = sample_weights(method, problem)
    samples = {name: w.flatten(0, 1).to(problem.x.device) for name, w in draws.items()}
    return WeightPosterior(network, chosen_from(samples), sum(w.numel() for w in samples.values()))


def sample_weights(method: Hmc, problem: Problem) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network of the problem, and draws of each of its parameters by name, ``[chains, draws, *shape]`` on the CPU.

    Raises ``ContractError``, see ``Hmc.fit``.
    """
    networks = [problem.network().eval().requires_grad_(False) for _ in range(method.chains)]
    log_density = log_posterior(networks[0], problem, problem.prior_scale_or(method.prior_scale))
    starts = [jnp.stack(ws) for ws in zip(*([as_jax(w) for w in n.parameters()] for n in networks), strict=True)]
    seed = int(torch.randint(2**31, (1,)))
    total = method.warmup + method.draws
    positions = sample_chains(
        log_density,
        starts,
        seed,
        method.warmup,
        method.draws,
        method.leapfrog,
        lambda done, log_density: problem.progress((method.warmup + done) / total, -log_density / len(problem.y)),
    )
    names = [name for name, _ in networks[0].named_parameters()]
    return networks[0], {name: torch.from_numpy(np.array(w)) for name, w in zip(names, positions, strict=True)}


def log_posterior(network: nn.Module, problem: Problem, prior_scale: float) -> Callable[[Weights], jax.Array]:
    """Log-density of the posterior of the network's weights, up to a constant. Raises ``ContractError``, see ``Hmc.fit``."""
    outputs = translate(network, problem.x)
    mean_nll, x, y = negative_log_likelihood(problem), as_jax(problem.x), as_jax(problem.y)

    def log_density(weights: Weights) -> jax.Array:
        squares = jnp.stack([jnp.sum(w**2) for w in weights]).sum()
        return -len(y) * mean_nll(outputs(weights, x), y) - squares / (2 * prior_scale**2)

    return log_density


def negative_log_likelihood(problem: Problem) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Outputs ``[N, K]`` and targets ``[N]`` -> mean negative log-likelihood in nats, up to a constant."""
    match problem.likelihood:
        case Categorical():
            return lambda outputs, y: -jnp.take_along_axis(jax.nn.log_softmax(outputs), y[:, None], 1).mean()
        case Gaussian(std=std):
            return lambda outputs, y: jnp.mean(((y - outputs[:, 0]) / std) ** 2) / 2
    raise ContractError(f"hmc: the likelihood {problem.likelihood} is neither Categorical nor Gaussian.")


def chosen_from(samples: dict[str, Tensor]) -> Callable[[int], dict[str, Tensor]]:
    """A function that chooses n of the samples ``[S, *shape]``, each at most once; all if there are fewer."""

    def sample_weights(n: int) -> dict[str, Tensor]:
        first = next(iter(samples.values()))
        index = torch.randperm(len(first))[:n].to(first.device)
        return {name: weights[index] for name, weights in samples.items()}

    return sample_weights
