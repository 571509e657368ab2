"""SNGP: Liu et al. 2020, arXiv 2006.10108. Hidden layers of bounded norm, and a Gaussian process in place of the last layer.

The process is approximated by random Fourier features (Rahimi & Recht 2007), and its posterior by Laplace's method. Outputs are
networks with sampled heads, and not the mean-field logits of the paper's appendix.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bbh_bench import Posterior, Problem, minimise
from bbh_bench.api import Categorical, Gaussian
from bbh_bench.errors import ContractError
from bbh_bench.inference.rates import learning_rate
from bbh_bench.inference.training import adam, negative_log_prior
from bbh_bench_last_layer import Sngp
from bbh_bench_last_layer.features import HeadPosterior, split

EXAMPLES = 1000
"""Training examples whose features are computed together."""
FINAL_STEPS = 50
"""Of the power iteration, after training."""


def fit_sngp(method: Sngp, problem: Problem) -> Posterior:
    """Train to the mode, then compute the Laplace precision over all training data, without augmentation.

    The prior is on the head only: other weights have a norm in place of it, also where the task states a prior.
    """
    check_likelihood(problem, method.name)
    body, last = split(problem.network(), method.name)
    features = nn.Sequential(*body, FourierFeatures(last.in_features, method.features, method.lengthscale))
    head = nn.Linear(method.features, last.out_features, bias=False)
    nn.init.zeros_(head.weight)
    network = nn.Sequential(features, head).to(problem.x.device)
    bound_norms(body, method.norm)
    scale = problem.prior_scale_or(method.prior_scale)

    def loss(x: Tensor, y: Tensor, step: int) -> Tensor:
        return problem.likelihood(network(x), y) + negative_log_prior([head.weight], scale) / len(problem.x)

    optimiser = adam(network.parameters(), learning_rate(method.lr, problem.steps))
    minimise(problem, optimiser, loss, state={"network": network.train()})  # with the vectors of the power iteration
    release_norms(body)
    network.eval().requires_grad_(False)
    return HeadPosterior(features, head.weight, factor_of(precision(features, head.weight, problem, scale)))


class FourierFeatures(nn.Module):
    """Random features whose inner products approximate the kernel exp(-|h - h'|^2 / (2 lengthscale^2)) (eq. 8 of the paper)."""

    weight: Tensor
    phase: Tensor

    def __init__(self, inputs: int, features: int, lengthscale: float) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(features, inputs) / lengthscale)
        self.register_buffer("phase", 2 * math.pi * torch.rand(features))

    def forward(self, h: Tensor) -> Tensor:
        """Hidden units ``[B, D]`` -> features ``[B, F]``."""
        features: Tensor = math.sqrt(2 / len(self.weight)) * nn.functional.linear(h, self.weight, self.phase).cos()
        return features


class BoundedNorm(nn.Module):
    """A parametrization: a kernel whose largest singular value is at most ``norm``, and which stays as it is below (eq. 10).

    The singular value is estimated by power iteration, one step for each use in training mode (Miyato et al. 2018). Of a
    convolution it is that of the kernel as a matrix ``[outputs, inputs * height * width]``, as in the paper: the norm of the
    convolution itself may be larger.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, norm: float) -> None:
        super().__init__()
        self.norm = norm
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", nn.functional.normalize(torch.randn(len(matrix), device=weight.device), dim=0))
        self.register_buffer("right", nn.functional.normalize(matrix.T @ self.left, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """The same shape."""
        matrix = weight.flatten(1)
        if self.training:
            with torch.no_grad():
                self.left.copy_(nn.functional.normalize(matrix @ self.right, dim=0))
                self.right.copy_(nn.functional.normalize(matrix.T @ self.left, dim=0))
        largest = self.left.clone() @ matrix @ self.right.clone()  # copies: the next step changes the vectors in place
        return weight * (self.norm / largest).clamp(max=1)


def bound_norms(body: nn.Module, norm: float) -> None:
    """Bound the kernel of every layer but the head."""
    for layer in _weighted(body):
        parametrize.register_parametrization(layer, "weight", BoundedNorm(layer.weight, norm))


def release_norms(body: nn.Module) -> None:
    """Keep the bounded kernels as plain parameters: a module with parametrizations cannot be pickled."""
    for layer in _weighted(body):
        for _ in range(FINAL_STEPS):
            layer.weight  # noqa: B018  (a step of the power iteration)
        layer.eval()
        parametrize.remove_parametrizations(layer, "weight")


def precision(features: nn.Module, weight: Tensor, problem: Problem, prior_scale: float) -> Tensor:
    """Hessian of the negative log posterior in the weights of each output (eq. 9 of the paper), ``[K, F, F]`` in float64.

    ``weight`` is the head's mode ``[K, F]``. Curvature between two outputs is left out.
    """
    total = torch.zeros(len(weight), weight.shape[1], weight.shape[1], dtype=torch.float64, device=weight.device)
    with torch.no_grad():
        for x in problem.x.split(EXAMPLES):
            each = features(x)
            for k, curvature in enumerate(_curvature(each @ weight.T, problem).T):
                total[k] += (each * curvature.unsqueeze(1)).T @ each
    return total + torch.eye(weight.shape[1], device=weight.device, dtype=torch.float64) / prior_scale**2


def factor_of(precisions: Tensor) -> Tensor:
    """Triangular factor of the inverse of each precision ``[K, F, F]``, in float32: times its transpose it is the inverse."""
    lower = torch.linalg.cholesky(precisions)
    identity = torch.eye(precisions.shape[-1], dtype=precisions.dtype, device=precisions.device)
    return torch.linalg.solve_triangular(lower.mT, identity.expand_as(precisions), upper=True).float()


def check_likelihood(problem: Problem, method: str) -> None:
    """Raise ``ContractError``, which names the ``method``, for a likelihood whose curvature is not known."""
    if not isinstance(problem.likelihood, Categorical | Gaussian):
        raise ContractError(
            f"method '{method}': the likelihood {problem.likelihood} is neither Categorical nor Gaussian."
        )


def _curvature(outputs: Tensor, problem: Problem) -> Tensor:
    """Second derivatives of the negative log-likelihood in outputs ``[B, K]``, of each by itself: ``[B, K]``."""
    if isinstance(problem.likelihood, Gaussian):
        return torch.full_like(outputs, problem.likelihood.std**-2)
    probs = outputs.softmax(-1)
    return probs * (1 - probs)


def _weighted(body: nn.Module) -> Iterator[nn.Linear | nn.Conv2d]:
    return (layer for layer in body.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
