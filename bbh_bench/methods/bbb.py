"""Bayes by Backprop: Blundell et al. 2015, arXiv 1505.05424.

A factorised Gaussian over all weights and biases of dense and convolutional layers; the scales and shifts of
normalisation stay points. It minimises ``E_q[-log p(y | x, w)] + KL(q || p) / N`` (equation 2, with the KL in closed
form), with one draw of the weights a step, shared by the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bbh_bench.api import Posterior, Problem
from bbh_bench.inference.kl import gaussian_kl
from bbh_bench.inference.training import adam, annealed, minimise
from bbh_bench.inference.weights import Draws, WeightPosterior, forward, layers, with_layers, with_noise


@dataclass(frozen=True)
class Bbb:
    """Bayes by Backprop: a Gaussian for every weight, each independent of the others."""

    name: str = "bbb"
    lr: float = 1e-3
    prior_scale: float = 1.0
    """Standard deviation of the prior on every weight and bias."""
    log_variance: float = -9.0
    """Of every weight at the start, whose mean is what the network starts with.

    The paper's -9, a standard deviation of 0.011, keeps early gradients quiet.
    """
    log_variance_lr: float = 4e-3
    """The paper has ``lr`` for these too, and tens of thousands of steps.

    A step of Adam is at most about its rate, however far there is to go: at 1e-3, digits5's thousand steps end with
    deviations of 0.02 and a posterior as certain of outliers as one network. At 4e-3 they end at 0.08. Higher rates bring
    the KL to rest, and with it the underfit of a factorised Gaussian: at 1e-2 the negative log-likelihood is over four
    times as high.
    """
    likelihood_draws: int = 1
    """Networks drawn a step."""
    local: bool = False
    """Draw each layer's units instead of its weights, for every image by itself: Kingma et al. 2015, arXiv 1506.02557."""
    anneal: float = 0.0
    """Share of the steps over which the weight of the KL rises from 0 to 1; the paper doesn't anneal."""

    def fit(self, problem: Problem) -> Posterior:
        """Minimise the mean negative log-likelihood plus KL / N."""
        network = problem.network().train()
        gaussians = Gaussians(layers(network, self.name), self.log_variance)
        outputs = self._outputs(network, gaussians)

        def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
            likelihood = torch.stack([problem.likelihood(output, y) for output in outputs(x)]).mean()
            weight = annealed(step, problem.steps, self.anneal) / len(problem.x)
            return likelihood + weight * gaussians.kl(self.prior_scale)

        optimiser = adam(network.parameters(), self.lr)
        optimiser.add_param_group({"params": [*gaussians.log_variance.values()], "lr": self.log_variance_lr})
        minimise(problem, optimiser, loss)
        return GaussianPosterior(network, gaussians)

    def _outputs(self, network: nn.Module, gaussians: "Gaussians") -> Callable[[Tensor], Tensor]:
        """What training evaluates: inputs ``[B, ...]`` -> outputs ``[likelihood_draws, B, K]``."""
        if not self.local:
            return lambda x: forward(network, gaussians.draw(self.likelihood_draws), x)
        noisy = with_layers(
            network, {layer: LocalLayer(layer, gaussians.variances(name)) for name, layer in gaussians.layers.items()}
        )
        return lambda x: torch.stack([noisy(x) for _ in range(self.likelihood_draws)])


class Gaussians:
    """A factorised Gaussian over the weights of a network's layers, which themselves are its mean, by name."""

    def __init__(self, layers: dict[str, nn.Linear | nn.Conv2d], log_variance: float) -> None:
        self.layers = layers
        self.mean = {name: w for prefix, layer in layers.items() for name, w in layer.named_parameters(prefix)}
        self.log_variance = {name: torch.full_like(w, log_variance).requires_grad_() for name, w in self.mean.items()}

    def std(self, name: str) -> Tensor:
        """Of one of the network's weights, in its shape."""
        return (self.log_variance[name] / 2).exp()

    def variances(self, layer: str) -> dict[str, Tensor]:
        """The log-variances of one layer, by the weights' names in it."""
        names = [name for name, _ in self.layers[layer].named_parameters(layer)]
        return {name.rpartition(".")[2]: self.log_variance[name] for name in names}

    def draw(self, n: int) -> Draws:
        """Draw n networks' weights, differentiable in mean and variance."""
        return {name: w + self.std(name) * torch.randn(n, *w.shape, device=w.device) for name, w in self.mean.items()}

    def kl(self, prior_scale: float) -> Tensor:
        """KL to the prior over all weights, in nats."""
        return torch.stack([gaussian_kl(w, self.std(name), prior_scale) for name, w in self.mean.items()]).sum()


class LocalLayer(nn.Module):
    """A layer whose units are drawn with the mean and variance that its weights' Gaussians give them.

    A convolution's units then are independent of each other, which those of one draw of its weights are not.
    """

    def __init__(self, layer: nn.Module, log_variance: dict[str, Tensor]) -> None:
        super().__init__()
        self.layer = layer
        self.log_variance = log_variance

    def forward(self, x: Tensor) -> Tensor:
        """Inputs to a draw of the units; their variance is the same layer, of squared inputs and the weights' variances."""
        variances = {name: value.exp() for name, value in self.log_variance.items()}
        return with_noise(self.layer(x), functional_call(self.layer, variances, (x.square(),)))


class GaussianPosterior(WeightPosterior):
    """The learnt Gaussians: ``mean`` and ``std`` of every weight, by its name in the network."""

    def __init__(self, network: nn.Module, gaussians: Gaussians) -> None:
        points = sum(weight.numel() for weight in network.parameters())
        super().__init__(network, gaussians.draw, points + sum(v.numel() for v in gaussians.log_variance.values()))
        self.mean = gaussians.mean
        self.std = {name: gaussians.std(name).detach() for name in gaussians.mean}
