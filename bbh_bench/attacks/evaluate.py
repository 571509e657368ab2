"""A posterior under attack: adversarial examples are crafted on the attacker's samples and evaluated on fresh samples."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, Attack, Norm, Posterior, PredictFn, Problem, Stage
from bbh_bench.attacks.losses import log_odds_against
from bbh_bench.attacks.networks import grouped, unknown_to_defender
from bbh_bench.attacks.stored import MORE_SAMPLES, attack_arrays, audit_arrays, worst_case_arrays
from bbh_bench.attacks.threat_model import AdversarialExamples, craft, distance, scaled
from bbh_bench.data import stratified
from bbh_bench.evaluation.predictive import chunk_size, log_mean_softmax, predict
from bbh_bench.records.identity import describe

SCALES = (1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0)
"""Factors of a smallest perturbation: it ends at the decision boundary of the attacker's samples, and that of fresh samples is
elsewhere."""
AUDITED = 100
"""Number of an attack's images on which the audit runs stronger variants."""
OUTSIDE_SAMPLES = 16
"""Samples of a stronger variant that takes all of them for every gradient, where the attack takes a group."""

ExamplesAndClasses = tuple[AdversarialExamples, np.ndarray]
"""Adversarial examples, and the classes that the attacked networks predict for them ``[E, N]``."""


@dataclass(frozen=True)
class AttackContext:
    """What is the same for every posterior: test images ``x`` ``[N, ...]`` with labels ``y`` ``[N]``, and the evaluation."""

    x: Tensor
    y: Tensor
    classes: int
    bounds: tuple[float, float]
    """Range of pixel values."""
    samples: int
    """Number of fresh samples on which adversarial examples are evaluated."""
    attacked: int
    """Number of test images for an attack that does not set ``images``."""
    device: torch.device
    indices: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Results of ``index`` by number of images: they are needed several times for each attack."""

    def index(self, attack: Attack) -> Tensor:
        """Positions of the test images of an attack, increasing; fewer images are always a subset of more."""
        n = min(self.attacked, attack.images or self.attacked)
        if n not in self.indices:
            self.indices[n] = stratified(self.y, n)
        return self.indices[n]

    def classify(self, networks: PredictFn, x: Tensor) -> np.ndarray:
        """Classes ``[N]`` that the networks predict together, as they are stored."""
        return predict(networks, x, self.device, self.classes)["log_odds"].argmax(1).astype(np.uint8)


def transferred(
    context: AttackContext, attack: Attack, problem: Callable[[], Problem], seed: int, stage: Stage
) -> ExamplesAndClasses:
    """Adversarial examples of a transfer attack, which are the same for all posteriors of a task, seed and device.

    The networks of ``attack.surrogate`` are attacked, fitted to ``problem()`` in a stage of its own by the first cell that
    needs them. ``seed`` is the run's. Raises ``ValueError`` if the attack has no surrogate.
    """
    surrogate = attack.surrogate
    if surrogate is None:
        raise ValueError(f"the attack '{attack.name}' has no surrogate")

    def compute() -> Arrays:
        return _to_arrays(*_craft(context, attack, surrogate.fit(problem()).sample(attack.samples)))

    with stage(f"surrogate/{attack.name}"):
        key = json.dumps({"attack": describe(attack), "seed": seed}, sort_keys=True)
        return _from_arrays(stage.shared(key, compute))


def _to_arrays(crafted: AdversarialExamples, classes: np.ndarray) -> Arrays:
    smallest = {} if crafted.smallest is None else {"smallest": crafted.smallest.numpy()}
    return {"images": torch.stack(list(crafted.images)).numpy(), "classes": classes} | smallest


def _from_arrays(arrays: Arrays) -> ExamplesAndClasses:
    smallest = torch.from_numpy(arrays["smallest"]) if "smallest" in arrays else None
    return AdversarialExamples(list(torch.from_numpy(arrays["images"])), smallest), arrays["classes"]


def attacked(
    context: AttackContext,
    posterior: Posterior,
    attacks: Iterable[Attack],
    problem: Callable[[], Problem],
    seed: int,
    stage: Stage,
) -> Arrays:
    """The stored arrays of every attack on the posterior, and those of the audit.

    The audit is that of the first attack on the posterior's own networks whose algorithm has stronger variants. ``problem``
    and the run's ``seed`` are for surrogates. A posterior that does not pass ``gradients_reach_inputs`` can be attacked by
    attacks with black-box or transfer access only.
    """
    attacks = list(attacks)
    arrays: Arrays = {}
    audited = next((attack for attack in attacks if _can_be_audited(attack)), None)
    for attack in attacks:
        if attack.surrogate is not None:
            crafted, classes = transferred(context, attack, problem, seed, stage)
        else:
            with stage(f"attack/{attack.name}", images=len(context.index(attack))):
                crafted, classes = _craft(context, attack, unknown_to_defender(posterior, attack))
                if attack.algorithm.checks:
                    classes = _classes_of_known(context, posterior, attack, crafted)
        arrays |= _evaluate(context, posterior, attack, crafted, classes, stage)
        if attack is audited:
            arrays |= _audit(context, posterior, attack, crafted, stage)
    return arrays


def gradients_reach_inputs(posterior: Posterior, x: Tensor) -> bool:
    """Whether the outputs of a sample have a gradient with respect to inputs ``x`` ``[B, ...]``, even if it is zero.

    False for outputs that were computed under ``torch.no_grad`` or outside torch. Uses the global random generators.
    """
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        try:
            outputs = posterior.sample(1)(leaf)
            if not outputs.requires_grad:
                return False
            (gradient,) = torch.autograd.grad(outputs.sum(), leaf, allow_unused=True)
        except RuntimeError:  # leaf.numpy() raises it, and so does an operation without a derivative
            return False
    return gradient is not None


def shared(context: AttackContext, attacks: Iterable[Attack]) -> Arrays:
    """The stored arrays that define the worst case of each norm: images and positive epsilons that all ``attacks`` share."""
    arrays: Arrays = {}
    attacks = list(attacks)
    norms: tuple[Norm, Norm] = ("linf", "l2")
    for norm in norms:
        same = [attack for attack in attacks if attack.norm == norm]
        epsilons = sorted(set.intersection(*({e for e in attack.epsilons if e > 0} for attack in same))) if same else []
        if epsilons:
            arrays |= worst_case_arrays(norm, min((context.index(attack) for attack in same), key=len), epsilons)
    return arrays


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


def _can_be_audited(attack: Attack) -> bool:
    return attack.access == "white" and any(attack.epsilons) and len(attack.algorithm.stronger()) > 0


def _craft(context: AttackContext, attack: Attack, networks: PredictFn) -> ExamplesAndClasses:
    index = context.index(attack)
    crafted = craft(attack, networks, context.x[index], context.y[index], context.bounds, context.device)
    return crafted, np.stack([context.classify(networks, images) for images in crafted.images])


def _classes_of_known(
    context: AttackContext, posterior: Posterior, attack: Attack, crafted: AdversarialExamples
) -> np.ndarray:
    """Classes ``[E, N]`` that known networks predict if the attack goes on against them, from its result so far.

    They are as many as those that decide about the images of other attacks. At epsilon 0 the attack does nothing.
    """
    index = context.index(attack)
    x, y = context.x[index], context.y[index]
    groups = max(1, context.samples * attack.algorithm.groups // attack.samples)  # of the same size
    known = grouped(posterior, context.samples, groups)
    if _same_everywhere(known, posterior.sample(context.samples), context):
        return np.stack([context.classify(known, each) for each in crafted.images])
    images = craft(attack, known, x, y, context.bounds, context.device, crafted.images).images
    return np.stack([context.classify(known, each) for each in images])


def _same_everywhere(first: PredictFn, second: PredictFn, context: AttackContext) -> bool:
    """Whether two samples of networks predict the same for an image: then the posterior has no others."""
    image = context.x[:1].to(context.device)
    with torch.no_grad():
        return torch.allclose(log_mean_softmax(first(image)), log_mean_softmax(second(image)), rtol=0, atol=1e-6)


def _evaluate(
    context: AttackContext,
    posterior: Posterior,
    attack: Attack,
    crafted: AdversarialExamples,
    attacker_classes: np.ndarray,
    stage: Stage,
) -> Arrays:
    """Evaluate adversarial examples on fresh samples."""
    index = context.index(attack)
    clean = context.x[index]
    mean_perturbation = torch.stack([(images - clean).abs().flatten(1).mean(1) for images in crafted.images])
    with stage(f"evaluate/{attack.name}", images=len(clean) * len(crafted.images)):
        networks = posterior.sample(context.samples)
        predictions = [predict(networks, images, context.device, context.classes) for images in crafted.images]
        scales = None
        if crafted.smallest is not None:
            scales = _evaluate_scales(context, attack, networks, clean, crafted.smallest)
    return attack_arrays(attack, index, context.y[index], attacker_classes, mean_perturbation, predictions, scales)


def _evaluate_scales(
    context: AttackContext, attack: Attack, networks: PredictFn, clean: Tensor, smallest: Tensor
) -> tuple[Tensor, np.ndarray]:
    """Sizes of the smallest perturbations times ``SCALES`` ``[S, N]``, and the classes that fresh samples predict there."""
    images = [scaled(clean, smallest, torch.full((len(clean),), factor), context.bounds) for factor in SCALES]
    sizes = torch.stack([distance(each, clean, attack.norm) for each in images])
    return sizes, np.stack([context.classify(networks, each) for each in images])


def _audit(
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
        vanishing = _vanishing_gradients(context, networks.groups[0], context.x[index], context.y[index])
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
    """Whether the gradient of the attacks' loss is zero or not finite at clean images ``x`` ``[N, ...]``, ``[N]``."""
    vanishing = []
    size = chunk_size(context.device, x)
    for images, labels in zip(x.split(size), y.split(size), strict=True):
        leaf = images.to(context.device, copy=True).requires_grad_()
        loss = log_odds_against(log_mean_softmax(networks(leaf)), labels.to(context.device)).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        largest = gradient.flatten(1).abs().amax(1)  # NaN and infinity stay
        vanishing.append(((largest == 0) | ~largest.isfinite()).cpu())
    return torch.cat(vanishing)
