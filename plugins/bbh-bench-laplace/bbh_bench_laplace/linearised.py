"""A network that is linearised in its weights: Immer et al. 2021, arXiv 2008.08400."""

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from bbh_bench import Posterior, PredictFn

CHUNK_VALUES, GPU_CHUNK_VALUES = 204800, 2**22
"""Values of the inputs of one call, counted once for each sample: the activations of more do not fit into a core's cache."""


class LinearisedPosterior(Posterior):
    """A distribution over the weights of a network that is linearised around its own weights.

    ``sample_weights(n)`` returns n samples ``[n, *shape]`` of every parameter, by name. ``parameters`` is the number of
    parameters kept for prediction.
    """

    def __init__(self, network: nn.Module, sample_weights: Callable[[int], dict[str, Tensor]], parameters: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.sample_weights = sample_weights
        self.parameters = parameters

    def sample(self, n: int) -> PredictFn:
        """Freeze n linearised networks."""
        with torch.no_grad():
            samples = self.sample_weights(n)
            differences = {name: samples[name] - weight for name, weight in self.network.named_parameters()}
        return linearised(self.network, differences)


def linearised(network: nn.Module, differences: Mapping[str, Tensor]) -> PredictFn:
    """Inputs ``[B, ...]`` -> ``f(x) + J(x) d`` for n differences d of the weights, ``[n, B, K]``.

    f is the network and J(x) its Jacobian with respect to its parameters. ``differences``: ``[n, *shape]`` for each parameter,
    by its name. A product with J is a derivative in forward mode, which takes about as long as two evaluations of f.
    """
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    differences = {name: differences[name] for name in weights}
    n = len(next(iter(differences.values())))
    _load_forward_derivatives()

    def outputs(x: Tensor) -> Tensor:
        def at(parameters: dict[str, Tensor]) -> Tensor:
            output: Tensor = functional_call(network, parameters, (x,))
            return output

        def along(difference: dict[str, Tensor]) -> Tensor:
            output, derivative = jvp(at, (weights,), (difference,))  # type: ignore[misc]  # without has_aux, it returns two
            return output + derivative

        values = GPU_CHUNK_VALUES if x.is_cuda else CHUNK_VALUES
        return vmap(along, chunk_size=min(n, max(2, values // max(1, x.numel()))))(differences)

    return outputs


def _load_forward_derivatives() -> None:
    """Have torch load them. It does so when they are first used, and warns that a function of its own is deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        jvp(torch.sin, (torch.zeros(1),), (torch.ones(1),))
