"""Adversarial attacks through Foolbox: each a frozen dataclass with its version. What they may do is in ``threat``.

What Foolbox attacks is the predictive, the log mean softmax of the attacker's frozen draws, as one classifier, so that its
gradient is that of the posterior's own answer (expectation over transformation: Athalye et al. 2018, arXiv 1802.00420).
Two are here for comparison: noise, which asks nothing, and the paper's, which looks at single draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bbh_bench.api import Attack, Method
from bbh_bench.attacks.gradient import Answer, raising_log_odds, rising
from bbh_bench.hookspecs import hookimpl
from bbh_bench.methods.map import Map

Norm = Literal["linf", "l2"]
Access = Literal["white", "black", "transfer"]
PAPER_GRID = tuple(step / 20 for step in range(9))
GRID = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
"""What a task's one-step attacks need of it."""
LINF = (0.05, 0.1, 0.2)
L2 = (0.5, 1.0, 2.0)
ITERATED = 250
"""Images of the attacks that take many steps."""
HALVINGS = 10  # of the way from an image to one of another class


def _foolbox() -> Any:
    """Foolbox's attacks: seconds to import, and only attacked cells need them."""
    import foolbox  # noqa: PLC0415

    return foolbox.attacks


@dataclass(frozen=True)
class Fgsm:
    """Fast gradient sign method, one step in L-infinity (Goodfellow et al. 2015, arXiv 1412.6572)."""

    name: str = "fgsm"
    version: int = 2
    norm: Norm = "linf"
    epsilons: tuple[float, ...] = PAPER_GRID
    draws: int = 16

    def foolbox(self) -> object:
        """Foolbox's, from the clean image: no random start."""
        return raising_log_odds(_foolbox().LinfFastGradientAttack(random_start=False))


@dataclass(frozen=True)
class Pgd:
    """Projected gradient descent in L-infinity or L2 (Madry et al. 2018, arXiv 1706.06083)."""

    name: str = "pgd-linf"
    version: int = 2
    norm: Norm = "linf"
    epsilons: tuple[float, ...] = LINF
    draws: int = 16
    images: int | None = ITERATED
    steps: int = 40
    rel_stepsize: float = 0.1
    """Of epsilon. Foolbox's default is meant for its own number of steps and doesn't follow ``steps``."""
    restarts: int = 1
    """Runs from random points of the ball; an image that any of them turns is turned, and not attacked again."""

    def foolbox(self) -> object:
        """Foolbox's, from random starts, on what it hasn't turned yet."""
        pgd = _foolbox().LinfPGD if self.norm == "linf" else _foolbox().L2PGD
        step = pgd(rel_stepsize=self.rel_stepsize, steps=self.steps, random_start=True)
        return partial(rising, raising_log_odds(step), self.restarts)

    def stronger(self, epsilon: float) -> dict[str, "Pgd"]:
        """The same attack at one epsilon with more of one thing each: what the audit compares it with."""
        one = replace(self, epsilons=(epsilon,))
        return {
            "iterations": replace(one, steps=self.steps * 5 // 2, rel_stepsize=self.rel_stepsize / 2),
            "restarts": replace(one, restarts=2 * self.restarts),
            "draws": replace(one, draws=4 * self.draws),
        }


PGD_LINF = Pgd()
PGD_L2 = Pgd(name="pgd-l2", norm="l2", epsilons=L2)


@dataclass(frozen=True)
class DeepFoolL2:
    """DeepFool: steps to the nearest face of the linearised decision boundary (Moosavi-Dezfooli et al. 2016)."""

    name: str = "deepfool-l2"
    version: int = 2
    norm: Norm = "l2"
    epsilons: tuple[float, ...] = L2
    draws: int = 16
    images: int | None = ITERATED
    minimises: bool = True
    steps: int = 50

    def foolbox(self) -> object:
        """Foolbox's, towards any class."""
        return _foolbox().L2DeepFoolAttack(steps=self.steps, candidates=None)


@dataclass(frozen=True)
class CarliniWagnerL2:
    """The smallest L2 perturbation by a penalty on the margin of the logits (Carlini & Wagner 2017, arXiv 1608.04644)."""

    name: str = "carlini-wagner-l2"
    version: int = 2
    norm: Norm = "l2"
    epsilons: tuple[float, ...] = L2
    draws: int = 16
    images: int | None = ITERATED
    minimises: bool = True
    searches: int = 6
    """Values of the penalty's weight that are tried."""
    steps: int = 100
    stepsize: float = 0.02

    def foolbox(self) -> object:
        """Foolbox's."""
        return _foolbox().L2CarliniWagnerAttack(
            binary_search_steps=self.searches, steps=self.steps, stepsize=self.stepsize, initial_const=1.0
        )


@dataclass(frozen=True)
class Boundary:
    """Black box: a random walk along the decision boundary by class answers alone (Brendel et al. 2018, arXiv 1712.04248).

    Foolbox's HopSkipJump needs fewer queries, but its search for a step never ends where rounding puts an image back on
    the right side of the boundary.
    """

    name: str = "boundary"
    version: int = 2
    norm: Norm = "l2"
    epsilons: tuple[float, ...] = L2
    draws: int = 16
    access: Access = "black"
    images: int | None = ITERATED
    minimises: bool = True
    steps: int = 1000
    stepsize: float = 0.1
    """Of the steps along the boundary and towards the image, at the start. Foolbox's 0.01 needs 25,000 steps."""

    def foolbox(self) -> object:
        """Foolbox's, from the nearest image of the batch that the model gives another class, halved towards the boundary.

        An image for which there is none stays as it is. Foolbox's own start, noise, raises where it fails for any image.
        """
        walk = _foolbox().BoundaryAttack(steps=self.steps, spherical_step=self.stepsize, source_step=self.stepsize)
        return partial(_from_other_images, walk)


@torch.no_grad()
def _from_other_images(
    walk: Any, model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float | None]
) -> Answer:
    apart = torch.cdist(inputs.flatten(1), inputs.flatten(1))
    apart[model(inputs).argmax(-1) == labels[:, None]] = torch.inf  # image j isn't taken for another class than i's
    distance, nearest = apart.min(1)
    able = distance.isfinite()
    found = [inputs.clone() for _ in epsilons]
    if able.any():
        y, near, far = labels[able], inputs[able], inputs[nearest[able]]
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            outside = (model(middle).argmax(-1) != y).view(-1, *[1] * (middle.dim() - 1))
            near, far = torch.where(outside, near, middle), torch.where(outside, middle, far)
        _, clipped, _ = walk(model, inputs[able], y, epsilons=epsilons, starting_points=far)
        for images, adversarial in zip(found, clipped, strict=True):
            images[able] = adversarial
    return None, found, None


@dataclass(frozen=True)
class NoiseLinf:
    """Random signs of size epsilon, no attack at all: the floor that a real one must beat."""

    name: str = "noise-linf"
    version: int = 1
    norm: Norm = "linf"
    epsilons: tuple[float, ...] = LINF
    draws: int = 1
    access: Access = "black"

    def foolbox(self) -> object:
        """Asks the model nothing."""
        return _noise


def _moved(model: Any, inputs: Tensor, signs: Tensor, epsilons: Sequence[float]) -> Answer:
    return None, [(inputs + epsilon * signs).clamp(*model.bounds) for epsilon in epsilons], None


def _noise(model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Answer:
    signs = torch.randn_like(inputs).sign()
    return _moved(model, inputs, signs, epsilons)


@dataclass(frozen=True)
class Transfer:
    """Projected gradient descent on another method's networks: what moves them moves ours, if our gradients hide something.

    The networks are those of MAP, fitted to the same problem, with random numbers of their own.
    """

    name: str = "transfer"
    version: int = 1
    norm: Norm = "linf"
    epsilons: tuple[float, ...] = LINF
    draws: int = 1
    access: Access = "transfer"
    images: int | None = ITERATED
    surrogate: Method | None = field(default_factory=Map)
    steps: int = 40
    rel_stepsize: float = 0.1

    def foolbox(self) -> object:
        """Foolbox's, from a random start, on every image at every epsilon."""
        pgd = _foolbox().LinfPGD(rel_stepsize=self.rel_stepsize, steps=self.steps, random_start=True)
        return raising_log_odds(pgd)


@dataclass(frozen=True)
class PaperFgsm:
    """What the paper's code does: the mean over draws of the images that FGSM makes for each draw alone.

    Not an attack on the predictive: the mean of the gradients' signs shrinks where the draws disagree, so that a method
    is attacked the less, the more its draws differ. Kept to show by how much. The paper doesn't clip; we do.
    """

    name: str = "paper-fgsm"
    version: int = 1
    norm: Norm = "linf"
    epsilons: tuple[float, ...] = PAPER_GRID
    draws: int = 16
    """The paper takes 100. The cost rises with the square: each draw's gradient goes back through the stack of all."""

    def foolbox(self) -> object:
        """Takes gradients draw by draw."""
        return _mean_of_signs


def _mean_of_signs(model: Any, inputs: Tensor, labels: Tensor, *, epsilons: Sequence[float]) -> Answer:
    x = inputs.clone().requires_grad_()
    signs = torch.zeros_like(x)
    logits = model.networks(x)
    for one in logits:
        (gradient,) = torch.autograd.grad(F.cross_entropy(one, labels, reduction="sum"), x, retain_graph=True)
        signs += gradient.sign() / len(logits)
    return _moved(model, inputs, signs, epsilons)


@hookimpl
def bbh_attacks() -> list[Attack]:
    """The built-in attacks."""
    return [
        Fgsm(), PGD_LINF, PGD_L2, DeepFoolL2(), CarliniWagnerL2(), Boundary(), Transfer(), NoiseLinf(), PaperFgsm(),
    ]  # fmt: skip
