"""Bayes by Backprop: Blundell et al. 2015, arXiv 1505.05424.

A factorised Gaussian over all weights and biases of dense and convolutional layers. The scales and shifts of normalisation
layers remain point estimates. It minimises ``E_q[-log p(y | x, w)] + KL(q || p) / N`` (equation 2, with the KL in closed
form), with one sample of the weights per step, which all images of the batch share.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bbh_bench.api import Choices, LogUniform, OneOf, Posterior, Problem, Uniform
from bbh_bench.inference.kl import gaussian_kl
from bbh_bench.inference.rates import learning_rate
from bbh_bench.inference.training import adam, annealing_weight, minimise
from bbh_bench.inference.weights import (
    WeightPosterior,
    WeightSamples,
    forward,
    sample_gaussian,
    sampled_layers,
    squared,
    with_layers,
)


@dataclass(frozen=True)
class Bbb:
    """Bayes by Backprop: a Gaussian for every weight, each independent of the others."""

    name: str = "bbb"
    version: int = 1
    lr: float | None = None
    """Learning rate of the means. None: that of the budget, between 1e-3 and 4e-3 (``bbh_bench.inference.rates``)."""
    prior_scale: float = 1.0
    """Standard deviation of the prior on every weight and bias."""
    log_variance: float = -9.0
    """Initial log-variance of every weight. The initial means are the network's own weights.

    The paper's -9, a standard deviation of 0.011, keeps the noise of early gradients small.
    """
    log_variance_lr: float = 1e-3
    """Learning rate of the log-variances: the paper's, at every budget.

    A step of Adam is at most about its learning rate, however far away the optimum is. In a thousand steps, the standard
    deviations become at most 0.02. Higher rates bring the KL closer to its minimum, and the factorised Gaussian underfits: at
    4e-3, the negative log-likelihood of validation images of ``digits5`` is several times as high (``docs/tuning.md``).
    """
    likelihood_samples: int = 1
    """Networks sampled per step."""
    local: bool = False
    """Sample the outputs of each layer, for every image separately, instead of its weights.

    Local reparameterisation: Kingma et al. 2015, arXiv 1506.02557.
    """
    anneal: float = 0.0
    """Share of the steps over which the weight of the KL rises from 0 to 1. The paper does not anneal."""

    def search_space(self) -> Mapping[str, Choices]:
        """See ``api.Searchable``."""
        return {
            "lr": LogUniform(3e-4, 1e-2),
            "log_variance": Uniform(-12.0, -5.0),
            "log_variance_lr": LogUniform(3e-4, 1e-2),
            "anneal": OneOf((0.0, 0.2, 0.5)),
        }

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood plus KL / N."""
        network = problem.network().train()
        gaussians = Gaussians(sampled_layers(network, self.name), self.log_variance)
        outputs, prior_scale = self._outputs(network, gaussians), problem.prior_scale_or(self.prior_scale)

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            likelihood = torch.stack([problem.likelihood(output, y) for output in outputs(x)]).mean()
            weight = annealing_weight(step, problem.steps, self.anneal) / len(problem.x)
            return likelihood + weight * gaussians.kl(prior_scale)

        optimiser = adam(network.parameters(), learning_rate(self.lr, problem.steps))
        optimiser.add_param_group({"params": [gaussians.flat_log_variance], "lr": self.log_variance_lr})
        minimise(problem, optimiser, loss)
        return GaussianPosterior(network, gaussians)

    def _outputs(self, network: nn.Module, gaussians: "Gaussians") -> Callable[[Tensor], Tensor]:
        """The forward pass in training: inputs ``[B, ...]`` -> outputs ``[likelihood_samples, B, K]``."""
        if not self.local:
            return lambda x: forward(network, gaussians.sample(self.likelihood_samples), x)
        noisy = with_layers(
            network, {layer: LocalLayer(layer, gaussians, name) for name, layer in gaussians.layers.items()}
        )
        return lambda x: torch.stack([noisy(x) for _ in range(self.likelihood_samples)])


class Gaussians:
    """A factorised Gaussian over the weights of some layers, by their name in the network. The layers' weights are its mean.

    All log-variances are one vector, so that a step starts a few operations instead of a few for every tensor.
    """

    def __init__(self, layers: dict[str, nn.Linear | nn.Conv2d], log_variance: float) -> None:
        self.layers = layers
        self.mean = {name: w for prefix, layer in layers.items() for name, w in layer.named_parameters(prefix)}
        sizes = [w.numel() for w in self.mean.values()]
        device = next(iter(self.mean.values())).device
        self.flat_log_variance = torch.full((sum(sizes),), float(log_variance), device=device).requires_grad_()
        self._sizes = sizes

    @property
    def log_variance(self) -> dict[str, Tensor]:
        """Log-variances by name, in the shapes of the weights: views of ``flat_log_variance``."""
        return {name: values.squeeze(0) for name, values in self._by_name(self.flat_log_variance.unsqueeze(0)).items()}

    def std(self, name: str) -> Tensor:
        """Standard deviations of one tensor of weights, in its shape."""
        return (self.log_variance[name] / 2).exp()

    def log_variances(self, layer: str) -> dict[str, Tensor]:
        """The log-variances of one layer, by the names that its weights have in it."""
        log_variance = self.log_variance
        names = [name for name, _ in self.layers[layer].named_parameters(layer)]
        return {name.rpartition(".")[2]: log_variance[name] for name in names}

    def sample(self, n: int) -> WeightSamples:
        """Sample the weights of n networks, ``[n, *shape]``, differentiable with respect to mean and log-variance."""
        device = self.flat_log_variance.device
        noise = torch.cat([torch.randn(n, size, device=device) for size in self._sizes], dim=1)
        return self._by_name(torch.addcmul(self._flat_mean(), (self.flat_log_variance / 2).exp(), noise))

    def kl(self, prior_scale: float) -> Tensor:
        """KL to the prior over all weights, a scalar, in nats."""
        return gaussian_kl(self._flat_mean(), (self.flat_log_variance / 2).exp(), prior_scale)

    def _flat_mean(self) -> Tensor:
        return torch.cat([w.reshape(-1) for w in self.mean.values()])

    def _by_name(self, flat: Tensor) -> WeightSamples:
        """Values of all weights ``[n, W]`` -> ``[n, *shape]`` by name."""
        parts = flat.split(self._sizes, dim=1)
        return {name: part.view(len(flat), *w.shape) for (name, w), part in zip(self.mean.items(), parts, strict=True)}


class LocalLayer(nn.Module):
    """A layer whose outputs are sampled with the mean and variance that the Gaussians of its weights imply.

    The sampled outputs of a convolution are independent of each other. With one sample of its weights they would not be.
    """

    def __init__(self, layer: nn.Module, gaussians: Gaussians, name: str) -> None:
        super().__init__()
        self.layer = layer
        self.gaussians = gaussians
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Inputs -> a sample of the outputs.

        The outputs' variance is the same layer, applied to squared inputs, with the variances of the weights as its weights.
        """
        variances = {name: value.exp() for name, value in self.gaussians.log_variances(self.name).items()}
        return sample_gaussian(self.layer(x), functional_call(self.layer, variances, (squared(x),)))


class GaussianPosterior(WeightPosterior):
    """The fitted Gaussians: ``mean`` and ``std`` of every weight, by its name in the network."""

    def __init__(self, network: nn.Module, gaussians: Gaussians) -> None:
        points = sum(weight.numel() for weight in network.parameters())
        super().__init__(network, gaussians.sample, points + gaussians.flat_log_variance.numel())
        self.mean = gaussians.mean
        self.std = {name: gaussians.std(name).detach() for name in gaussians.mean}
