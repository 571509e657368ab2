"""Which methods no other method dominates."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np


def pareto_front(points: Mapping[str, Sequence[float]], directions: Sequence[Literal["lower", "higher"]]) -> list[str]:
    """The methods that no other one dominates: at least as good in every score and better in one.

    ``points`` has the scores of each method, ``directions`` which values of each score are better. A method with NaN takes no
    part. Methods with equal scores do not dominate each other.
    """
    signs = np.array([1.0 if direction == "lower" else -1.0 for direction in directions])
    values = {name: signs * np.array(scores) for name, scores in points.items() if not np.isnan(scores).any()}

    def dominated(own: np.ndarray) -> bool:
        return any(bool((other <= own).all() and (other < own).any()) for other in values.values())

    return [name for name, own in values.items() if not dominated(own)]
