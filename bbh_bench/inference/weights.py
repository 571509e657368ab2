"""Networks with sampled weights: evaluates any module with n samples of its weights.

On a CPU, sequences of standard layers are evaluated side by side (``inference.side_by_side``). Other networks are evaluated
with ``torch.func.vmap`` on a GPU, and on a CPU if there are few pixels, where starting an operation costs more than the
operation itself. Elsewhere a loop evaluates one sample after the other: on a CPU, convolutions are limited by arithmetic.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bbh_bench.acceleration import accelerated
from bbh_bench.api import Posterior, PredictFn
from bbh_bench.errors import ContractError
from bbh_bench.inference.side_by_side import plan, with_fallback

WeightSamples = dict[str, Tensor]
"""Weights by their name in the network, n samples of each: ``[n, *shape]``."""


MIN_BATCHED_SAMPLES = 8  # batching fewer samples saves no time
MAX_BATCHED_PIXELS = 3200  # in the whole batch of inputs; up to here one core is faster with all samples batched
BLOCK_VALUES = 2**17  # of outputs that are sampled together: more do not fit into a core's cache
SMALLEST_VARIANCE = 1e-16  # the derivative of a root at 0 is infinite
GPU_CHUNK_SIZE = 16  # samples that are batched on a GPU; the activations of all of them are in memory


def forward(network: nn.Module, samples: WeightSamples, x: Tensor) -> Tensor:
    """Inputs ``[B, ...]`` through n networks: ``[n, B, K]``, differentiable with respect to the inputs and the samples.

    Parameters and buffers that ``samples`` does not name are the network's own, the same in all n networks.
    """
    return networks_with(network, samples)(x)


def networks_with(network: nn.Module, samples: WeightSamples) -> PredictFn:
    """The same as ``forward``, for several calls with the same samples: what does not depend on the inputs is done once."""
    if not accelerated():
        return lambda x: looped_forward(network, samples, x)
    side_by_side = None if next(iter(samples.values())).is_cuda else plan(network, samples)
    return with_fallback(side_by_side, lambda x: _batched_or_looped(network, samples, x))


def _batched_or_looped(network: nn.Module, samples: WeightSamples, x: Tensor) -> Tensor:
    n = len(next(iter(samples.values())))
    if n >= MIN_BATCHED_SAMPLES and (x.is_cuda or x.numel() <= MAX_BATCHED_PIXELS):
        with suppress(RuntimeError):  # an operation that cannot be batched
            return batched_forward(network, samples, x)
    return looped_forward(network, samples, x)


def looped_forward(network: nn.Module, samples: WeightSamples, x: Tensor) -> Tensor:
    """The same as ``forward``, one sample after the other: the plain reference of the faster ways."""
    n = len(next(iter(samples.values())))
    each = ({name: weights[k] for name, weights in samples.items()} for k in range(n))
    return torch.stack([functional_call(network, weights, (x,)) for weights in each])


def batched_forward(network: nn.Module, samples: WeightSamples, x: Tensor) -> Tensor:
    """The same as ``forward``, with each operation batched over samples. Raises ``RuntimeError`` if one cannot be batched."""

    def one(weights: WeightSamples) -> Tensor:
        output: Tensor = functional_call(network, weights, (x,))
        return output

    return vmap(one, randomness="different", chunk_size=GPU_CHUNK_SIZE if x.is_cuda else None)(samples)


class WeightPosterior(Posterior):
    """A distribution over the weights of one network.

    ``sample_weights(n)`` returns n samples of the weights, from torch's global random generator. ``parameters`` is the number
    of parameters kept for prediction.
    """

    def __init__(self, network: nn.Module, sample_weights: Callable[[int], WeightSamples], parameters: int) -> None:
        self.network = network.eval().requires_grad_(False)
        self.sample_weights = sample_weights
        self.parameters = parameters

    def sample(self, n: int) -> PredictFn:
        """Freeze n samples of the weights."""
        with torch.no_grad():
            samples = self.sample_weights(n)
        return networks_with(self.network, samples)


def sampled_layers(network: nn.Module, method: str) -> dict[str, nn.Linear | nn.Conv2d]:
    """The dense and convolutional layers, by name: a method samples the weights of these.

    Raises ``ContractError``, which names the ``method``, if there are none.
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    if not layers:
        raise ContractError(
            f"method '{method}' needs a network with an nn.Linear or an nn.Conv2d, whose weights it samples."
        )
    return layers


def sampled_shapes(network: nn.Module, method: str) -> dict[str, torch.Size]:
    """Shapes of the weights and biases of ``sampled_layers``, by their name in the network. Raises ``ContractError``."""
    return {
        name: weight.shape
        for prefix, layer in sampled_layers(network, method).items()
        for name, weight in layer.named_parameters(prefix)
    }


def with_layers(network: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """A copy of the network with some layers replaced wherever they occur. It shares all weights with the original."""
    memo: dict[int, object] = {id(layer): replacement for layer, replacement in replacements.items()}
    memo |= {id(weight): weight for weight in [*network.parameters(), *network.buffers()]}
    return copy.deepcopy(network, memo)  # deepcopy uses the memo's objects in place of copies


def sample_gaussian(mean: Tensor, variance: Tensor, scale: Tensor | None = None) -> Tensor:
    """A sample of N(scale mean, variance), differentiable with respect to all, also where the variance is 0.

    Mean and variance are ``[B, ...]``, and ``scale`` has the same number of dimensions, each of the same size or 1. No scale
    is a scale of 1. The derivative with respect to a variance below 1e-16 is that at 1e-16, and therefore finite.
    """
    if not accelerated():
        mean = mean if scale is None else scale * mean
        return mean + variance.clamp_min(SMALLEST_VARIANCE).sqrt() * torch.randn_like(mean)
    sample: Tensor = _GaussianSample.apply(mean, variance, scale)
    return sample


class _GaussianSample(torch.autograd.Function):
    """Block by block: what one operation writes is still in the core's cache when the next one reads it."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, variance: Tensor, scale: Tensor | None) -> Tensor:
        sample, factor = torch.empty_like(mean), torch.empty_like(mean)
        for rows in _blocks(mean):
            scaled = mean[rows] if scale is None else mean[rows] * scale[rows]
            precision = variance[rows].clamp_min(SMALLEST_VARIANCE).rsqrt_()  # its root, 1 / std
            block = torch.mul(noise_like(scaled), precision, out=factor[rows])
            torch.addcmul(scaled, variance[rows], block, out=sample[rows])  # variance / std = std
        ctx.save_for_backward(factor, *(() if scale is None else (mean, scale)))
        return sample

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        (gradient,), (factor, *scaled) = gradients, ctx.saved_tensors
        of_variance = torch.empty_like(factor)
        if not scaled:
            return gradient, torch.mul(gradient, factor, out=of_variance).mul_(0.5), None
        mean, scale = scaled
        of_mean, of_scale = torch.empty_like(mean), torch.empty_like(scale)
        for rows in _blocks(mean):
            torch.mul(gradient[rows], factor[rows], out=of_variance[rows]).mul_(0.5)
            torch.mul(gradient[rows], scale[rows], out=of_mean[rows])
            of_scale[rows] = (gradient[rows] * mean[rows]).sum_to_size(scale[rows].shape)
        return of_mean, of_variance, of_scale


def _blocks(x: Tensor) -> Iterator[slice]:
    """Rows of ``[B, ...]`` that fit into a core's cache together. On a GPU, all rows: there each operation costs its start."""
    rows = len(x) if x.is_cuda else max(1, BLOCK_VALUES // max(1, x[:1].numel()))
    return (slice(start, start + rows) for start in range(0, len(x), max(1, rows)))


def squared(x: Tensor) -> Tensor:
    """``x ** 2``, differentiable, in the same layout in memory.

    PyTorch lays the squares of images ``[B, 1, H, W]`` out with channels first, and convolutions then use slow kernels.
    """
    squares = x.square()
    # Without gaps, in both orders of its one channel.
    one_channel = x.dim() == 4 and x.shape[1] == 1 and x.is_contiguous()
    return squares.as_strided(x.shape, x.stride()) if one_channel else squares


def random_bytes(n: int) -> Tensor:
    """N random bytes on the CPU, uint8: eight from each random integer, which takes no longer than one random number."""
    integers = torch.empty(-(-n // 8), dtype=torch.int64).random_(-(2**63), None)  # all 64 bits, also the sign
    return integers.view(torch.uint8)[:n]


def noise_like(x: Tensor) -> Tensor:
    """``torch.randn_like``, which takes six times as long on a CPU if the channels are last in memory."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.randn(x.numel(), device=x.device, dtype=x.dtype).as_strided(x.shape, x.stride())
    return torch.randn_like(x)
