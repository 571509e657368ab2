"""What a method returns: a posterior, whose samples are frozen networks, and which may have an OOD score of its own."""

from collections.abc import Callable
from typing import Protocol, TypeAlias, runtime_checkable

from torch import Tensor

PredictFn: TypeAlias = Callable[[Tensor], Tensor]
"""Inputs ``[B, ...]`` -> outputs of n frozen networks ``[n, B, K]``: logits for classification, not probabilities; the mean
for regression, K = 1.

The same inputs give the same outputs at every call. The outputs of one input do not depend on the rest of the batch. The
function is differentiable with respect to its input, unless the posterior says otherwise.
"""


class Posterior(Protocol):
    """A distribution over networks, as a method has fitted it. It may be an ``OodDetector``, too."""

    parameters: int
    """Number of parameters kept for prediction: the size column of the leaderboard."""

    differentiable: bool = True
    """Whether outputs have gradients with respect to inputs. If False, only black-box and transfer attacks are run. May be left
    out."""

    def sample(self, n: int) -> PredictFn:
        """Freeze n networks, sampled with torch's global random generator, which the runner has seeded.

        A posterior that has fewer than n networks (one, for a point estimate) returns those that it has.
        """
        ...


def is_differentiable(posterior: Posterior) -> bool:
    """``posterior.differentiable``, which a third party's posterior may leave out: then True."""
    return bool(getattr(posterior, "differentiable", True))


@runtime_checkable
class OodDetector(Protocol):
    """A posterior that scores inputs itself, beside what follows from its predictive distribution. Optional.

    The entropy and the mutual information of the predictions are scores of every method. A posterior needs this only for
    what its logits do not show, such as the density of its features.
    """

    def ood_score(self, x: Tensor) -> Tensor:
        """Inputs ``[B, ...]`` -> scores ``[B]``, higher for inputs that are more likely out of distribution (OOD).

        Scores are finite, also in single precision, and in any unit: only their order counts. The same input gives the same
        score at every call and in every batch. No gradients are needed.
        """
        ...
