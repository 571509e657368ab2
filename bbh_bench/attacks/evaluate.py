"""A posterior under attack: adversarial examples are crafted on the attacker's samples and evaluated on fresh samples."""

import json
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, Attack, Norm, Posterior, PredictFn, Problem, Stage
from bbh_bench.attacks.auditing import audit_attack, can_be_audited
from bbh_bench.attacks.ball import distance, scaled
from bbh_bench.attacks.context import AttackContext
from bbh_bench.attacks.networks import AttackerNetworks, grouped, unknown_to_defender
from bbh_bench.attacks.passes import PassCounter
from bbh_bench.attacks.stored import attack_arrays, worst_case_arrays
from bbh_bench.attacks.threat_model import AdversarialExamples, craft
from bbh_bench.evaluation.predictive import predict
from bbh_bench.records.identity import describe

SCALES = (1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0)
"""Factors of a smallest perturbation: it ends at the decision boundary of the attacker's samples, and that of fresh samples is
elsewhere."""

ExamplesAndClasses = tuple[AdversarialExamples, np.ndarray]
"""Adversarial examples, and the classes that the attacked networks predict for them ``[E, N]``."""


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
        return _to_arrays(*_craft(context, attack, unknown_to_defender(surrogate.fit(problem()), attack)))

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
    audited = next((attack for attack in attacks if can_be_audited(attack)), None)
    for attack in attacks:
        crafted, classes = _examples(context, posterior, attack, problem, seed, stage)
        arrays |= _evaluate(context, posterior, attack, crafted, classes, stage)
        if attack is audited:
            arrays |= audit_attack(context, posterior, attack, crafted, stage)
    return arrays


def _examples(
    context: AttackContext,
    posterior: Posterior,
    attack: Attack,
    problem: Callable[[], Problem],
    seed: int,
    stage: Stage,
) -> ExamplesAndClasses:
    if attack.surrogate is not None:
        return transferred(context, attack, problem, seed, stage)
    counter, images = PassCounter(), len(context.index(attack))
    with stage(f"attack/{attack.name}", images=images):
        crafted = _craft(context, attack, unknown_to_defender(posterior, attack).counted(counter))
    stage.count(attack.name, counter.forward, counter.backward, images)
    return crafted


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


def _craft(context: AttackContext, attack: Attack, networks: AttackerNetworks) -> ExamplesAndClasses:
    index = context.index(attack)
    crafted = craft(attack, networks, context.x[index], context.y[index], context.bounds, context.device)
    return crafted, np.stack([context.classify(networks, images) for images in crafted.images])


def _evaluate(
    context: AttackContext,
    posterior: Posterior,
    attack: Attack,
    crafted: AdversarialExamples,
    attacker_classes: np.ndarray,
    stage: Stage,
) -> Arrays:
    """Evaluate adversarial examples on fresh samples. An attack with ``checks`` then goes on against these."""
    index = context.index(attack)
    clean = context.x[index]
    mean_perturbation = torch.stack([(images - clean).abs().flatten(1).mean(1) for images in crafted.images])
    with stage(f"evaluate/{attack.name}", images=len(clean) * len(crafted.images)):
        networks, no_others = _deciding(context, posterior, attack)
        predictions = [predict(networks, images, context.device, context.classes) for images in crafted.images]
        scales = None
        if crafted.smallest is not None:
            scales = _evaluate_scales(context, attack, networks, clean, crafted.smallest)
    if attack.algorithm.checks:
        known = list(crafted.images) if no_others else _go_on(context, attack, networks, crafted, stage)
        attacker_classes = np.stack([context.classify(networks, images) for images in known])
    return attack_arrays(attack, index, context.y[index], attacker_classes, mean_perturbation, predictions, scales)


def _deciding(context: AttackContext, posterior: Posterior, attack: Attack) -> tuple[AttackerNetworks, bool]:
    """The networks that decide, and whether the posterior has no others.

    They are in groups of the size that the attack is used to, if it goes on against them. A posterior of few networks, such as
    an ensemble, decides with all of them: groups of some members would weight them at random.
    """
    networks = posterior.sample(context.samples)
    if not attack.algorithm.checks:
        return AttackerNetworks.of(networks), False
    with torch.no_grad():
        no_others = len(networks(context.x[:1].to(context.device))) < context.samples
    if no_others:
        return AttackerNetworks.of(networks), True
    return grouped(
        posterior, context.samples, max(1, context.samples * attack.algorithm.groups // attack.samples)
    ), False


def _go_on(
    context: AttackContext, attack: Attack, networks: AttackerNetworks, crafted: AdversarialExamples, stage: Stage
) -> list[Tensor]:
    """The images for each epsilon of the attack that goes on from its result, against networks that are known.

    What they misclassified before, they misclassify still.
    """
    index = context.index(attack)
    x, y = context.x[index], context.y[index]
    counter = PassCounter()
    with stage(f"attack/{attack.name}"):
        counted = networks.counted(counter)
        images = craft(attack, counted, x, y, context.bounds, context.device, list(crafted.images)).images
    stage.count(attack.name, counter.forward, counter.backward, 0)
    return images


def _evaluate_scales(
    context: AttackContext, attack: Attack, networks: PredictFn, clean: Tensor, smallest: Tensor
) -> tuple[Tensor, np.ndarray]:
    """Sizes of the smallest perturbations times ``SCALES`` ``[S, N]``, and the classes that fresh samples predict there."""
    images = [scaled(clean, smallest, torch.full((len(clean),), factor), context.bounds) for factor in SCALES]
    sizes = torch.stack([distance(each, clean, attack.norm) for each in images])
    return sizes, np.stack([context.classify(networks, each) for each in images])
