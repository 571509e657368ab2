"""Which methods no other method beats in several scores at once."""

from collections.abc import Mapping, Sequence

import numpy as np

from bbh_bench.records.record import Direction


def pareto_front(points: Mapping[str, Sequence[float]], directions: Sequence[Direction]) -> list[str]:
    """The methods that no other one dominates, in the order of ``points``.

    ``points`` has the values of each method, ``directions`` says for each value whether ``lower`` or ``higher`` is better. One
    method dominates another if it is at least as good in all values and better in one: equal methods are both on the front. A
    method with a value that is not a number takes no part.

    Raises ``ValueError`` if a method has not one value for each direction, or if a direction is ``neither``.
    """
    for name, values in points.items():
        if len(values) != len(directions):
            raise ValueError(f"'{name}' has {len(values)} values for {len(directions)} directions.")
    if not set(directions) <= {"lower", "higher"}:
        raise ValueError("a score of which neither direction is better has no Pareto front.")
    signs = np.array([1.0 if direction == "lower" else -1.0 for direction in directions])
    costs = {name: signs * np.array(values, dtype=float) for name, values in points.items()}
    costs = {name: cost for name, cost in costs.items() if not np.isnan(cost).any()}
    return [name for name, cost in costs.items() if not any(_dominates(other, cost) for other in costs.values())]


def _dominates(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether costs are nowhere above others and somewhere below."""
    return bool((first <= second).all() and (first < second).any())
