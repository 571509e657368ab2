"""The stored arrays of attacks. Their keys are written and read by this module only.

The keys never change, since published arrays have them; Python names say what they mean. N images, E epsilons, S scales.

============================== ============ ==================================================================
key, under ``attack/<name>/``  shape        meaning
============================== ============ ==================================================================
``norm``, ``access``           ``[]``       those of the attack
``labels``                     ``[N]``      labels of the attacked images
``index``                      ``[N]``      their positions in the test set
``epsilons``                   ``[E]``      those of the attack
``own``                        ``[E, N]``   predicted classes on the attacker's samples
``known``                      ``[E, N]``   attacks with ``checks``: predicted classes on known samples, when the attack has
                                            gone on against these; ``own`` is the same
``moved``                      ``[E, N]``   mean absolute perturbation of the pixels
``<k>/log_odds``               ``[N, K]``   predictions of fresh samples at the k-th epsilon, as
``<k>/mutual_information``     ``[N]``      ``evaluation.predictive.predict`` returns them
``stretch/size``               ``[S, N]``   attacks that minimise: sizes of the scaled smallest perturbations
``stretch/fresh``              ``[S, N]``   and predicted classes of fresh samples there
============================== ============ ==================================================================

============================== ============ ==================================================================
key, under ``robust/<norm>/``  shape        meaning
============================== ============ ==================================================================
``index``, ``epsilons``        ``[N] [E]``  images and positive epsilons that the task's own attacks share
============================== ============ ==================================================================

============================== ============ ==================================================================
key, under ``audit/``          shape        meaning; predicted classes are those of fresh samples
============================== ============ ==================================================================
``base``                       ``[P]``      predicted classes under the audited attack
``widest``                     ``[P]``      and at an epsilon that spans the range of pixel values
``stronger/<what>``            ``[P]``      and under a stronger variant: ``iterations``, ``restarts``, ``draws``, ``losses``
                                            (others), ``outside`` (an attack of another library)
``epsilon``                    ``[]``       epsilon of the attack and its stronger variants
``labels``                     ``[P]``      labels of the P audited images
``vanishing``                  ``[N]``      whether the gradient is zero or not finite, for all images of the attack
============================== ============ ==================================================================
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from bbh_bench.api import Arrays, Attack, Norm
from bbh_bench.evaluation.predictive import Predictions, decode
from bbh_bench.evaluation.stored import read_labels, read_test, under

MORE_SAMPLES = "draws"
"""Name of the audit's variant with more samples, in keys."""


def attack_arrays(
    attack: Attack,
    index: Tensor,
    labels: Tensor,
    attacker_classes: np.ndarray,
    mean_perturbation: Tensor,
    predictions: Iterable[Arrays],
    scaled: tuple[Tensor, np.ndarray] | None,
) -> Arrays:
    """The arrays of one attack.

    ``index`` and ``labels`` are ``[N]``, ``attacker_classes`` and ``mean_perturbation`` ``[E, N]``. ``predictions`` are those
    of fresh samples for each epsilon, as ``predict`` returns them. ``scaled``, for an attack that minimises: sizes of the
    scaled smallest perturbations, and the classes that fresh samples predict there, both ``[S, N]``.
    """
    arrays: Arrays = {
        "norm": np.array(attack.norm),
        "access": np.array(attack.access),
        "labels": _uint8(labels),
        "index": _uint32(index),
        "epsilons": np.array(attack.epsilons),
        "own": attacker_classes,
        **({"known": attacker_classes} if attack.algorithm.checks else {}),
        "moved": mean_perturbation.numpy().astype(np.float32),
    }
    for k, predicted in enumerate(predictions):
        arrays |= under(str(k), predicted)
    if scaled is not None:
        sizes, classes = scaled
        arrays |= {"stretch/size": sizes.numpy().astype(np.float32), "stretch/fresh": classes}
    return under(f"attack/{attack.name}", arrays)


def audit_arrays(
    base: np.ndarray,
    widest: np.ndarray,
    stronger: Arrays,
    epsilon: float,
    labels: Tensor,
    vanishing: Tensor,
) -> Arrays:
    """The arrays of the audit.

    ``base``, ``widest`` and each of ``stronger``, by name, are the classes ``[P]`` that fresh samples predict. ``labels`` are
    ``[P]``, ``vanishing`` is ``[N]``.
    """
    arrays: Arrays = {"base": base, "widest": widest} | under("stronger", stronger)
    arrays |= {"epsilon": np.array(epsilon), "labels": _uint8(labels), "vanishing": vanishing.numpy()}
    return under("audit", arrays)


def worst_case_arrays(norm: Norm, index: Tensor, epsilons: list[float]) -> Arrays:
    """The images ``[N]`` and the positive epsilons ``[E]`` of a norm's worst case."""
    return under(f"robust/{norm}", {"index": _uint32(index), "epsilons": np.array(epsilons)})


@dataclass(frozen=True)
class StoredAttack:
    """The arrays of one attack, of N images and E epsilons. Fresh samples are networks that the attacker does not know."""

    arrays: Arrays
    name: str

    def _get(self, key: str) -> np.ndarray:
        return self.arrays[f"attack/{self.name}/{key}"]

    @property
    def norm(self) -> str:
        """``linf`` or ``l2``."""
        return str(self._get("norm"))

    @property
    def access(self) -> str:
        """What it used: ``white``, ``black`` or ``transfer``."""
        return str(self._get("access"))

    @property
    def minimises(self) -> bool:
        """Whether it searches for the smallest perturbation."""
        return f"attack/{self.name}/stretch/fresh" in self.arrays

    @cached_property
    def epsilons(self) -> list[float]:
        """Increasing, ``[E]``."""
        return [float(epsilon) for epsilon in self._get("epsilons")]

    @cached_property
    def index(self) -> np.ndarray:
        """Positions of its images in the test set ``[N]``, increasing."""
        return self._get("index")

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels of its images ``[N]``."""
        return self._get("labels").astype(np.int64)

    @cached_property
    def predictions(self) -> list[Predictions]:
        """Predictions of fresh samples at each epsilon."""
        return [decode(self.arrays, f"attack/{self.name}/{k}") for k in range(len(self.epsilons))]

    @cached_property
    def correct(self) -> np.ndarray:
        """Whether the class that fresh samples predict is correct ``[E, N]``."""
        return np.stack([predictions.log_probs.argmax(axis=1) == self.labels for predictions in self.predictions])

    @cached_property
    def attacker_correct(self) -> np.ndarray:
        """Whether the class that the attacker's samples predict is correct ``[E, N]``."""
        return np.asarray(self._get("own") == self.labels)

    @property
    def known_correct(self) -> np.ndarray | None:
        """Whether the class that known samples predict is correct ``[E, N]``. None if the attack was not run on them."""
        key = f"attack/{self.name}/known"
        return np.asarray(self.arrays[key] == self.labels) if key in self.arrays else None

    @cached_property
    def clean(self) -> Predictions:
        """Predictions for the same images without perturbation, from the test set."""
        return read_test(self.arrays, self.index)

    @cached_property
    def clean_correct(self) -> np.ndarray:
        """Whether the predicted class without perturbation is correct ``[N]``."""
        return np.asarray(self.clean.log_probs.argmax(axis=1) == self.labels)

    @property
    def mean_perturbation(self) -> np.ndarray:
        """Mean absolute perturbation of an image's pixels ``[E, N]``, in units of pixel values."""
        return self._get("moved").astype(np.float64)

    @cached_property
    def smallest_misclassified(self) -> np.ndarray:
        """Size of the smallest perturbation that fresh samples misclassify ``[N]``, in the attack's norm; infinity if none.

        An attack that minimises is also evaluated at the sizes that it found. 0 where the clean image is misclassified.
        """
        smallest = _smallest_incorrect(self, self.correct)
        if self.minimises:
            correct = self._get("stretch/fresh") == self.labels
            smallest = np.min([smallest, *np.where(correct, np.inf, self._get("stretch/size"))], axis=0)
        return smallest

    @property
    def smallest_known(self) -> np.ndarray | None:
        """The same for known samples, at the attack's epsilons. None if the attack was not run on them."""
        return None if self.known_correct is None else _smallest_incorrect(self, self.known_correct)


def _smallest_incorrect(attack: StoredAttack, correct: np.ndarray) -> np.ndarray:
    """Smallest epsilon at which images are misclassified ``[N]``: 0 without perturbation, infinity if at none."""
    sizes = [np.where(right, np.inf, epsilon) for epsilon, right in zip(attack.epsilons, correct, strict=True)]
    return np.min([*sizes, np.where(attack.clean_correct, np.inf, 0.0)], axis=0)


def stored_attacks(arrays: Arrays) -> dict[str, StoredAttack]:
    """By name, in the order in which they were run."""
    names = dict.fromkeys(key.split("/")[1] for key in arrays if key.startswith("attack/"))
    return {name: StoredAttack(arrays, name) for name in names}


@dataclass(frozen=True)
class StoredWorstCase:
    """The N images and E positive epsilons on which the worst case of one norm is defined."""

    arrays: Arrays
    norm: Norm

    @property
    def index(self) -> np.ndarray:
        """Positions of the images in the test set ``[N]``, increasing."""
        return self.arrays[f"robust/{self.norm}/index"]

    @property
    def epsilons(self) -> list[float]:
        """Positive and increasing, ``[E]``."""
        return [float(epsilon) for epsilon in self.arrays[f"robust/{self.norm}/epsilons"]]

    @property
    def clean_correct(self) -> np.ndarray:
        """Whether the predicted class without perturbation is correct ``[N]``."""
        classes = read_test(self.arrays, self.index).log_probs.argmax(axis=1)
        return np.asarray(classes == read_labels(self.arrays)[self.index])


def stored_worst_cases(arrays: Arrays) -> list[StoredWorstCase]:
    """One for each norm that has one: L-infinity, then L2."""
    norms: tuple[Norm, Norm] = ("linf", "l2")
    return [StoredWorstCase(arrays, norm) for norm in norms if f"robust/{norm}/epsilons" in arrays]


@dataclass(frozen=True)
class StoredAudit:
    """The arrays of the audit, of P images. Empty if no attack was audited."""

    arrays: Arrays

    @property
    def vanishing(self) -> np.ndarray | None:
        """Whether the gradient is zero or not finite, for each image of the audited attack ``[N]``."""
        return self.arrays.get("audit/vanishing")

    @property
    def base(self) -> np.ndarray | None:
        """Whether fresh samples are correct under the audited attack ``[P]``."""
        return self._correct("base")

    @property
    def widest(self) -> np.ndarray | None:
        """Whether they are correct at an epsilon that spans the range of pixel values ``[P]``."""
        return self._correct("widest")

    def stronger(self, what: str) -> np.ndarray | None:
        """Whether they are correct under the stronger variant of that name ``[P]``."""
        return self._correct(f"stronger/{what}")

    def _correct(self, key: str) -> np.ndarray | None:
        if f"audit/{key}" not in self.arrays:
            return None
        return np.asarray(self.arrays[f"audit/{key}"] == self.arrays["audit/labels"])


def _uint8(values: Tensor) -> np.ndarray:
    return values.numpy().astype(np.uint8)


def _uint32(values: Tensor) -> np.ndarray:
    return values.numpy().astype(np.uint32)
