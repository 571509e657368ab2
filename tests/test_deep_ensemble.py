"""Ensembles of stored predictions: oracles are averages of probabilities, and curves of which the equivalent is known."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_factory import record as record_of
from scipy.special import log_softmax

from bbh_bench.calibration import scaled_nll
from bbh_bench.errors import RecordError
from bbh_bench.leaderboard.deep_ensemble import (
    LARGEST,
    SUBSETS,
    Equivalent,
    ensemble_curve,
    equivalent,
    read_curve,
    subsets,
)


def networks(n, images=120, classes=4):
    """Networks that agree on the truth in part, each with errors of its own."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, classes, images)
    logits = 2.0 * np.eye(classes)[labels] + 1.5 * rng.normal(size=(n, images, classes))
    return list(log_softmax(logits, axis=2)), labels


def test_the_curve_is_that_of_averaged_probabilities():
    log_probs, labels = networks(4)
    expected = [
        np.mean(
            [
                scaled_nll(np.log(np.mean([np.exp(log_probs[i]) for i in c], axis=0)), labels)
                for c in combinations(range(4), k)
            ]
        )
        for k in (1, 2, 3, 4)
    ]
    assert ensemble_curve(log_probs, labels) == pytest.approx(expected, rel=1e-9)
    assert expected == sorted(expected, reverse=True)  # independent errors: each member helps


def test_networks_that_are_the_same_gain_nothing_and_certain_ones_do_not_underflow():
    log_probs, labels = networks(1)
    certain = np.where(np.eye(4, dtype=bool)[labels], 0.0, -60000.0)
    for each in (log_probs[0], certain):
        curve = ensemble_curve([each] * 3, labels)
        assert curve == pytest.approx([scaled_nll(each, labels)] * 3, rel=1e-9)


@pytest.mark.parametrize("n", [1, 3, 7, 10, 23])
def test_subsets_are_different_the_same_each_time_and_use_all_networks_alike(n):
    for k in range(1, n + 1):
        chosen = subsets(n, k)
        assert chosen == subsets(n, k)
        assert len({frozenset(each) for each in chosen}) == len(chosen) <= SUBSETS
        assert all(len(set(each)) == k and set(each) <= set(range(n)) for each in chosen)
        if n == 10:
            counts = np.bincount(np.concatenate(chosen), minlength=n)
            assert max(abs(counts - len(chosen) * k / n)) <= 2, k


def test_the_curve_has_no_more_members_than_it_says():
    log_probs, labels = networks(LARGEST + 2, images=12)
    assert len(ensemble_curve(log_probs, labels)) == LARGEST


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.001, 5), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 6))
def test_the_equivalent_of_a_point_on_the_curve_is_where_it_was_taken(drops, share, start):
    curve = [9.0, *(9.0 - np.cumsum(drops) / 10)]
    start = min(start, len(curve) - 2)
    value = (1 - share) * curve[start] + share * curve[start + 1]
    found = equivalent(curve, value)
    assert found.bound == ""
    assert found.members == pytest.approx(1 + start + share, abs=1e-4)


def test_beyond_the_ends_of_the_curve_there_are_bounds():
    curve = [0.5, 0.4, 0.3]
    assert equivalent(curve, 0.51) == Equivalent(1.0, "<")
    assert equivalent(curve, 0.29) == Equivalent(3.0, ">")
    assert [str(equivalent(curve, x)) for x in (0.51, 0.5, 0.35, 0.3, 0.29)] == ["< 1", "1.0", "2.5", "3.0", "> 3"]
    assert equivalent(curve, 0.5 * (1 + 1e-12)) == Equivalent(1.0)  # rounding
    assert equivalent(curve, float("nan")) is None
    assert equivalent([], 0.5) is None
    assert equivalent([0.5], 0.4) == Equivalent(1.0, ">")


def test_a_larger_ensemble_that_is_worse_by_chance_does_not_count():
    assert equivalent([0.5, 0.6, 0.4], 0.45) == Equivalent(2.5)
    assert equivalent([0.5, 0.6, 0.4], 0.5) == Equivalent(1.0)
    assert equivalent([0.5, 0.4, 0.45], 0.42).members == pytest.approx(1.8)


def stored(log_probs, labels):
    odds = log_probs - log_probs.max(axis=1, keepdims=True)
    return {"test/labels": labels.astype(np.uint8), "test/log_odds": odds.astype(np.float16)}


def test_the_curve_is_read_from_the_records_of_map_that_can_be_read():
    log_probs, labels = networks(5)
    arrays = {seed: stored(each, labels) for seed, each in enumerate(log_probs)}
    arrays[3] = stored(log_probs[3], (labels + 1) % 4)  # of other images
    del arrays[4]["test/log_odds"]
    records = [record_of(name, seed) for name in ("map", "dropout") for seed in (5, 4, 3, 2, 1, 0)]

    def read(record, names):
        assert record.method.name == "map"
        if record.seed == 5:
            raise RecordError("no file")
        return {name: arrays[record.seed][name] for name in names if name in arrays[record.seed]}

    assert read_curve(records, read) == pytest.approx(ensemble_curve(log_probs[:3], labels), rel=0.01)  # half precision
    assert len(read_curve(records, read)) == 3
    assert read_curve([each for each in records if each.method.name != "map"], read) == []
    assert read_curve([each for each in records if each.seed >= 4], read) == []
