"""Trains the MAP network, computes its curvature with laplace-torch, and returns the posterior.

laplace-torch sums the curvature of the negative log-likelihood over all training data, and adds the precision of the prior.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from bbh_bench import Posterior, Problem, WeightPosterior
from bbh_bench.api import Categorical, Gaussian
from bbh_bench.errors import ContractError
from bbh_bench_laplace import LaplaceKfac, LaplaceLastLayer
from bbh_bench_laplace.gaussians import FullGaussian, KroneckerGaussian
from bbh_bench_laplace.layers import check_layers, last_layer
from bbh_bench_laplace.linearised import LinearisedPosterior
from bbh_bench_laplace.mode import train_to_mode

BATCH = 500
"""Training examples whose curvature is computed at once."""


def last_layer_posterior(method: LaplaceLastLayer, problem: Problem) -> Posterior:
    """See ``LaplaceLastLayer.fit``."""
    options = laplace_options(method, problem)
    network = problem.network()
    name = last_layer(network, problem.x[:2], method.name)
    train_to_mode(network, problem, method.lr, problem.prior_scale_or(method.prior_scale))
    with quiet():
        from laplace import FullLLLaplace
        from laplace.curvature import BackPackGGN  # whose Jacobian of a linear layer is in closed form

        laplace = FullLLLaplace(trainable_copy(network), last_layer_name=name, backend=BackPackGGN, **options)
        compute_curvature(laplace, problem, method.marginal_likelihood)
    shapes = {name: weight.shape for name, weight in network.get_submodule(name).named_parameters(name)}
    gaussian = FullGaussian(shapes, laplace.mean.detach(), laplace.posterior_scale.detach())
    kept = sum(weight.numel() for weight in network.parameters()) + gaussian.scale.numel()
    return WeightPosterior(network, gaussian, kept)


def kfac_posterior(method: LaplaceKfac, problem: Problem) -> Posterior:
    """See ``LaplaceKfac.fit``."""
    options = laplace_options(method, problem)
    network = problem.network()
    check_layers(network, method.name)
    train_to_mode(network, problem, method.lr, problem.prior_scale_or(method.prior_scale))
    with quiet():
        from laplace import KronLaplace
        from laplace.curvature import CurvlinopsGGN

        # BackPACK would give the kernels of small-lenet's convolutions 27 and 13 times the trace of the Gauss-Newton matrix.
        laplace = KronLaplace(trainable_copy(network), backend=CurvlinopsGGN, **options)
        compute_curvature(laplace, problem, method.marginal_likelihood)
    shapes = {name: weight.shape for name, weight in network.named_parameters()}
    precision = laplace.posterior_precision.detach()
    gaussian = KroneckerGaussian(shapes, laplace.mean.detach(), precision)
    factors = [factor for layer in (*precision.eigenvectors, *precision.eigenvalues) for factor in layer]
    kept = sum(values.numel() for values in (*network.parameters(), *factors))
    posterior = LinearisedPosterior if method.linearised else WeightPosterior
    return posterior(network, gaussian, kept)


def laplace_options(method: LaplaceLastLayer | LaplaceKfac, problem: Problem) -> dict[str, Any]:
    """Likelihood and prior as laplace-torch names them. Raises ``ContractError``."""
    if method.marginal_likelihood and problem.prior_scale is not None:
        raise ContractError(
            f"{method.name}: the task states the prior, and marginal_likelihood=True would choose another; leave it False."
        )
    prior = {"prior_precision": problem.prior_scale_or(method.prior_scale) ** -2}
    match problem.likelihood:
        case Categorical():
            return {"likelihood": "classification"} | prior
        case Gaussian(std=std):
            return {"likelihood": "regression", "sigma_noise": std} | prior
    raise ContractError(f"{method.name}: the likelihood {problem.likelihood} is neither Categorical nor Gaussian.")


def trainable_copy(network: nn.Module) -> nn.Module:
    """A copy for laplace-torch, which adds hooks, needs gradients and cannot treat weights with the channels last."""
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format).requires_grad_(True)


def compute_curvature(laplace: Any, problem: Problem, marginal_likelihood: bool) -> None:
    """Add up the curvature over the training data, in place; then choose the prior precision, if wanted."""
    targets = problem.y.unsqueeze(-1) if isinstance(problem.likelihood, Gaussian) else problem.y
    data = TensorDataset(problem.x, targets)
    laplace.fit(
        DataLoader(data, batch_size=None, sampler=BatchSampler(SequentialSampler(data), BATCH, drop_last=False))
    )
    if marginal_likelihood:
        laplace.optimize_prior_precision(
            pred_type="glm",
            method="marglik",
            prior_structure="scalar",
            init_prior_prec=laplace.prior_precision.item(),
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of laplace-torch and of what it imports: deprecations, and advice about options not used here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
