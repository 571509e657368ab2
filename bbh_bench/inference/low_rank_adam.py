"""Adam for linear layers whose gradient is too large to store: the output layers of a weight generator.

With S rows of inputs, the gradient of a weight ``[outputs, inputs]`` has rank S. ``LowRankLinear`` keeps its two factors,
``[S, outputs]`` and ``[S, inputs]``. ``LowRankAdam`` computes the gradient and takes Adam's step for one block of outputs after
the other, while the block is in the processor's cache. The result equals Adam with the whole gradient. Access to memory
dominates the cost of the step, and is halved.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bbh_bench.inference.adam import Adam, fused_adam

BLOCK = 512  # outputs; with 512 inputs, the weight, gradient and both moments of a block take 4 MiB
MIN_WEIGHTS = 2**20  # from this number of weights on, a LowRankLinear is faster than an nn.Linear


class LowRankLinear(nn.Module):
    """``x [S, inputs] -> x W' + b [S, outputs]``, initialised as in Glorot & Bengio 2010, with zero biases.

    Autograd does not see the weight. The backward pass stores the factors of its gradient in ``factors``, for ``LowRankAdam``.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.factors: list[tuple[Tensor, Tensor]] = []
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, bias_scale: float = 1.0) -> Tensor:
        """Rows ``[S, inputs]`` -> ``[S, outputs]``, with the bias multiplied by ``bias_scale``."""
        outputs: Tensor = _LowRankProduct.apply(x, self.weight, self.bias, bias_scale, self.factors)
        return outputs


class _LowRankProduct(torch.autograd.Function):
    """``x W' + scale b``; the backward pass appends ``(gradient [S, outputs], x [S, inputs])`` to ``factors``."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: float, factors: list[tuple[Tensor, Tensor]]
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.scale, ctx.factors = scale, factors
        product = weight @ x.T  # twice as fast as x @ weight.T if outputs are many and rows are few
        return torch.add(product.T, bias, alpha=scale, out=product.new_empty(len(x), len(weight)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        ctx.factors.append((gradient, x))
        return gradient @ weight, None, gradient.sum(0).mul_(ctx.scale), None, None


class LowRankAdam:
    """Adam (Kingma & Ba 2015, arXiv 1412.6980) for the parameters of a module that contains ``LowRankLinear`` layers."""

    def __init__(self, module: nn.Module, lr: float, eps: float = 1e-5) -> None:
        ordinary = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._adam = Adam(ordinary, lr, eps)
        self._layers = [layer for layer in module.modules() if isinstance(layer, LowRankLinear)]
        self._moments = [(torch.zeros_like(layer.weight), torch.zeros_like(layer.weight)) for layer in self._layers]
        self._lr, self._eps, self._steps = lr, eps, 0

    def state_dict(self) -> dict[str, Any]:
        """Steps and moments, not the parameters: see ``api.Stateful``."""
        return {
            "steps": self._steps,
            "adam": self._adam.state_dict(),
            "moments": [list(pair) for pair in self._moments],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from these."""
        self._steps = state_dict["steps"]
        self._adam.load_state_dict(deepcopy(state_dict["adam"]))  # which would keep the tensors that it gets
        for own, saved in zip(self._moments, state_dict["moments"], strict=True):
            for moment, value in zip(own, saved, strict=True):
                moment.copy_(value)

    def zero_grad(self) -> None:
        """Discard gradients and factors of gradients."""
        self._adam.zero_grad()
        for layer in self._layers:
            layer.factors.clear()

    @torch.no_grad()
    def step(self) -> None:
        """Take one step for every parameter that has a gradient."""
        self._adam.step()
        for layer, moments in zip(self._layers, self._moments, strict=True):
            if layer.factors:
                self._low_rank_step(layer, moments)
        self._steps += 1

    def _low_rank_step(self, layer: LowRankLinear, moments: tuple[Tensor, Tensor]) -> None:
        left = torch.cat([gradient.T for gradient, _ in layer.factors], dim=1).contiguous()
        right = torch.cat([x for _, x in layer.factors])
        step = torch.full((), float(self._steps + 1), device=right.device)
        blocks = (tensor.split(BLOCK) for tensor in (layer.weight, left, *moments))
        for weight, factor, mean, square in zip(*blocks, strict=True):
            fused_adam([weight], [factor @ right], [mean], [square], step, self._lr, self._eps)
