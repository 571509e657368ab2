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
from torch.func import functional_call

from bbh_bench.api import Posterior, Problem
from bbh_bench.inference.flows import flow
from bbh_bench.inference.kl import gaussian_kl
from bbh_bench.inference.training import adam, annealed, minimise
from bbh_bench.inference.weights import Draws, WeightPosterior, layers, with_layers, with_noise


@dataclass(frozen=True)
class Mnf:
    """Multiplicative normalising flows: Gaussian weights, correlated by a flow over the units they belong to."""

    name: str = "mnf"
    lr: float = 1e-3
    prior_scale: float = 1.0
    """Standard deviation of the prior on every weight and bias."""
    log_std: float = -4.5
    """Of every weight at the start: the paper's code has -9, which its name and its use for biases call a log-variance.

    As a log-deviation, 1e-4, no short budget would ever raise it to where it matters.
    """
    log_std_lr: float = 1.5e-3
    """The paper has ``lr`` for these too. A step of Adam is at most about its rate, however far there is to go.

    A log-variance's rate would be twice this: z spreads the weights besides, so less is needed than ``bbb`` takes.
    """
    max_std: float = 0.5
    """No weight's standard deviation grows beyond it."""
    flow_steps: int = 2
    flow_hidden: int = 50
    """Hidden units of the flow of q; that of r has twice as many."""
    anneal: float = 0.2
    """Share of the steps over which the weight of the KL rises from 0 to 1."""

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood, with z and noise of its own for every image, plus KL / N.

        The KL is averaged over the same z's: they are drawn anyway, and one alone makes a noisy estimate.
        """
        network = problem.network()
        found = layers(network, self.name)
        drawn = {name: MnfLayer(layer, self).to(problem.x.device) for name, layer in found.items()}
        noisy = with_layers(network, {found[name]: layer for name, layer in drawn.items()}).train()

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            likelihood = problem.likelihood(noisy(x), y)
            kl = torch.stack([layer.kl() for layer in drawn.values()]).sum()
            return likelihood + annealed(step, problem.steps, self.anneal) / len(problem.x) * kl

        log_stds = [log_std for layer in drawn.values() for log_std in layer.log_std.parameters()]
        others = set(noisy.parameters()) - set(log_stds)
        optimiser = adam([weight for weight in noisy.parameters() if weight in others], self.lr)
        optimiser.add_param_group({"params": log_stds, "lr": self.log_std_lr})
        minimise(problem, optimiser, loss)
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
        self.log_std = nn.ParameterDict({k: torch.full_like(w, method.log_std) for k, w in layer.named_parameters()})
        # About 1, where the layer is what its initialisation meant; about 0, as in the authors' code, its outputs'
        # signs would be dice.
        self.z_mean = nn.Parameter(1 + 0.05 * torch.randn(size))
        self.z_log_variance = nn.Parameter(torch.full((size,), math.log(0.1)))
        self.flow = flow(size, method.flow_hidden, method.flow_steps)
        self.auxiliary = Auxiliary(self.z_mean, 2 * method.flow_hidden, method.flow_steps)
        self.last: tuple[Tensor, Tensor] | None = None  # what the last forward pass drew, for the KL

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
        moved: tuple[Tensor, Tensor] = self.flow(torch.addcmul(self.z_mean, (self.z_log_variance / 2).exp(), start))
        return moved

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``[B, ..., Z]`` or images ``[B, I, H, W]`` to a draw of the units, with a z for each of the batch.

        The units are drawn with the mean and variance that the weights give them: local reparameterisation.
        """
        z, _ = self.last = self.z(len(x))
        z = z.view(len(x), *[1] * (x.dim() - 2), -1) if self.dense else z[:, :, None, None]
        mean = self.layer(z * x) if self.dense else z * self.layer(x)
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
        """The bound on the layer's KL to the prior, a scalar in nats, averaged over z's.

        They are those of the last forward pass, which are then used up; or one fresh z, where there are none.
        """
        z, log_det = self.last or self.z(1)
        self.last = None
        # The KL given z is linear in z^2: its mean over z's is that at their root mean square.
        means, stds = self.means(torch.linalg.vector_norm(z, dim=0, keepdim=True) / len(z) ** 0.5), self.stds()
        given_z = gaussian_kl(_joined(means), _joined(stds), self.prior_scale)
        # The Gaussian's part of log q(z) has a known mean, minus its entropy, which is steadier than its value at z.
        log_q = -(self.z_log_variance.sum() + len(self.z_mean) * (math.log(2 * math.pi) + 1)) / 2 - log_det.mean()
        axis = 1 if self.dense else 0
        log_r = self.auxiliary(z, *(w.movedim(axis, 0).flatten(1) for w in (self.layer.weight, stds["weight"])))
        return given_z + log_q - log_r.mean()


def _joined(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weight.flatten() for weight in weights.values()])


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
        """Log r ``[n]`` of z ``[n, Z]``, each at a draw of weights N(z M, std^2); M and std are ``[Z, others]``."""
        std = torch.linalg.vector_norm(self.direction[:, None] * std, dim=0)
        projected = torch.addcmul((self.direction * z) @ mean, std, torch.randn(len(z), len(std), device=z.device))
        summary = projected.tanh().mean(-1, keepdim=True)
        log_precision = torch.addcmul(self.log_precision_start, self.log_precision, summary)
        image, log_det = self.flow(z)
        error = image - torch.addcmul(self.mean_start, self.mean, summary)
        log_r = (log_precision - log_precision.exp() * error * error - math.log(2 * math.pi)).sum(-1) / 2
        return log_det + log_r


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
