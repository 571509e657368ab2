"""Probabilities with a region of practical equivalence. Oracles: quadrature of the posterior, scipy.stats.t, and sampling."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import gammaln

from bbh_bench.evaluation.metrics import bbh_metrics
from bbh_bench.leaderboard.practical import ROPES, practical, rope

DIFFERENCES = [
    [0.01, -0.02, 0.03, 0.015, 0.02],
    [1.0, 2.0, 4.0],
    [-0.3, 0.1, 0.2, -0.25, 0.05, 0.3, -0.1, 0.0, 0.1, 0.2],
    [5e-3, 5.1e-3, 4.9e-3],
]


def as_tuple(p):
    return p.better, p.equal, p.worse


@pytest.mark.parametrize("differences", DIFFERENCES)
@pytest.mark.parametrize("half_width", [0.0, 0.01, 0.5])
def test_the_probabilities_are_areas_under_the_posterior_density(differences, half_width):
    d = np.array(differences)
    n, mean, scale = len(d), d.mean(), d.std(ddof=1) / np.sqrt(len(d))
    norm = np.exp(gammaln(n / 2) - gammaln((n - 1) / 2)) / np.sqrt((n - 1) * np.pi) / scale

    def density(x):
        return norm * (1 + ((x - mean) / scale) ** 2 / (n - 1)) ** (-n / 2)

    def area(low, high):
        inner = [x for x in (mean, mean - 3 * scale, mean + 3 * scale) if low < x < high]
        edges = [low, *sorted(inner), high]
        return sum(integrate.quad(density, a, b)[0] for a, b in pairwise(edges))

    expected = area(-np.inf, -half_width), area(-half_width, half_width), area(half_width, np.inf)
    assert as_tuple(practical(differences, half_width)) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("differences", DIFFERENCES)
def test_the_formula_is_that_of_the_correlated_t_test_without_correlation(differences):
    """Corani and Benavoli 2015, eq. 6: the variance is (1 / n + rho / (1 - rho)) s^2, here with rho = 0."""
    n, rho, width = len(differences), 0.0, 0.01
    spread = np.sqrt(np.var(differences, ddof=1) * (1 / n + rho / (1 - rho)))
    posterior = stats.t(n - 1, loc=np.mean(differences), scale=spread)
    below, above = posterior.cdf(-width), posterior.sf(width)
    assert as_tuple(practical(differences, width)) == pytest.approx((below, 1 - below - above, above), abs=1e-12)
    assert as_tuple(practical(differences, width, "higher")) == pytest.approx(
        (above, 1 - below - above, below), abs=1e-12
    )


def test_it_is_the_posterior_of_the_model_by_sampling():
    """Prior 1 / variance: variance (n - 1) s^2 / chi^2(n - 1), then the mean normal. 200,000 draws: tolerance 0.005."""
    d = np.array([0.01, -0.02, 0.03, 0.015, 0.02])
    rng = np.random.default_rng(0)
    variance = (len(d) - 1) * d.var(ddof=1) / rng.chisquare(len(d) - 1, 200_000)
    means = rng.normal(d.mean(), np.sqrt(variance / len(d)))
    expected = (means < -0.01).mean(), (abs(means) <= 0.01).mean(), (means > 0.01).mean()
    assert as_tuple(practical(d, 0.01)) == pytest.approx(expected, abs=0.005)


def test_without_a_region_it_is_the_one_sided_p_value():
    d = DIFFERENCES[0]
    result = practical(d, 0.0, "higher")
    assert result.equal == pytest.approx(0, abs=1e-15)
    assert result.worse == pytest.approx(stats.ttest_1samp(d, 0, alternative="greater").pvalue, rel=1e-12)


def test_swapping_the_methods_swaps_better_and_worse():
    for d in DIFFERENCES:
        one, other = practical(d, 0.02), practical([-x for x in d], 0.02)
        assert (one.better, one.worse) == pytest.approx((other.worse, other.better), abs=1e-15)
        assert sum(as_tuple(one)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "differences", [[], [0.1], [0.1, 0.2], [0.1] * 5, [0.0] * 3, [0.1, 0.2, float("nan")], [0.1, 0.2, float("inf")]]
)
def test_where_nothing_can_be_said_there_is_no_result(differences):
    assert practical(differences, 0.01) is None


@pytest.mark.parametrize("half_width", [-0.1, float("nan"), float("inf")])
def test_a_region_must_have_a_width(half_width):
    with pytest.raises(ValueError, match="half width"):
        practical([1.0, 2.0, 3.0], half_width)


def test_regions_of_scores():
    assert rope("test/error").half_width(0.02, 270) == pytest.approx(1 / 270 if 1 / 270 > 0.005 else 0.005)
    assert rope("test/error").half_width(0.02, 100) == 0.01
    assert rope("test/error").half_width(0.02) == 0.005
    assert rope("test/nll").half_width(0.4, 100) == pytest.approx(0.02)
    assert rope("grid/nll").half_width(-2.0) == pytest.approx(0.1)  # a density may exceed 1
    assert rope("robust/linf/accuracy@0.1").half_width(0.7, 100) == 0.02
    assert rope("attack/fgsm/accuracy@0.1").half_width(0.7, 40) == 0.025
    assert rope("uncertainty/digits5-9/auroc_both").half_width(0.5) == 0.02
    assert rope("cost/fit/relative") is None
    assert all(each.reason for each in ROPES.values())


def test_each_built_in_metric_with_a_better_direction_has_a_region_and_no_other_one():
    for metric in bbh_metrics():
        assert (rope(metric.name) is not None) == (metric.better != "neither"), metric.name
