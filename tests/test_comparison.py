"""Comparisons of methods: tests against SciPy and closed forms, and the frequency of false claims where nothing differs."""

import numpy as np
import pytest
from scipy import stats

from bbh_bench.leaderboard.comparison import compare, crossed, half_width, holm, paired


def by_seed(values):
    return dict(enumerate(values))


def test_intervals_and_paired_tests_are_scipys():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=5), rng.normal(0.5, size=5)
    interval = stats.t.interval(0.95, 4, loc=first.mean(), scale=stats.sem(first))
    assert first.mean() + half_width(first) == pytest.approx(interval[1], rel=1e-12)
    test = paired(by_seed(first), by_seed(second))
    assert test.p == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-12)
    assert test.difference == pytest.approx((first - second).mean())
    assert np.isnan(half_width([1.0]))


def test_only_seeds_in_common_are_compared_and_there_must_be_three():
    assert paired({0: 1.0, 1: 2.0, 2: 3.0, 5: 9.0}, {0: 0.0, 1: 1.5, 2: 2.0, 4: 7.0}).seeds == 3
    assert paired({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.5}).p == 1
    assert (
        paired({0: 1.0, 1: 2.0, 2: 3.0}, {0: 0.5, 1: 1.5, 2: 2.5}).p == 1
    )  # equal differences: their noise is unknown


def test_holms_correction_is_statsmodels_example():
    """Its example in closed form: sorted p values times 4, 3, 2, 1, never decreasing."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def simulated(rng, seeds, images, sd_seeds, sd_images, sd_rest, shift=0.0):
    """Differences of seeds and images with three sources of noise, as values of a method by seed."""
    noise = (
        rng.normal(0, sd_seeds, (seeds, 1)) + rng.normal(0, sd_images, images) + rng.normal(0, sd_rest, (seeds, images))
    )
    return by_seed(shift + noise)


SIMULATED = 2000
TOLERANCE = 3 * (0.05 * 0.95 / SIMULATED) ** 0.5
"""Three standard deviations of a frequency of 0.05."""


@pytest.mark.parametrize("sds", [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (0.05, 1.0, 0.2), (0.3, 1.0, 3.0)])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_where_nothing_differs_at_most_one_test_in_twenty_over_seeds_and_images_says_otherwise(seeds, sds):
    rng = np.random.default_rng(2)
    zeros = by_seed(np.zeros((seeds, 40)))
    tests = [crossed(simulated(rng, seeds, 40, *sds), zeros) for _ in range(SIMULATED)]
    assert np.mean([test.p <= 0.05 for test in tests]) <= 0.05 + TOLERANCE


def test_a_difference_of_five_standard_errors_is_seen_with_five_seeds():
    rng = np.random.default_rng(8)
    zeros = by_seed(np.zeros((5, 40)))
    shift = 5 * (0.1**2 / 5 + 1 / 40 + 1 / 200) ** 0.5
    assert np.mean([crossed(simulated(rng, 5, 40, 0.1, 1.0, 1.0, shift), zeros).p <= 0.05 for _ in range(200)]) > 0.95


def test_images_alone_can_look_like_a_difference_and_the_test_over_both_is_not_misled():
    rng = np.random.default_rng(9)
    zeros = by_seed(np.zeros((5, 40)))
    pairs = [simulated(rng, 5, 40, 0.0, 1.0, 0.2) for _ in range(200)]
    over_seeds = [paired({k: v.mean() for k, v in each.items()}, dict.fromkeys(range(5), 0.0)).p for each in pairs]
    assert np.mean(np.array(over_seeds) <= 0.05) > 0.5
    assert np.mean([crossed(each, zeros).p <= 0.05 for each in pairs]) < 0.1


def test_it_is_exact_where_seeds_alone_vary_and_agrees_with_the_test_over_seeds():
    rng = np.random.default_rng(3)
    levels = rng.normal(size=(4, 1)) + np.zeros((4, 20))
    test = crossed(by_seed(levels), by_seed(np.zeros((4, 20))))
    assert test.p == pytest.approx(stats.ttest_1samp(levels[:, 0], 0).pvalue, rel=1e-9)
    assert test.difference == pytest.approx(levels.mean())


@pytest.mark.parametrize("methods", [2, 8])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_where_nothing_differs_at_most_one_board_in_twenty_has_a_best_method_or_two_ranks(methods, seeds):
    rng = np.random.default_rng(4)
    best = ranks = 0
    for _ in range(SIMULATED):
        values = rng.normal(size=(methods, seeds)) + rng.normal(size=seeds)  # seeds have something in common
        comparison = compare({f"m{k}": by_seed(values[k]) for k in range(methods)}, "lower")
        best += comparison.best() is not None
        ranks += len(set(comparison.ranks().values())) > 1
    assert best / SIMULATED <= 0.05 + TOLERANCE
    assert ranks / SIMULATED <= 0.05 + TOLERANCE


def test_ranks_and_the_best_of_methods_that_differ():
    rng = np.random.default_rng(5)
    scores = {
        name: by_seed(level + 0.01 * rng.normal(size=5))
        for name, level in {"a": 1.0, "b": 2.0, "c": 2.001, "d": 4.0}.items()
    }
    lower = compare(scores, "lower")
    assert lower.ranks() == {"a": 1, "b": 2, "c": 2, "d": 4}
    assert lower.best() == "a"
    assert lower.tied_with("b") == ["c"]
    higher = compare(scores, "higher")
    assert higher.ranks() == {"a": 4, "b": 2, "c": 2, "d": 1}
    assert higher.best() == "d"


def test_methods_with_fewer_than_three_seeds_take_no_part_and_do_not_block_others():
    rng = np.random.default_rng(6)
    scores = {name: by_seed(level + 0.01 * rng.normal(size=3)) for name, level in {"a": 1.0, "b": 2.0}.items()}
    comparison = compare(scores | {"lone": {0: 0.5}}, "lower")
    assert comparison.methods == ("a", "b")
    assert comparison.best() == "a"


def test_single_images_are_used_where_both_methods_have_them():
    rng = np.random.default_rng(11)
    images = {name: by_seed(level + rng.normal(size=(3, 4))) for name, level in {"a": 0.0, "b": 1.0}.items()}
    scores = {name: {seed: float(v.mean()) for seed, v in values.items()} for name, values in images.items()}
    both, over_seeds = crossed(images["a"], images["b"]), paired(scores["a"], scores["b"])
    assert both.images == 4
    assert both.p != over_seeds.p
    assert compare(scores, "lower", images).p.tolist() == [both.p]
    assert compare(scores, "lower", {"a": images["a"]}).p.tolist() == [over_seeds.p]


def test_all_pairs_at_once_are_scipys_paired_tests():
    rng = np.random.default_rng(8)
    scores = {name: by_seed(rng.normal(size=6)) for name in "abcd"}
    del scores["b"][2], scores["c"][5]
    pairs = compare(scores, "lower")
    for first, second, p in zip(pairs.first, pairs.second, pairs.p, strict=True):
        one, other = scores[pairs.methods[first]], scores[pairs.methods[second]]
        common = sorted(one.keys() & other.keys())
        assert p == pytest.approx(stats.ttest_rel([one[k] for k in common], [other[k] for k in common]).pvalue)
