"""MIMO: Havasi et al. 2021, arXiv 2010.06610. It needs no layer of its own: the first and the last one are wider."""

import torch
from torch import Tensor, nn

from bbh_bench import Posterior, Problem
from bbh_bench.tasks.networks import initialise
from bbh_bench_torch_uncertainty import Mimo
from bbh_bench_torch_uncertainty.layers import Weighted, converted
from bbh_bench_torch_uncertainty.members import MembersPosterior, mean_loss, train


def fit_mimo(method: Mimo, problem: Problem) -> Posterior:
    """In training, the members get different examples of a batch; in prediction, all of them get the same one."""
    members = method.members

    def convert(layer: Weighted, first: bool, last: bool) -> nn.Module:
        return _widened(layer, members if first else 1, members if last else 1)

    network = converted(problem.network(), convert, method.name)

    def outputs_of(inputs: list[Tensor]) -> Tensor:
        """One batch ``[B, C, ...]`` for each member -> outputs ``[M, B, K]``."""
        return network(torch.cat(inputs, dim=1)).unflatten(1, (members, -1)).transpose(0, 1)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        orders = [torch.randperm(len(x), device=x.device) for _ in range(members)]
        return mean_loss(problem, outputs_of([x[order] for order in orders]), torch.stack([y[k] for k in orders]))

    train(network, problem, loss, method.lr, method.prior_scale)
    return MembersPosterior(network, lambda x: outputs_of([x] * members), members)


def _widened(layer: Weighted, inputs: int, outputs: int) -> Weighted:
    """A layer with several times the inputs and outputs, initialised as those of the suite's networks."""
    if inputs == outputs == 1:
        return layer
    bias, device = layer.bias is not None, layer.weight.device
    if isinstance(layer, nn.Linear):
        wide: Weighted = nn.Linear(layer.in_features * inputs, layer.out_features * outputs, bias, device=device)
    else:
        wide = nn.Conv2d(
            layer.in_channels * inputs,
            layer.out_channels * outputs,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            bias=bias,
            padding_mode=layer.padding_mode,
            device=device,
        )
    initialise(wide)
    return wide
