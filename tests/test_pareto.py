"""The Pareto front against the definition, in loops."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bbh_bench.leaderboard.pareto import pareto_front

VALUES = st.sampled_from([0.0, 1.0, 2.0, 3.0, math.inf, math.nan])  # few, so that there are ties


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    st.integers(1, 3).flatmap(
        lambda scores: st.tuples(
            st.lists(st.lists(VALUES, min_size=scores, max_size=scores), max_size=8),
            st.lists(st.sampled_from(["lower", "higher"]), min_size=scores, max_size=scores),
        )
    )
)
def test_the_front_is_what_the_definition_says(case):
    rows, directions = case
    points = {f"method{k}": row for k, row in enumerate(rows)}

    def at_least_as_good(a, b, direction):
        return a <= b if direction == "lower" else a >= b

    expected = []
    for name, own in points.items():
        if any(math.isnan(value) for value in own):
            continue
        dominated = False
        for other in points.values():
            if any(math.isnan(value) for value in other):
                continue
            good = [at_least_as_good(a, b, d) for a, b, d in zip(other, own, directions, strict=True)]
            if all(good) and any(a != b for a, b in zip(other, own, strict=True)):
                dominated = True
        if not dominated:
            expected.append(name)
    assert pareto_front(points, directions) == expected


def test_a_board_by_hand():
    points = {
        "map": (0.5, 1.0),
        "ensemble": (0.3, 5.0),
        "slow": (0.5, 2.0),
        "twin": (0.5, 1.0),
        "unknown": (0.1, math.nan),
    }
    assert pareto_front(points, ("lower", "lower")) == ["map", "ensemble", "twin"]
    assert pareto_front(points, ("lower", "higher")) == ["ensemble"]
    assert pareto_front({}, ("lower",)) == []


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'map' has 1 values for 2 directions"):
        pareto_front({"map": (1.0,)}, ("lower", "lower"))
    with pytest.raises(ValueError, match="neither"):
        pareto_front({"map": (1.0,)}, ("neither",))
