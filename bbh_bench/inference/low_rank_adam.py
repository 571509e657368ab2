"""Linear layers so wide that their gradient must not be stored: the last layers of a weight generator.

With S rows of inputs the gradient of a weight ``[outputs, inputs]`` has rank S. Adam's step can be taken a block of outputs at
a time, from the two thin factors, while the block is in the cache: the numbers are those of Adam on the whole gradient, and
the traffic to memory, which is what the step costs, is halved.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam as adam_step

BLOCK = 512  # outputs; with 512 inputs a block of weight, gradient and both moments takes 4 MiB
WIDE = 2**20  # weights, from which on it pays


class WideLinear(nn.Module):
    """``x [S, inputs] -> x W' + b [S, outputs]``, initialised as Glorot & Bengio 2010 with zero biases.

    Its weight isn't seen by autograd: the backward pass leaves the gradient's factors for ``WideAdam``.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.factors: list[tuple[Tensor, Tensor]] = []
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``[S, inputs]`` -> ``[S, outputs]``."""
        return _Wide.apply(x, self.weight, self.factors) + self.bias


class _Wide(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, factors: list[tuple[Tensor, Tensor]]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.factors = factors
        return (weight @ x.T).T  # twice as fast as x @ weight.T where outputs are many and rows are few

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        ctx.factors.append((gradients[0], x))
        return gradients[0] @ weight, None, None


class WideAdam:
    """Adam for a module's parameters (Kingma & Ba 2015), those of its ``WideLinear`` layers from their factors."""

    def __init__(self, module: nn.Module, lr: float, eps: float = 1e-5) -> None:
        ordinary = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._adam = torch.optim.Adam(ordinary, lr=lr, eps=eps, fused=True)
        self._wide = [layer for layer in module.modules() if isinstance(layer, WideLinear)]
        self._moments = [(torch.zeros_like(layer.weight), torch.zeros_like(layer.weight)) for layer in self._wide]
        self._lr, self._eps, self._steps = lr, eps, 0

    def zero_grad(self) -> None:
        """Forget gradients and factors."""
        self._adam.zero_grad()
        for layer in self._wide:
            layer.factors.clear()

    @torch.no_grad()
    def step(self) -> None:
        """One step for every parameter that has a gradient."""
        self._adam.step()
        for layer, moments in zip(self._wide, self._moments, strict=True):
            if layer.factors:
                self._wide_step(layer, moments)
        self._steps += 1

    def _wide_step(self, layer: WideLinear, moments: tuple[Tensor, Tensor]) -> None:
        left = torch.cat([gradient for gradient, _ in layer.factors]).T.contiguous()
        right = torch.cat([x for _, x in layer.factors])
        for start in range(0, len(left), BLOCK):
            rows = slice(start, start + BLOCK)
            adam_step(
                [layer.weight[rows]],
                [left[rows] @ right],
                [moments[0][rows]],
                [moments[1][rows]],
                [],
                [torch.tensor(float(self._steps), device=layer.weight.device)],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self._lr,
                weight_decay=0.0,
                eps=self._eps,
                maximize=False,
            )
