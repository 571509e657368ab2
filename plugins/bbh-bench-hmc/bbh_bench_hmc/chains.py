"""Chains of Hamiltonian Monte Carlo, side by side, with blackjax (Cabezas et al. 2024, arXiv 2402.10797)."""

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp

BLOCK = 20
"""Draws between two reports of progress."""

LogDensity = Callable[[Any], jax.Array]
"""A tree of arrays, the position of one chain -> log-density up to a constant, a scalar."""


def sample_chains(
    log_density: LogDensity,
    starts: Any,
    seed: int,
    warmup: int,
    draws: int,
    leapfrog: int,
    progress: Callable[[int, float], None] = lambda done, log_density: None,
) -> Any:
    """Positions ``[chains, draws, ...]`` of all chains, after ``warmup`` steps that adapt step size and diagonal mass matrix.

    ``starts``: a tree of arrays ``[chains, ...]``. ``leapfrog``: steps of the integrator for one draw (Neal 2011, arXiv
    1206.1901). Every chain adapts on its own. ``progress(n, mean)`` is called after n draws, 0 after the
    warm-up, with the chains' mean log-density.
    """
    chains = len(jax.tree.leaves(starts)[0])
    adapt_key, sample_key = jax.random.split(jax.random.key(seed))
    adaptation = blackjax.window_adaptation(blackjax.hmc, log_density, num_integration_steps=leapfrog)

    def warm_up(key: jax.Array, start: Any) -> tuple[Any, dict[str, jax.Array]]:
        adapted, _ = adaptation.run(key, start, num_steps=warmup)
        parameters = adapted.parameters
        return adapted.state, {name: parameters[name] for name in ("step_size", "inverse_mass_matrix")}

    states, parameters = jax.jit(jax.vmap(warm_up))(jax.random.split(adapt_key, chains), starts)
    kernel = blackjax.hmc.build_kernel()

    def draw(state: Any, key: jax.Array, adapted: dict[str, jax.Array]) -> Any:
        size, mass = adapted["step_size"], adapted["inverse_mass_matrix"]
        return kernel(key, state, log_density, size, mass, leapfrog)[0]

    @jax.jit
    def block(states: Any, keys: jax.Array) -> tuple[Any, Any]:
        def step(states: Any, key: jax.Array) -> tuple[Any, Any]:
            states = jax.vmap(draw)(states, jax.random.split(key, chains), parameters)
            return states, states.position

        return jax.lax.scan(step, states, keys)

    progress(0, float(states.logdensity.mean()))
    keys, parts = jax.random.split(sample_key, draws), []
    for start in range(0, draws, BLOCK):
        states, positions = block(states, keys[start : start + BLOCK])
        parts.append(positions)
        progress(min(start + BLOCK, draws), float(states.logdensity.mean()))
    return jax.tree.map(lambda *arrays: jnp.concatenate(arrays).swapaxes(0, 1), *parts)
