"""BatchEnsemble: Wen et al. 2020, arXiv 2002.06715."""

import torch
from torch import Tensor, nn
from torch_uncertainty.layers import BatchConv2d, BatchLinear

from bbh_bench import Posterior, Problem
from bbh_bench_torch_uncertainty import BatchEnsemble
from bbh_bench_torch_uncertainty.layers import Weighted, converted
from bbh_bench_torch_uncertainty.members import MembersPosterior, mean_loss, train


def fit_batch_ensemble(method: BatchEnsemble, problem: Problem) -> Posterior:
    """Every member sees every batch. Shared kernels start as those of the problem's network, factors as in the library."""

    def convert(layer: Weighted, first: bool, last: bool) -> nn.Module:
        if isinstance(layer, nn.Linear):
            dense = BatchLinear.from_linear(layer, method.members)
            dense.linear.weight = layer.weight
            return dense
        convolution = BatchConv2d.from_conv2d(layer, method.members)
        convolution.conv.weight = layer.weight
        return convolution

    network = converted(problem.network(), convert, method.name)

    def outputs(x: Tensor) -> Tensor:
        return network(torch.cat([x] * method.members)).unflatten(0, (method.members, -1))

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return mean_loss(problem, outputs(x), y)

    train(network, problem, loss, method.lr, method.prior_scale)
    return MembersPosterior(network, outputs, method.members)
