"""Runs the audit: stronger variants of an attack, on images that it attacked, from the start.

The verdicts are computed from the stored arrays, in ``attacks.audit``.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, Attack, Posterior, PredictFn, Stage
from bbh_bench.attacks.ball import distance, random_points
from bbh_bench.attacks.context import AttackContext
from bbh_bench.attacks.losses import log_odds_against
from bbh_bench.attacks.networks import unknown_to_defender
from bbh_bench.attacks.stored import MORE_SAMPLES, audit_arrays
from bbh_bench.attacks.threat_model import AdversarialExamples, craft
from bbh_bench.data import stratified
from bbh_bench.evaluation.predictive import chunk_size, log_mean_softmax

AUDITED = 100
"""Number of an attack's images on which stronger variants are run."""
OUTSIDE_SAMPLES = 16
"""Samples of a stronger variant that takes all of them for every gradient, where the attack takes a group."""


def stronger_variants(attack: Attack, epsilon: float) -> dict[str, Attack]:
    """The attack at one epsilon, with more of one thing each: those of its algorithm, then four times the samples.

    An algorithm that does not divide its samples into groups takes ``OUTSIDE_SAMPLES`` where the attack has more.
    """
    single = replace(attack, epsilons=(epsilon,))
    variants = {
        what: replace(
            single,
            algorithm=algorithm,
            samples=attack.samples if algorithm.groups > 1 else min(attack.samples, OUTSIDE_SAMPLES),
        )
        for what, algorithm in attack.algorithm.stronger().items()
    }
    return variants | {MORE_SAMPLES: replace(single, samples=4 * attack.samples)}


def can_be_audited(attack: Attack) -> bool:
    """Whether it attacks the posterior's own networks at a positive epsilon, and has stronger variants."""
    return attack.access == "white" and any(attack.epsilons) and len(attack.algorithm.stronger()) > 0


def audit_attack(
    context: AttackContext, posterior: Posterior, attack: Attack, crafted: AdversarialExamples, stage: Stage
) -> Arrays:
    """Stronger variants of the attack, at the epsilon where networks unknown to it are correct for about half of the images.

    Each variant attacks all images of the audit from the start, and is evaluated on the same fresh samples as the attack.
    """
    index = context.index(attack)
    subset = stratified(context.y[index], AUDITED)
    x, y = context.x[index[subset]], context.y[index[subset]]
    with stage("attack/audit", images=len(subset)):
        k = _half_correct(context, posterior, attack, [images[subset] for images in crafted.images], y)
        base, variants = crafted.images[k][subset], stronger_variants(attack, attack.epsilons[k])
        networks = unknown_to_defender(posterior, attack)
        starts = random_points(context.x[index], attack.epsilons[k], attack.norm, context.bounds)
        vanishing = _vanishing_gradients(context, networks, starts, context.y[index])
        widest = craft(_widest(context, attack), networks, x, y, context.bounds, context.device).images[0]
        stronger = {
            what: craft(variant, unknown_to_defender(posterior, variant), x, y, context.bounds, context.device).images[
                0
            ]
            for what, variant in variants.items()
        }
    with stage("evaluate/audit", images=len(subset) * (2 + len(stronger))):
        fresh = posterior.sample(context.samples)
        return audit_arrays(
            base=context.classify(fresh, base),
            widest=context.classify(fresh, widest),
            stronger={what: context.classify(fresh, images) for what, images in stronger.items()},
            epsilon=attack.epsilons[k],
            labels=y,
            vanishing=vanishing,
        )


def _half_correct(
    context: AttackContext, posterior: Posterior, attack: Attack, crafted: list[Tensor], y: Tensor
) -> int:
    """Index of the positive epsilon at which the accuracy is nearest to one half, on samples for this purpose alone."""
    networks = posterior.sample(attack.samples)
    accuracy = [float(np.mean(context.classify(networks, images) == y.numpy())) for images in crafted]
    return int(min(np.flatnonzero(attack.epsilons), key=lambda k: abs(accuracy[k] - 0.5)))


def _widest(context: AttackContext, attack: Attack) -> Attack:
    """The attack at an epsilon that spans the range of pixel values."""
    low, high = (torch.full_like(context.x[:1], bound) for bound in context.bounds)
    return replace(attack, epsilons=(distance(high, low, attack.norm).item(),))


def _vanishing_gradients(context: AttackContext, networks: PredictFn, x: Tensor, y: Tensor) -> Tensor:
    """Whether the gradient of the attacks' loss is zero or not finite at images ``x`` ``[N, ...]``, ``[N]``."""
    vanishing = []
    size = chunk_size(context.device, x)
    for images, labels in zip(x.split(size), y.split(size), strict=True):
        leaf = images.to(context.device, copy=True).requires_grad_()
        loss = log_odds_against(log_mean_softmax(networks(leaf)), labels.to(context.device)).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        largest = gradient.flatten(1).abs().amax(1)  # NaN and infinity stay
        vanishing.append(((largest == 0) | ~largest.isfinite()).cpu())
    return torch.cat(vanishing)
