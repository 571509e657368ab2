"""The Square Attack: a random search that needs predicted probabilities only, and no gradient.

Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack via random search", arXiv 1912.00049,
algorithms 1 and 2. The attacked model is the log mean softmax of the attacker's samples, as for gradient attacks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bbh_bench.api import AttackAlgorithm, Norm, RunAttack
from bbh_bench.attacks.ball import scaled
from bbh_bench.attacks.losses import margin
from bbh_bench.attacks.threat_model import require_norm

HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares of the steps after which the area of the squares is halved, as in the authors' code."""
CERTAIN = -1.0
"""Log margin below which an image is not attacked any more: another class is more than e times as likely as the label."""


@dataclass(frozen=True)
class Square(AttackAlgorithm):
    """Black box: squares of random signs of epsilon in L-infinity, kept where they make the label less likely.

    Andriushchenko et al. 2020, arXiv 1912.00049.
    """

    steps: int = 300
    """Candidates for each image at each epsilon, each of which is one query."""
    area: float = 0.3
    """Share of the pixels in the first squares."""

    def foolbox(self, norm: Norm) -> RunAttack:
        """Takes the epsilons in increasing order, and starts from the image of the previous one.

        Raises ``ContractError`` for L2.
        """
        require_norm(self, norm, "linf")
        return partial(_attack, self)

    def side(self, step: int, pixels: int) -> int:
        """Side of the squares at a step, for images of this many pixels; at least 1."""
        halvings = sum(step > share * self.steps for share in HALVINGS)
        return max(1, round(math.sqrt(self.area / 2**halvings * pixels)))


@torch.no_grad()
def _attack(
    settings: Square, model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float]
) -> tuple[None, list[Tensor], None]:
    """Called as a Foolbox attack: see ``api.RunAttack``."""
    search = _Search(model, inputs, labels)
    everywhere = torch.arange(len(labels), device=labels.device)
    previous, adversarial = 0.0, []
    for epsilon in epsilons:
        if previous:
            larger = scaled(search.clean, search.best, torch.full_like(search.margin, epsilon / previous), model.bounds)
            search.try_candidates(everywhere, larger)
        search.try_candidates(everywhere, _stripes(search.clean, epsilon).clamp(*model.bounds))
        for step in range(settings.steps):
            remaining = (search.margin > CERTAIN).nonzero().squeeze(1)
            if len(remaining) == 0:
                break
            side = settings.side(step, search.clean[0, 0].numel())
            search.try_candidates(remaining, search.with_squares(remaining, epsilon, side))
        adversarial.append(search.best.view_as(inputs).clone())
        previous = epsilon
    return None, adversarial, None


class _Search:
    """The best images so far, ``[N, C, H, W]``, and their log margins ``[N]``: log p(label) - max log p(another class)."""

    def __init__(self, model: Any, inputs: Tensor, labels: Tensor) -> None:
        self.clean = inputs if inputs.dim() == 4 else inputs.reshape(len(inputs), 1, 1, -1)
        self.best = self.clean.clone()
        self._model = model
        self._labels = labels
        self._shape = inputs.shape[1:]
        self.margin = self._margins(torch.arange(len(labels), device=labels.device), self.best)

    def try_candidates(self, where: Tensor, candidates: Tensor) -> None:
        """Replace the images at the positions ``where`` if the margin of the candidates is smaller."""
        margin = self._margins(where, candidates)
        better = margin < self.margin[where]
        improved = where[better]
        self.best[improved], self.margin[improved] = candidates[better], margin[better]

    def with_squares(self, where: Tensor, epsilon: float, side: int) -> Tensor:
        """The best images with a square each, at a random place, in which every channel has epsilon with a random sign."""
        n, channels, height, width = self.clean[where].shape
        inside = _interval(n, height, side, where.device).unsqueeze(2) & _interval(
            n, width, side, where.device
        ).unsqueeze(1)
        square = (self.clean[where] + epsilon * _signs((n, channels, 1, 1), self.clean)).clamp(*self._model.bounds)
        return torch.where(inside.unsqueeze(1), square, self.best[where])

    def _margins(self, where: Tensor, images: Tensor) -> Tensor:
        return -margin(self._model(images.reshape(-1, *self._shape)), self._labels[where])


def _interval(n: int, length: int, side: int, device: torch.device) -> Tensor:
    """Whether each of ``length`` places is in an interval of ``side`` places ``[n, length]``, which starts at random."""
    start = torch.randint(max(1, length - side + 1), (n, 1), device=device)
    place = torch.arange(length, device=device)
    return (place >= start) & (place < start + side)


def _stripes(clean: Tensor, epsilon: float) -> Tensor:
    """Vertical stripes of random signs, one pixel wide: the authors' first candidate."""
    n, channels, _, width = clean.shape
    return clean + epsilon * _signs((n, channels, 1, width), clean)


def _signs(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return (torch.randint(2, shape, device=like.device) * 2 - 1).to(like.dtype)
