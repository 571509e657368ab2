"""Multiplicative normalising flows: Louizos & Welling 2017, arXiv 1703.01961.

The weights of a layer are Gaussian given a vector z, ``q(W | z) = N(M z, s^2)``. A normalising flow transforms a Gaussian into
z. Weights that share an element of z are correlated, and their marginals need not be Gaussian. z multiplies the inputs of a
dense layer, and the output channels of a convolution including its biases. The KL of this mixture is intractable. With any
auxiliary distribution ``r(z | W)``, however inaccurate,

    E_q[KL(q(W | z) || p) + log q(z) - log r(z | W)]

is an upper bound of it. This implementation has the corrections that ports of the authors' code need: the prior's variance is
1, the KL of every layer is counted, s is the same in the forward pass and in the KL, and predictions use frozen samples of the
weights. The scales and shifts of normalisation layers remain point estimates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bbh_bench.api import Choices, LogUniform, OneOf, Posterior, Problem, Uniform
from bbh_bench.inference.flows import flow
from bbh_bench.inference.rates import learning_rate
from bbh_bench.inference.training import adam, annealing_weight, minimise
from bbh_bench.inference.weights import (
    SMALLEST_VARIANCE,
    WeightPosterior,
    WeightSamples,
    sample_gaussian,
    sampled_layers,
    squared,
    with_layers,
)


@dataclass(frozen=True)
class Mnf:
    """Multiplicative normalising flows: Gaussian weights, correlated by a flow over the units they belong to."""

    name: str = "mnf"
    version: int = 2
    """2: masks of the flows come from other random numbers."""
    lr: float | None = None
    """Learning rate of all but ``log_std``. None: that of the budget, 1e-3 to 4e-3 (``bbh_bench.inference.rates``)."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on every weight and bias."""
    log_std: float = -5.5
    """Initial logarithm of the standard deviation of every weight.

    The paper's code has -9. The name of that constant, and its use for biases, call it a log-variance. As a log-deviation
    (1e-4), a short budget would not increase it to a value that matters.
    """
    log_std_lr: float = 1.5e-3
    """Learning rate of ``log_std``. The paper uses ``lr`` for these too.

    A step of Adam is at most about its learning rate, however far away the optimum is. Higher rates let the weights become so
    uncertain that the network underfits (``docs/tuning.md``).
    """
    max_std: float = 0.5
    """Upper limit of the standard deviation of every weight."""
    flow_steps: int = 2
    flow_hidden: int = 50
    """Hidden units of the flow of q. The flow of r has twice as many."""
    anneal: float = 0.0
    """Share of the steps over which the weight of the KL rises from 0 to 1."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``api.Searchable``."""
        return {
            "lr": LogUniform(3e-4, 1e-2),
            "log_std": Uniform(-9.0, -3.0),
            "log_std_lr": LogUniform(3e-4, 1e-2),
            "anneal": OneOf((0.0, 0.2, 0.5)),
        }

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood plus KL / N, with a separate z and separate noise for every image.

        The KL is averaged over the z of all images: they have been sampled anyway, and one z alone gives a noisy estimate.
        """
        network = problem.network()
        layers = sampled_layers(network, self.name)
        with_prior = replace(self, prior_scale=problem.prior_scale_or(self.prior_scale))
        mnf_layers = {name: MnfLayer(layer, with_prior).to(problem.x.device) for name, layer in layers.items()}
        noisy = with_layers(network, {layers[name]: layer for name, layer in mnf_layers.items()}).train()

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            likelihood = problem.likelihood(noisy(x), y)
            kl = torch.stack([layer.kl() for layer in mnf_layers.values()]).sum()
            return likelihood + annealing_weight(step, problem.steps, self.anneal) / len(problem.x) * kl

        log_stds = [log_std for layer in mnf_layers.values() for log_std in layer.log_std.parameters()]
        others = set(noisy.parameters()) - set(log_stds)
        optimiser = adam(
            [weight for weight in noisy.parameters() if weight in others], learning_rate(self.lr, problem.steps)
        )
        optimiser.add_param_group({"params": log_stds, "lr": self.log_std_lr})
        minimise(problem, optimiser, loss)
        return MnfPosterior(network, mnf_layers)


class MnfLayer(nn.Module):
    """A dense or convolutional layer with sampled weights. Its own weights and biases are the means M.

    z has Z elements: one for each column of a dense weight ``[O, Z]``, or for each output channel of a convolution
    ``[Z, I, h, w]``.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, method: Mnf) -> None:
        super().__init__()
        self.layer = layer
        self.prior_scale = method.prior_scale
        self.max_log_std = math.log(method.max_std)
        self.dense = isinstance(layer, nn.Linear)
        size = layer.weight.shape[1 if self.dense else 0]
        self.log_std = nn.ParameterDict({k: torch.full_like(w, method.log_std) for k, w in layer.named_parameters()})
        # With z near 1, the layer starts as its initialisation intends. With z near 0, as in the authors' code, the signs of
        # its outputs would be random.
        self.z_mean = nn.Parameter(1 + 0.05 * torch.randn(size))
        self.z_log_variance = nn.Parameter(torch.full((size,), math.log(0.1)))
        self.flow = flow(size, method.flow_hidden, method.flow_steps)
        self.auxiliary = Auxiliary(self.z_mean, 2 * method.flow_hidden, method.flow_steps)
        # Of the last forward pass, for the KL: z and the log-determinant of its flow; variances.
        self.last_z: tuple[Tensor, Tensor] | None = None
        self.last_variances: dict[str, Tensor] | None = None

    def stds(self) -> dict[str, Tensor]:
        """Standard deviations of weights and biases, in their shapes.

        Parameters that an optimiser step moved above the limit are first set back to it. If they were only clamped in the
        formula, they would get no gradient there, and would never change again.
        """
        self._limit()
        return {k: log_std.exp() for k, log_std in self.log_std.items()}

    def variances(self) -> dict[str, Tensor]:
        """The squares of ``stds``."""
        self._limit()
        return {k: (2 * log_std).exp() for k, log_std in self.log_std.items()}

    @torch.no_grad()
    def _limit(self) -> None:
        for log_std in self.log_std.values():
            log_std.clamp_(max=self.max_log_std)

    def sample_z(self, n: int) -> tuple[Tensor, Tensor]:
        """Sample n vectors z ``[n, Z]``, and the log-determinant ``[n]`` of the flow at each."""
        start = torch.randn(n, len(self.z_mean), device=self.z_mean.device)
        z: tuple[Tensor, Tensor] = self.flow(torch.addcmul(self.z_mean, (self.z_log_variance / 2).exp(), start))
        return z

    def forward(self, x: Tensor) -> Tensor:
        """Inputs ``[B, ..., Z]`` or images ``[B, I, H, W]`` -> a sample of the outputs, with a separate z for each input.

        Outputs are sampled with the mean and variance that the weights imply: local reparameterisation.
        """
        z, _ = self.last_z = self.sample_z(len(x))
        self.last_variances = self.variances()
        variance = functional_call(self.layer, self.last_variances, (squared(x),))
        if self.dense:
            z = z.view(len(x), *[1] * (x.dim() - 2), -1)
            return sample_gaussian(self.layer(z * x), variance)
        return sample_gaussian(self.layer(x), variance, scale=z[:, :, None, None])

    def means(self, z: Tensor) -> WeightSamples:
        """Means of weights and biases given n vectors z ``[n, Z]``: ``[n, *shape]`` each."""
        if self.dense:
            scales = {"weight": z[:, None, :], "bias": torch.ones_like(z[:, :1])}
        else:
            scales = {"weight": z[:, :, None, None, None], "bias": z}
        return {k: scales[k] * weight for k, weight in self.layer.named_parameters()}

    def sample(self, n: int) -> WeightSamples:
        """Sample n layers: a z for each, then weights and biases given z, ``[n, *shape]``."""
        z, _ = self.sample_z(n)
        stds = self.stds()
        return {k: mean + stds[k] * torch.randn_like(mean) for k, mean in self.means(z).items()}

    def kl(self) -> Tensor:
        """Upper bound of the layer's KL to the prior, a scalar in nats, averaged over vectors z.

        Uses the z of the last forward pass, once. Samples one new z if there was no forward pass since the last call.
        """
        z, log_det = self.last_z or self.sample_z(1)
        variances = self.last_variances or self.variances()
        self.last_z = self.last_variances = None
        # The mean of the Gaussian's part of log q(z) is its negative entropy, which has no noise, unlike its value at z.
        log_q = -(self.z_log_variance.sum() + len(self.z_mean) * (math.log(2 * math.pi) + 1)) / 2 - log_det.mean()
        weights = [self._by_z(weight) for weight in (self.layer.weight, variances["weight"])]
        return self._kl_given(z, variances) + log_q - self.auxiliary(z, *weights).mean()

    def _by_z(self, weight: Tensor) -> Tensor:
        """A kernel as a matrix ``[Z, others]``."""
        return weight.T if self.dense else weight.flatten(1)

    def _kl_given(self, z: Tensor, variances: Mapping[str, Tensor]) -> Tensor:
        """KL to the prior of all weights given z, averaged over vectors z ``[n, Z]``: of Gaussians, in closed form."""
        square_z = z.square().mean(0)
        squares = self._by_z(self.layer.weight).square().sum(1).dot(square_z)
        if self.layer.bias is not None:
            bias = self.layer.bias.square()
            squares = squares + (bias.sum() if self.dense else bias.dot(square_z))
        squares = squares + torch.stack([variance.sum() for variance in variances.values()]).sum()
        log_std = torch.stack([log_std.sum() for log_std in self.log_std.values()]).sum()
        number = sum(variance.numel() for variance in variances.values())
        return squares / (2 * self.prior_scale**2) - log_std + number * (math.log(self.prior_scale) - 0.5)


class Auxiliary(nn.Module):
    """r(z | W): the density of z if a flow maps z to a Gaussian whose mean and precision depend on the weights.

    A summary of the weights, the mean of ``tanh(c W)`` over the axes that z does not index, determines them: mean and
    log-precision are the summary times a vector, plus a vector. The paper has no second vector. With it, r starts from the same
    Gaussian as q(z), so that z costs nothing where it is not used.
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

    def forward(self, z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Log r ``[n]`` of z ``[n, Z]``, each with a sample of the weights N(z M, variance); these two are ``[Z, others]``."""
        std = (self.direction.square() @ variance).clamp_min(SMALLEST_VARIANCE).sqrt()
        projected = torch.addcmul((self.direction * z) @ mean, std, torch.randn(len(z), len(std), device=z.device))
        summary = projected.tanh().mean(-1, keepdim=True)
        log_precision = torch.addcmul(self.log_precision_start, self.log_precision, summary)
        image, log_det = self.flow(z)
        error = image - torch.addcmul(self.mean_start, self.mean, summary)
        log_r = (log_precision - log_precision.exp() * error * error - math.log(2 * math.pi)).sum(-1) / 2
        return log_det + log_r


class MnfPosterior(WeightPosterior):
    """The fitted layers by name. ``parameters`` does not count those of r, which prediction does not need."""

    def __init__(self, network: nn.Module, layers: dict[str, MnfLayer]) -> None:
        fitted = {weight for module in [network, *layers.values()] for weight in module.parameters()}
        auxiliary = {weight for layer in layers.values() for weight in layer.auxiliary.parameters()}
        super().__init__(network, self._sample_weights, sum(weight.numel() for weight in fitted - auxiliary))
        self.layers = layers

    def _sample_weights(self, n: int) -> WeightSamples:
        by_layer = {name: layer.sample(n) for name, layer in self.layers.items()}
        # If the network is itself a layer, the layer's name is empty.
        return {f"{name}.{k}".removeprefix("."): w for name, weights in by_layer.items() for k, w in weights.items()}
