"""Multiplicative normalising flows: Louizos & Welling 2017, arXiv 1703.01961.

A layer's weights are Gaussian given a vector z, ``q(W | z) = N(M z, s^2)``, and z is a Gaussian moved by a flow: weights
that share an element of z are correlated, and their marginals needn't be Gaussian. z multiplies the inputs of a dense
layer and the output channels of a convolution, biases included. The KL of this mixture isn't tractable, but with an
auxiliary ``r(z | W)`` of any quality

    E_q[KL(q(W | z) || p) + log q(z) - log r(z | W)]

is never below it. Read with the repairs that ports of the authors' code need: the prior's variance is 1, every layer's KL
is counted, s is the same in the forward pass and in the KL, and a prediction is made with frozen draws of the weights.
The scales and shifts of normalisation stay points.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.func import functional_call

from bbh_bench.api import Posterior, Problem
from bbh_bench.flows import flow
from bbh_bench.kl import gaussian_kl
from bbh_bench.training import adam, annealed, minimise
from bbh_bench.weights import Draws, WeightPosterior, layers, with_layers, with_noise


@dataclass(frozen=True)
class Mnf:
    """Multiplicative normalising flows: Gaussian weights, correlated by a flow over the units they belong to."""

    name: str = "mnf"
    lr: float = 1e-3
    prior_scale: float = 1.0
    """Standard deviation of the prior on every weight and bias."""
    log_std: float = -9.0
    """Of every weight at the start; half of it for a bias, whose -9 is a log-variance in the authors' code."""
    max_std: float = 0.5
    """No weight's standard deviation grows beyond it."""
    flow_steps: int = 2
    flow_hidden: int = 50
    """Hidden units of the flow of q; that of r has twice as many."""
    anneal: float = 0.2
    """Share of the steps over which the weight of the KL rises from 0 to 1."""

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood, with z and noise of its own for every image, plus KL / N."""
        network = problem.network()
        found = layers(network, self.name)
        drawn = {name: MnfLayer(layer, self).to(problem.x.device) for name, layer in found.items()}
        noisy = with_layers(network, {found[name]: layer for name, layer in drawn.items()}).train()

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            kl = torch.stack([layer.kl() for layer in drawn.values()]).sum()
            weight = annealed(step, problem.steps, self.anneal) / len(problem.x)
            return problem.likelihood(noisy(x), y) + weight * kl

        minimise(problem, adam(noisy.parameters(), self.lr), loss)
        return MnfPosterior(network, drawn)


class MnfLayer(nn.Module):
    """A dense or convolutional layer with drawn weights, whose own weights and biases are the means M.

    z has Z elements: the columns of a dense weight ``[O, Z]``, the first axis of a convolution's ``[Z, I, h, w]``.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, method: Mnf) -> None:
        super().__init__()
        self.layer = layer
        self.prior_scale = method.prior_scale
        self.max_log_std = math.log(method.max_std)
        self.dense = isinstance(layer, nn.Linear)
        size = layer.weight.shape[1 if self.dense else 0]
        starts = {"weight": method.log_std, "bias": method.log_std / 2}
        self.log_std = nn.ParameterDict({k: torch.full_like(w, starts[k]) for k, w in layer.named_parameters()})
        # About 1, where the layer is what its initialisation meant; about 0, as in the authors' code, its outputs'
        # signs would be dice.
        self.z_mean = nn.Parameter(1 + 0.05 * torch.randn(size))
        self.z_log_variance = nn.Parameter(torch.full((size,), math.log(0.1)))
        self.flow = flow(size, method.flow_hidden, method.flow_steps)
        self.auxiliary = Auxiliary(self.z_mean, 2 * method.flow_hidden, method.flow_steps)

    def stds(self) -> dict[str, Tensor]:
        """Of weights and biases, in their shapes.

        What a step of the optimiser took above the limit is brought back to it first: clamped in the formula alone, it
        would have no gradient there and stay for ever.
        """
        with torch.no_grad():
            for log_std in self.log_std.values():
                log_std.clamp_(max=self.max_log_std)
        return {k: log_std.exp() for k, log_std in self.log_std.items()}

    def z(self, n: int) -> tuple[Tensor, Tensor]:
        """Draw n vectors ``[n, Z]``; with the log-determinant ``[n]`` of the flow at each."""
        start = torch.randn(n, len(self.z_mean), device=self.z_mean.device)
        moved: tuple[Tensor, Tensor] = self.flow(self.z_mean + (self.z_log_variance / 2).exp() * start)
        return moved

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``[B, ..., Z]`` or images ``[B, I, H, W]`` to a draw of the units, with a z for each of the batch.

        The units are drawn with the mean and variance that the weights give them: local reparameterisation.
        """
        z, _ = self.z(len(x))
        inputs, outputs = (z.view(len(x), *[1] * (x.dim() - 2), -1), 1) if self.dense else (1, z[:, :, None, None])
        mean = outputs * self.layer(inputs * x)
        variances = {k: std.square() for k, std in self.stds().items()}
        return with_noise(mean, functional_call(self.layer, variances, (x.square(),)))

    def means(self, z: Tensor) -> Draws:
        """Of weights and biases given n vectors ``[n, Z]``: ``[n, *shape]`` each."""
        if self.dense:
            scales = {"weight": z[:, None, :], "bias": torch.ones_like(z[:, :1])}
        else:
            scales = {"weight": z[:, :, None, None, None], "bias": z}
        return {k: scales[k] * weight for k, weight in self.layer.named_parameters()}

    def draw(self, n: int) -> Draws:
        """Draw n layers: a z each, then weights and biases given it, ``[n, *shape]``."""
        z, _ = self.z(n)
        stds = self.stds()
        return {k: mean + stds[k] * torch.randn_like(mean) for k, mean in self.means(z).items()}

    def kl(self) -> Tensor:
        """The bound on the layer's KL to the prior at one z, a scalar in nats."""
        z, log_det = self.z(1)
        means, stds = self.means(z), self.stds()
        given_z = torch.stack([gaussian_kl(mean, stds[k], self.prior_scale) for k, mean in means.items()]).sum()
        # The Gaussian's part of log q(z) has a known mean, minus its entropy, which is steadier than its value at z.
        log_q = -(self.z_log_variance + math.log(2 * math.pi) + 1).sum() / 2 - log_det.squeeze()
        axis = 1 if self.dense else 0
        log_r = self.auxiliary(z, *(w.movedim(axis, 0).flatten(1) for w in (means["weight"][0], stds["weight"])))
        return given_z + log_q - log_r.squeeze()


class Auxiliary(nn.Module):
    """r(z | W): a Gaussian whose mean and precision know the weights, seen through a flow of z.

    The weights' summary is the mean of ``tanh(c W)`` over the units z doesn't index. Mean and log-precision are it times
    a vector each, plus a vector each, which the paper hasn't: with them r begins as q(z) does, and z costs nothing where
    it isn't used.
    """

    def __init__(self, z_mean: Tensor, hidden: int, steps: int) -> None:
        super().__init__()
        size = len(z_mean)
        self.direction = nn.Parameter(0.05 * torch.randn(size))
        self.mean = nn.Parameter(0.05 * torch.randn(size))
        self.log_precision = nn.Parameter(0.05 * torch.randn(size))
        self.mean_start = nn.Parameter(z_mean.detach().clone())
        self.log_precision_start = nn.Parameter(torch.full((size,), -math.log(0.1)))
        self.flow = flow(size, hidden, steps)

    def forward(self, z: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Log r ``[n]`` of z ``[n, Z]`` at one draw of the weights, whose mean and std are ``[Z, others]``."""
        projected = with_noise(self.direction @ mean, self.direction.square() @ std.square())
        summary = projected.tanh().mean()
        log_precision = self.log_precision_start + self.log_precision * summary
        image, log_det = self.flow(z)
        r = Normal(self.mean_start + self.mean * summary, (-log_precision / 2).exp(), validate_args=False)
        return log_det + r.log_prob(image).sum(-1)


class MnfPosterior(WeightPosterior):
    """The drawn layers by name; ``parameters`` leaves out r, which only learning needs."""

    def __init__(self, network: nn.Module, drawn: dict[str, MnfLayer]) -> None:
        learnt = {weight for part in [network, *drawn.values()] for weight in part.parameters()}
        needless = {weight for layer in drawn.values() for weight in layer.auxiliary.parameters()}
        super().__init__(network, self._draw, sum(weight.numel() for weight in learnt - needless))
        self.drawn = drawn

    def _draw(self, n: int) -> Draws:
        each = {name: layer.draw(n) for name, layer in self.drawn.items()}
        # A network that is itself a layer has no name.
        return {f"{name}.{k}".removeprefix("."): w for name, weights in each.items() for k, w in weights.items()}
