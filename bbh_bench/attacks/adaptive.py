"""An adaptive attack: cheap steps for every image, then more expensive ones on what other samples still classify correctly.

Every step follows the gradient of a few networks, at each step another group of the attacker's samples (expectation over
transformation: Athalye et al. 2018, arXiv 1802.00420), with a step size that decays to zero. At equal cost this is much
stronger than many networks that stay the same: the perturbation cannot adapt to them. ``docs/threat-model.md`` has the curve of
accuracy against cost from which the default values were chosen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import Any, Literal

import torch
from torch import Tensor

from bbh_bench.api import AttackAlgorithm, Norm, RunAttack
from bbh_bench.attacks.ball import lengths, projected, random_points, scaled
from bbh_bench.attacks.losses import LOSSES, Loss, margin, towards
from bbh_bench.attacks.minimum_norm import FastMinimumNorm
from bbh_bench.attacks.networks import AttackerNetworks
from bbh_bench.evaluation.predictive import log_mean_softmax

MISCLASSIFIED = 0.1
"""Margin of the mean probabilities, on the samples that check, from which on an image is not attacked again: most other samples
misclassify it, too."""


@dataclass(frozen=True)
class Phase:
    """Steps that follow the gradient of one loss."""

    loss: str
    """Its name in ``losses.LOSSES``."""
    steps: int
    groups: int = 1
    """Groups of networks for each gradient."""
    start: Literal["best", "random"] = "best"
    """The best image so far, or a random point of the ball."""


@dataclass(frozen=True)
class Adaptive(AttackAlgorithm):
    """Gradient steps, each on other samples, for the images that further samples still classify correctly."""

    phases: tuple[Phase, ...] = (
        Phase("log-odds", 10, start="random"),
        Phase("margin", 30),
        Phase("log-odds", 30, start="random"),
        Phase("margin", 20, groups=4),
    )
    """One after the other.

    A network whose units are inactive has no gradient at the clean image, and an image that was the best one for a smaller
    epsilon may be the wrong start for a larger one: the first phase starts at random.
    """
    targets: int = 0
    """Number of the likeliest other classes towards which images are then attacked, each from a random start. No number of
    them gained anything on digits5; the audit tries them."""
    target_steps: int = 20
    target_groups: int = 4
    """Groups of networks for each gradient towards a class."""
    restarts: int = 1
    """Number of times that all of this is done."""
    stepsize: float = 0.5
    """Size of the first step relative to epsilon. It decays to zero along a cosine."""
    groups: int = 64
    """Number of groups into which the attacker's samples are divided; each step uses another group."""
    checks: int = 64
    """Number of further samples, which decide which images are still classified correctly."""

    def foolbox(self, norm: Norm) -> RunAttack:
        """Takes the epsilons in increasing order; perturbations of the previous one are scaled to the larger ball."""
        return partial(_attack, self, norm)

    def stronger(self) -> Mapping[str, AttackAlgorithm]:
        """2.5 times the steps; twice the restarts; other losses and target classes; and an attack that is not ours."""
        longer = tuple(replace(phase, steps=phase.steps * 5 // 2) for phase in self.phases)
        others = (
            Phase("cross-entropy", 40, start="random"),
            Phase("mean-cross-entropy", 40),
            Phase("log-margin", 40),
        )
        return {
            "iterations": replace(self, phases=longer, target_steps=self.target_steps * 5 // 2),
            "restarts": replace(self, restarts=2 * self.restarts),
            "losses": replace(self, phases=others, targets=4, target_groups=1),
            "outside": FastMinimumNorm(steps=50),
        }


@torch.no_grad()
def _attack(
    settings: Adaptive,
    norm: Norm,
    model: Any,
    inputs: Tensor,
    labels: Tensor,
    *,
    epsilons: Sequence[float],
    starting_points: Sequence[Tensor] | None = None,
) -> tuple[None, list[Tensor], None]:
    """Called as a Foolbox attack: see ``api.RunAttack``. ``starting_points``: images for each epsilon, tried first."""
    search = _Search(settings, norm, model, inputs, labels)
    previous, adversarial = 0.0, []
    everywhere = torch.arange(len(labels), device=labels.device)
    for k, epsilon in enumerate(epsilons):
        if previous:
            factor = torch.full_like(search.margin, epsilon / previous)
            search.keep_best(everywhere, scaled(inputs, search.best, factor, model.bounds))
        if starting_points is not None:
            search.keep_best(everywhere, starting_points[k])
        for _ in range(settings.restarts):
            search.run(epsilon)
        adversarial.append(search.best.clone())
        previous = epsilon
    return None, adversarial, None


class _Search:
    """The best adversarial images so far, by their margin on the samples that check."""

    def __init__(self, settings: Adaptive, norm: Norm, model: Any, inputs: Tensor, labels: Tensor) -> None:
        self.settings, self.norm, self.bounds = settings, norm, model.bounds
        self.networks: AttackerNetworks = model.networks
        self.inputs, self.labels = inputs, labels
        self.best = inputs.clone()
        self.probs = self._probabilities(inputs)
        self.margin = margin(self.probs, labels)
        self._groups = cycle(self.networks.groups)

    def run(self, epsilon: float) -> None:
        """All phases and targets, each on the images that are still classified correctly."""
        for phase in self.settings.phases:
            remaining = self._remaining()
            start = self.best[remaining] if phase.start == "best" else self._random_start(remaining, epsilon)
            self._ascend(remaining, start, LOSSES[phase.loss], phase.steps, phase.groups, epsilon)
        for rank in range(min(self.settings.targets, self.probs.shape[1] - 1)):
            remaining = self._remaining()
            others = self.probs[remaining].scatter(1, self.labels[remaining, None], -1.0)
            target = others.argsort(dim=1, descending=True, stable=True)[:, rank]
            start = self._random_start(remaining, epsilon)
            self._ascend(
                remaining, start, towards(target), self.settings.target_steps, self.settings.target_groups, epsilon
            )

    def keep_best(self, where: Tensor, candidates: Tensor) -> None:
        """Replace images at the positions ``where`` if the margin of the candidates is larger."""
        if len(where) == 0:
            return
        probs = self._probabilities(candidates)
        value = margin(probs, self.labels[where])
        better = value > self.margin[where]
        improved = where[better]
        self.best[improved], self.margin[improved], self.probs[improved] = (
            candidates[better],
            value[better],
            probs[better],
        )

    def _ascend(self, where: Tensor, start: Tensor, loss: Loss, steps: int, groups: int, epsilon: float) -> None:
        """Projected gradient ascent at the positions ``where``, and a check of the last images."""
        if len(where) == 0:
            return
        clean, labels, images = self.inputs[where], self.labels[where], start
        for step in range(steps):
            size = self.settings.stepsize * epsilon * (1 + math.cos(math.pi * step / steps)) / 2
            images = images + size * self._direction(images, labels, loss, groups)
            images = projected(images, clean, epsilon, self.norm, self.bounds)
        self.keep_best(where, images)

    def _direction(self, images: Tensor, labels: Tensor, loss: Loss, groups: int) -> Tensor:
        """Steepest ascent of length 1 in the norm, for the next group of networks."""
        with torch.enable_grad():
            leaf = images.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(
                loss(torch.cat([next(self._groups)(leaf) for _ in range(groups)]), labels).sum(), leaf
            )
        if self.norm == "linf":
            return gradient.sign()
        length = lengths(gradient)
        return torch.where(length > 0, gradient / length, 0.0)

    def _random_start(self, where: Tensor, epsilon: float) -> Tensor:
        return random_points(self.inputs[where], epsilon, self.norm, self.bounds)

    def _remaining(self) -> Tensor:
        """Positions of the images that are still classified correctly, or nearly so."""
        return (self.margin < MISCLASSIFIED).nonzero().squeeze(1)

    def _probabilities(self, images: Tensor) -> Tensor:
        return log_mean_softmax(self.networks.check(images.clone())).exp()  # networks may change their copy
