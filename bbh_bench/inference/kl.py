"""KL divergences from a posterior q to the prior p = N(0, scale^2), in nats, estimated from samples or in closed form.

The estimators are those of Pawlowski et al. 2017, arXiv 1711.01297 ("Implicit Weight Uncertainty in Neural Networks").
Five samples of a network say little about a density over all its weights. Each estimator is therefore a different
regulariser, and its docstring says what it rewards.
"""

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

GROUP_VALUES = 163840
"""Values of samples whose estimate is computed at once on a CPU: 640 kB."""
EPSILON = 1e-8  # keeps roots and logarithms finite if samples are equal; as in the paper's code


def gaussian_kl(mean: Tensor, std: Tensor, prior_scale: float) -> Tensor:
    """KL of a factorised Gaussian to the prior, summed over all weights: exact (Blundell et al. 2015, arXiv 1505.05424)."""
    mean, std = mean.flatten(), std.flatten()
    squares = std.dot(std) + mean.dot(mean)  # no tensor of squares is stored
    return squares / (2 * prior_scale**2) - std.log().sum() + len(std) * (math.log(prior_scale) - 0.5)


def nearest_per_weight(samples: Tensor, prior: Tensor) -> Tensor:
    """Nearest-neighbour estimate for every weight separately, summed: samples ``[S, W]`` of q, ``[M, W]`` of p.

    ``sum_i (mean_s log(D_si / R_si) + log(M / (S - 1)))``. D is the distance to the nearest sample of the prior, R the distance
    to the nearest other sample of q (Perez-Cruz 2008; the paper's preferred estimator, with its constant).

    It ignores all correlations. For q = N(0, s^2) and S = M = 5, the expected estimate per weight is 1.89, 0.84, 0.41, 0.03,
    -0.01, 0.04, 0.38 and 0.77 nats at s = 0.1, 0.3, 0.5, 1, 1.5, 2, 5 and 20. The true KL is 1.81, 0.75, 0.32, 0, 0.22,
    0.81, 10.4 and 196. The minimum is therefore near s = 1.5, and a posterior that is too wide gets almost no penalty.

    Raises ``ValueError`` if the shapes do not agree or S is less than 2.
    """
    _check_shapes(samples, prior)
    log_ratios: Tensor = _LogRatiosPerWeight.apply(samples, prior)
    return log_ratios / len(samples) + samples.shape[1] * math.log(len(prior) / (len(samples) - 1))


class _LogRatiosPerWeight(torch.autograd.Function):
    """``sum log(D / R)`` over all weights and samples. The gradient is computed with the value.

    Both are computed for one group of weights after the other, whose intermediate results stay in the processor's cache. All
    operations are such that PyTorch has vectorised kernels for them: ``sort``, ``where`` and ``gather`` take several times as
    long for few samples.
    """

    @staticmethod
    def forward(ctx: Any, samples: Tensor, prior: Tensor) -> Tensor:
        group = samples.shape[1] if samples.is_cuda else max(1, GROUP_VALUES // len(samples))
        gradient = torch.empty_like(samples)
        total = samples.new_zeros(())
        for part, prior_part, out in zip(*(x.split(group, dim=1) for x in (samples, prior, gradient)), strict=True):
            total += _log_ratios(part, prior_part, out)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradients[0] * gradient, None


def _log_ratios(samples: Tensor, prior: Tensor, gradient: Tensor) -> Tensor:
    """The sum for samples ``[S, W]`` and ``[M, W]`` of the prior. Writes its gradient with respect to the samples."""
    rows, steps = _sorted(samples)  # the nearest neighbour of a scalar is next to it
    ordered = torch.stack(rows)
    gaps = ordered[1:] - ordered[:-1]
    to_samples = torch.cat([gaps[:1], torch.minimum(gaps[:-1], gaps[1:]), gaps[-1:]])
    to_prior = ordered.sub_(_nearest(ordered, _sorted(prior)[0]))
    # ``_log_ratio`` is log(D / R' + EPSILON) with D = sqrt(to_prior^2 + EPSILON), R = sqrt(to_samples^2 + EPSILON) and
    # R' = R + EPSILON. Its derivative is (dD - (D / R') dR) / (D + EPSILON R'), with dD = to_prior / D, dR = to_samples / R.
    epsilon = samples.new_full((), EPSILON)
    to_prior_root = torch.addcmul(epsilon, to_prior, to_prior).sqrt_()
    to_samples_root = torch.addcmul(epsilon, to_samples, to_samples).sqrt_()
    divisor = to_samples_root + EPSILON
    numerator = torch.add(to_prior_root, divisor, alpha=EPSILON)
    log_ratios = (numerator / divisor).log_().sum()
    by_distance = to_samples.mul_(to_prior_root).div_(to_samples_root.mul_(divisor).mul_(numerator))
    by_order = to_prior.div_(to_prior_root.mul_(numerator))
    _subtract_gradient_of_gaps(by_order, by_distance, gaps)
    torch.stack(_restore_order(list(by_order), steps), out=gradient)
    return log_ratios


def _sorted(rows: Tensor) -> tuple[list[Tensor], list[tuple[int, Tensor, Tensor]]]:
    """The rows of ``[S, W]`` with every column in ascending order, by exchanges of neighbours.

    Also returns the steps in their order: the index of the first of two rows, and both before they were exchanged.
    """
    ordered, steps = list(rows), []
    for turn in range(len(ordered)):
        for k in range(turn % 2, len(ordered) - 1, 2):
            low, high = ordered[k], ordered[k + 1]
            steps.append((k, low, high))
            ordered[k], ordered[k + 1] = torch.minimum(low, high), torch.maximum(low, high)
    return ordered, steps


def _restore_order(rows: list[Tensor], steps: list[tuple[int, Tensor, Tensor]]) -> list[Tensor]:
    """Values that belong to sorted samples, in the order of the samples: undoes the steps of ``_sorted``."""
    for k, first, second in reversed(steps):
        low, high = rows[k], rows[k + 1]
        is_exchanged = torch.gt(first, second, out=torch.empty_like(low))
        rows[k], rows[k + 1] = low.lerp(high, is_exchanged), high.lerp(low, is_exchanged)  # exactly one of the two
    return rows


def _nearest(x: Tensor, ordered: list[Tensor]) -> Tensor:
    """The value nearest to each of ``x`` ``[S, W]``, of the M values ``ordered`` ``[W]`` in its column."""
    nearest = ordered[0].expand_as(x).contiguous()
    is_above = torch.empty_like(x)
    for low, high in pairwise(ordered):
        torch.gt(x, (low + high).div_(2), out=is_above)
        nearest.lerp_(high.expand_as(x), is_above)
    return nearest


def _subtract_gradient_of_gaps(gradient: Tensor, by_distance: Tensor, gaps: Tensor) -> None:
    """Subtract the gradient through the distance from each ordered sample to the nearest other, the smaller of two ``gaps``."""
    is_below = torch.le(gaps[:-1], gaps[1:], out=torch.empty_like(gaps[1:]))
    to_below = is_below.mul_(by_distance[1:-1])
    by_distance[1:-1] -= to_below
    by_gap = by_distance[:-1]  # the gap above each sample
    by_gap[:-1] += to_below
    by_gap[-1] += by_distance[-1]
    gradient[1:] -= by_gap
    gradient[:-1] += by_gap


def nearest_full(samples: Tensor, prior: Tensor) -> Tensor:
    """Nearest-neighbour estimate with all weights as one vector: samples ``[S, W]`` of q, ``[M, W]`` of p.

    ``W mean_s log(D_s / R_s) + log(M / (S - 1))`` with Euclidean distances (Perez-Cruz 2008; the paper's "full kernel").
    The paper's code multiplies the last term by W, which adds a constant of 96,193 nats for LeNet and no gradient.

    In many dimensions, all distances D are nearly equal, and so are all distances R. With independent weights of variance s^2
    and mean square m^2, the estimate per weight tends to ``log((1 + s^2 + m^2) / (2 s^2)) / 2``: 1.96, 0.90, 0.46, 0.00,
    -0.16, -0.23, -0.32 and -0.34 nats at s = 0.1, 0.3, 0.5, 1, 1.5, 2, 5 and 20 (m = 0; the true KL is 1.81, 0.75, 0.32, 0,
    0.22, 0.81, 10.4 and 196). It decreases with s towards -log(2) / 2. It thus rewards unlimited spread, which only the
    likelihood prevents.

    Raises ``ValueError`` if the shapes do not agree or S is less than 2.
    """
    _check_shapes(samples, prior)
    with torch.no_grad():  # only the indices of the nearest samples; the distances below have exact gradients
        to_prior = torch.cdist(samples, prior).argmin(1)
        to_samples = torch.cdist(samples, samples).fill_diagonal_(math.inf).argmin(1)
    prior_distance = torch.linalg.vector_norm(samples - prior[to_prior], dim=1)
    sample_distance = torch.linalg.vector_norm(samples - samples[to_samples], dim=1)
    return samples.shape[1] * _log_ratio(prior_distance, sample_distance).mean() + math.log(
        len(prior) / (len(samples) - 1)
    )


def _check_shapes(samples: Tensor, prior: Tensor) -> None:
    if len(samples) < 2 or samples.dim() != 2 or prior.dim() != 2 or samples.shape[1] != prior.shape[1]:
        shapes = f"{list(samples.shape)} and {list(prior.shape)}"
        raise ValueError(f"samples and prior have shapes {shapes}; they must be [S, W] and [M, W], with S at least 2.")


def _log_ratio(to_prior: Tensor, to_samples: Tensor) -> Tensor:
    """``log(D / R)`` of distances or differences, kept finite as in the paper's code."""
    return (_positive(to_prior) / (_positive(to_samples) + EPSILON) + EPSILON).log()


def _positive(distance: Tensor) -> Tensor:
    return (distance.square() + EPSILON).sqrt()


class Discriminator(nn.Module):
    """Learns ``log q(w) - log p(w)`` of a scalar weight, one function shared by all weights (the paper's third estimator).

    It classifies samples of q against samples of p. The logit of the optimal classifier is the log-ratio of the two densities.

    - It is shared, so it sees the mixture of the marginals of all weights, and does not know which weight a value belongs to.
    - It is not trained where p has no samples: the gradient that pulls back very large weights is an extrapolation.
    - It lags behind q, which changes during training. The paper trains it for 100 steps in advance, then one step per step.
    - It costs 8,320 multiplications for every weight of every sample. One sample of LeNet's 431,080 weights costs as much as
      LeNet itself for 1,560 images.
    """

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(1, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip

    def forward(self, weights: Tensor) -> Tensor:
        """Weights of any shape -> the estimated log-ratio of q to p at each of them, same shape."""
        return self.layers(weights.unsqueeze(-1)).squeeze(-1)

    def loss(self, samples: Tensor, prior: Tensor) -> Tensor:
        """Cross-entropy of classifying samples of q against samples of p, a scalar; for the discriminator's own optimiser.

        The samples get no gradient: q must not learn to be easily classified.
        """
        return F.softplus(-self(samples.detach())).mean() + F.softplus(self(prior.detach())).mean()

    def kl(self, samples: Tensor) -> Tensor:
        """The estimate from samples ``[S, W]`` of q: the log-ratio, summed over weights and averaged over samples.

        The samples get a gradient, the discriminator does not: it would learn to underestimate every KL.
        """
        constants = {name: weight.detach() for name, weight in self.named_parameters()}
        ratio: Tensor = functional_call(self, constants, (samples,))
        return ratio.sum() / len(samples)
