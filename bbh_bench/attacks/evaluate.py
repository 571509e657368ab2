"""A posterior under attack: crafted on the attacker's networks, judged by fresh ones, and measured for the audit.

Arrays of an attack (N images, E epsilons, S stretches), all under ``attack/<name>/``: ``norm``, ``access``, ``labels`` and
``index`` ``[N]`` (their places in the test set), ``epsilons`` ``[E]``; for the k-th epsilon ``<k>/log_odds`` and
``<k>/mutual_information`` (see ``predictive.predict``) by fresh networks; ``own`` ``[E, N]``, the classes by the attacker's
networks; ``moved`` ``[E, N]``, the mean absolute change of a pixel. Of one that minimises, ``stretch/size`` and
``stretch/fresh`` ``[S, N]``: sizes and fresh classes of its smallest perturbations times ``STRETCHES``.

Those of the audit are under ``audit/``: ``epsilon``, ``labels`` ``[P]``; ``base`` ``[P]``, the fresh classes under the
attack that is audited, and under stronger ones ``stronger/<what>`` ``[P]``; ``widest`` ``[P]``, at an epsilon that spans the
pixels' range; ``vanishing``, whether each of its images has no gradient.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bbh_bench.api import Arrays, Attack, Posterior, Predict, Problem, Stage, Terms
from bbh_bench.attacks.gradient import log_odds_against
from bbh_bench.attacks.threat_model import Crafted, craft, distance, stretched
from bbh_bench.data import stratified
from bbh_bench.evaluation.predictive import chunk_size, log_mean_softmax, predict

STRETCHES = (1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0)
"""Of a smallest perturbation: it ends at the boundary of the attacker's networks, and that of fresh ones is elsewhere."""
PROBED = 0.3
"""Share of an attack's images on which the audit runs stronger ones."""


@dataclass(frozen=True)
class Terrain:
    """What is the same for every posterior: the test set ``x`` ``[N, ...]``, ``y`` ``[N]``, and how it is judged."""

    x: Tensor
    y: Tensor
    classes: int
    bounds: tuple[float, float]
    draws: int
    """Fresh networks that judge."""
    attacked: int
    """Test images for an attack that names no number of its own."""
    device: torch.device

    def images(self, attack: Attack) -> Tensor:
        """Which test images an attack is run on ``[N]``: fewer are always some of more."""
        return stratified(self.y, min(self.attacked, Terms.of(attack).images or self.attacked))

    def classify(self, networks: Predict, x: Tensor) -> np.ndarray:
        """The predictive's classes ``[N]``, as they would be stored."""
        return predict(networks, x, self.device, self.classes)["log_odds"].argmax(1).astype(np.uint8)


@dataclass(frozen=True)
class Surrogates:
    """Attacks on another method's networks, kept for a task's other cells of the same seed: they get the same images."""

    problem: Callable[[], Problem]
    kept: dict[tuple[str, int], tuple[Crafted, np.ndarray]] = field(default_factory=dict)

    def craft(self, terrain: Terrain, attack: Attack, stage: Stage) -> tuple[Crafted, np.ndarray]:
        """The images, and their classes by the surrogate ``[E, N]``."""
        surrogate = Terms.of(attack).surrogate
        assert surrogate is not None
        with stage(f"surrogate/{attack.name}"):
            key = attack.name, torch.initial_seed()  # of the run's seed and this stage
            if key not in self.kept:
                posterior = surrogate.fit(self.problem())
                self.kept[key] = _crafted(terrain, attack, posterior.sample(attack.draws))
            return self.kept[key]


def attacked(
    terrain: Terrain, posterior: Posterior, attacks: Iterable[Attack], surrogates: Surrogates, stage: Stage
) -> Arrays:
    """Every attack on the posterior, and the audit of the first that has ``stronger`` ones, such as ``Pgd``."""
    arrays: Arrays = {}
    audited = False
    for attack in attacks:
        chosen = terrain.images(attack)
        if Terms.of(attack).surrogate is not None:
            crafted, own = surrogates.craft(terrain, attack, stage)
        else:
            with stage(f"attack/{attack.name}", images=len(chosen)):
                crafted, own = _crafted(terrain, attack, posterior.sample(attack.draws))
        arrays |= under(f"attack/{attack.name}", _judged(terrain, posterior, attack, crafted, own, stage))
        if hasattr(attack, "stronger") and not audited:
            arrays |= under("audit", _probed(terrain, posterior, attack, crafted, own, stage))
            audited = True
    return arrays


def shared(terrain: Terrain, attacks: Iterable[Attack]) -> Arrays:
    """What the worst case over attacks is taken of, under ``robust/<norm>/``: ``index`` and positive ``epsilons``.

    In each norm they are those that all of a task's own attacks share.
    """
    arrays: Arrays = {}
    for norm in ("linf", "l2"):
        own = [attack for attack in attacks if attack.norm == norm]
        epsilons = sorted(set.intersection(*({e for e in attack.epsilons if e > 0} for attack in own))) if own else []
        if epsilons:
            index = min((terrain.images(attack) for attack in own), key=len)
            held = {"index": index.numpy().astype(np.uint32), "epsilons": np.array(epsilons)}
            arrays |= under(f"robust/{norm}", held)
    return arrays


def _crafted(terrain: Terrain, attack: Attack, networks: Predict) -> tuple[Crafted, np.ndarray]:
    chosen = terrain.images(attack)
    crafted = craft(attack, networks, terrain.x[chosen], terrain.y[chosen], terrain.bounds, terrain.device)
    return crafted, np.stack([terrain.classify(networks, images) for images in crafted.images])


def _judged(
    terrain: Terrain, posterior: Posterior, attack: Attack, crafted: Crafted, own: np.ndarray, stage: Stage
) -> Arrays:
    """What fresh networks say of an attack's images."""
    chosen = terrain.images(attack)
    clean = terrain.x[chosen]
    moved = [(images - clean).abs().flatten(1).mean(1) for images in crafted.images]
    arrays: Arrays = {
        "norm": np.array(attack.norm),
        "access": np.array(Terms.of(attack).access),
        "labels": terrain.y[chosen].numpy().astype(np.uint8),
        "index": chosen.numpy().astype(np.uint32),
        "epsilons": np.array(attack.epsilons),
        "own": own,
        "moved": torch.stack(moved).numpy().astype(np.float32),
    }
    with stage(f"judge/{attack.name}", images=len(clean) * len(crafted.images)):
        networks = posterior.sample(terrain.draws)
        for k, images in enumerate(crafted.images):
            arrays |= under(str(k), predict(networks, images, terrain.device, terrain.classes))
        if crafted.smallest is not None:
            arrays |= under("stretch", _stretches(terrain, attack, networks, clean, crafted.smallest))
    return arrays


def _stretches(terrain: Terrain, attack: Attack, networks: Predict, clean: Tensor, smallest: Tensor) -> Arrays:
    longer = [stretched(clean, smallest, torch.full((len(clean),), factor), terrain.bounds) for factor in STRETCHES]
    return {
        "size": torch.stack([distance(images, clean, attack.norm) for images in longer]).numpy().astype(np.float32),
        "fresh": np.stack([terrain.classify(networks, images) for images in longer]),
    }


def _probed(
    terrain: Terrain, posterior: Posterior, attack: Any, crafted: Crafted, own: np.ndarray, stage: Stage
) -> Arrays:
    """Stronger versions of the attack, on images that it didn't turn, at the epsilon that turns about half of them."""
    chosen = terrain.images(attack)
    probed = stratified(terrain.y[chosen], round(PROBED * len(chosen)))
    x, y = terrain.x[chosen[probed]], terrain.y[chosen[probed]]
    right = own[:, probed.numpy()] == y.numpy()
    k = min(np.flatnonzero(attack.epsilons), key=lambda k: abs(right[k].mean() - 0.5))
    left = torch.from_numpy(right[k])
    low, high = (torch.full_like(x[:1], bound) for bound in terrain.bounds)
    made = {"base": crafted.images[k][probed]}
    with stage("attack/audit", images=len(probed)):
        networks = posterior.sample(attack.draws)
        vanishing = _vanishing(terrain, networks, terrain.x[chosen], terrain.y[chosen])
        widest = replace(attack, epsilons=(distance(high, low, attack.norm).item(),))
        (made["widest"],) = craft(widest, networks, x, y, terrain.bounds, terrain.device).images
        for what, version in attack.stronger(attack.epsilons[k]).items():
            made[f"stronger/{what}"] = made["base"].clone()
            if left.any():
                networks = posterior.sample(version.draws)
                (images,) = craft(version, networks, x[left], y[left], terrain.bounds, terrain.device).images
                made[f"stronger/{what}"][left] = images
    with stage("judge/audit", images=len(probed) * len(made)):
        networks = posterior.sample(terrain.draws)
        verdicts = {what: terrain.classify(networks, images) for what, images in made.items()}
    labels = y.numpy().astype(np.uint8)
    return verdicts | {"epsilon": np.array(attack.epsilons[k]), "labels": labels, "vanishing": vanishing}


def _vanishing(terrain: Terrain, networks: Predict, x: Tensor, y: Tensor) -> np.ndarray:
    """Whether the gradient that attacks follow is zero, or not finite, at each clean image ``[N]``."""
    found = []
    size = chunk_size(terrain.device, x)
    for images, labels in zip(x.split(size), y.split(size), strict=True):
        leaf = images.to(terrain.device, copy=True).requires_grad_()
        loss = log_odds_against(log_mean_softmax(networks(leaf)), labels.to(terrain.device)).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        largest = gradient.flatten(1).abs().amax(1)  # NaN and infinity stay
        found.append(((largest == 0) | ~largest.isfinite()).cpu())
    return torch.cat(found).numpy()


def under(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays, with a prefix to their names."""
    return {f"{prefix}/{key}": array for key, array in arrays.items()}
