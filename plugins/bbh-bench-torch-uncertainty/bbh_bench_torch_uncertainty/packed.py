"""Packed-Ensembles: Laurent et al. 2023, arXiv 2210.09184."""

from torch import Tensor, nn
from torch_uncertainty.layers import PackedConv2d, PackedLinear

from bbh_bench import Posterior, Problem
from bbh_bench_torch_uncertainty import PackedEnsemble
from bbh_bench_torch_uncertainty.layers import Weighted, converted
from bbh_bench_torch_uncertainty.members import MembersPosterior, mean_loss, train


def fit_packed(method: PackedEnsemble, problem: Problem) -> Posterior:
    """Members are separate networks inside one: each has its own prior, and only the first layer's inputs are shared."""

    def convert(layer: Weighted, first: bool, last: bool) -> nn.Module:
        bias = layer.bias is not None
        if isinstance(layer, nn.Linear):
            return PackedLinear(
                layer.in_features, layer.out_features, method.alpha, method.members, bias=bias, first=first, last=last
            )
        return PackedConv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            method.alpha,
            method.members,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            bias=bias,
            padding_mode=layer.padding_mode,
            first=first,
            last=last,
        )

    network = converted(problem.network(), convert, method.name).to(problem.x.device)

    def outputs(x: Tensor) -> Tensor:
        return network(x).unflatten(
            0, (method.members, -1)
        )  # the last layer puts the members' outputs one after the other

    def loss(x: Tensor, y: Tensor) -> Tensor:
        return mean_loss(problem, outputs(x), y)

    train(network, problem, loss, method.lr, method.prior_scale, members=method.members)
    return MembersPosterior(network, outputs, method.members)
