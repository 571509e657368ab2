"""The learning rate of a budget."""

import pytest

from bbh_bench.inference.rates import learning_rate
from bbh_bench.methods.map import Map
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import small_problem


def test_the_papers_rate_at_the_papers_budget_and_more_at_a_smaller_one():
    assert learning_rate(None, 55_000) == 1e-3
    assert learning_rate(None, 55_000 // 16) == pytest.approx(2e-3, rel=1e-3)
    assert learning_rate(None, 1_000_000) == 1e-3
    assert learning_rate(None, 1) == learning_rate(None, 0) == 4e-3


def test_a_rate_that_was_given_does_not_depend_on_the_budget():
    assert learning_rate(0.02, 10) == learning_rate(0.02, 10**6) == 0.02


def test_a_method_without_a_rate_uses_that_of_the_budget():
    problem = small_problem(epochs=5)

    def weights(method):
        seed_everything(0)
        return method.fit(problem).network[-1].weight

    assert weights(Map()).equal(weights(Map(lr=learning_rate(None, problem.steps))))
    assert not weights(Map()).equal(weights(Map(lr=1e-3)))
