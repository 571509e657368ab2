"""Scores of regressions from stored arrays: oracles are quadrature, arithmetic by hand, and the published records."""

from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from bbh_bench.evaluation.regression import DIRECTIONS, mixture, score
from bbh_bench.evaluation.stored import StoredRegression
from bbh_bench.records.store import Store
from bbh_bench.tasks import toy

LEADERBOARD = Path(__file__).parent.parent / "leaderboard"


def test_the_mixture_is_a_density_with_that_distribution_function():
    """Oracle: quadrature of the density."""
    outputs = np.array([[-20.0], [1.0], [3.0]])

    def density(y):
        return float(np.exp(-mixture(outputs, np.array([[y]]), 2.0)[0][0, 0]))

    assert quad(density, -60, 60, points=[-20, 2])[0] == pytest.approx(1, abs=1e-6)
    for y in (-21.0, 0.0, 2.5):
        below = quad(density, -60, y, points=[-20])[0]
        assert mixture(outputs, np.array([[y]]), 2.0)[1][0, 0] == pytest.approx(below, abs=1e-6)


def arrays(outputs, noise=9.0):
    """What a cell stores whose networks predict ``outputs(data)`` ``[n, G]``."""
    data = toy.cubic()
    return StoredRegression(data.x, data.y, data.grid, data.truth, data.targets, outputs(data), noise).arrays()


def test_one_network_that_knows_the_truth():
    scores, curves = score(arrays(lambda data: data.truth[None]))
    assert scores["inside/rmse"] == 0
    assert scores["outside/width"] == 0
    assert scores["inside/nll"] == pytest.approx(norm(scale=9).entropy(), abs=0.02)  # 5,800 targets: s.e. 0.01
    for level in (50, 90, 95):
        share = level / 100
        error = (share * (1 - share) / 5800) ** 0.5
        assert scores[f"inside/coverage{level}"] == pytest.approx(share, abs=4 * error)
    assert curves["grid/prediction"]["std"] == [0.0] * 500


def test_a_spread_of_networks_by_hand():
    """Networks at truth + k for k from -50 to 50: the mean is the truth, and the central 95 % of them span 95."""
    offsets = np.linspace(-50, 50, 401)[:, None]
    scores, curves = score(arrays(lambda data: data.truth + offsets))
    assert scores["inside/rmse"] == pytest.approx(0, abs=1e-6)
    assert scores["outside/width"] == pytest.approx(95)
    assert scores["inside/coverage50"] > 0.9
    assert curves["grid/prediction"]["std"] == pytest.approx([offsets.std()] * 500)


def test_rmse_counts_only_the_range_of_the_training_inputs():
    def outputs(data):
        inside = (data.grid >= data.x.min()) & (data.grid <= data.x.max())
        return np.where(inside, data.truth + 3, 1e6)[None]

    scores, _ = score(arrays(outputs))
    assert scores["inside/rmse"] == pytest.approx(3)
    assert scores["grid/nll"] > 1e6


def test_what_is_stored_is_read_back():
    data = toy.cubic()
    stored = arrays(lambda data: np.float32(data.truth[None]))
    assert list(stored) == ["train/x", "train/y", "grid/x", "grid/truth", "grid/targets", "grid/outputs", "noise"]
    assert {key for key, value in stored.items() if value.dtype == np.float32} == {"grid/targets", "grid/outputs"}
    read = StoredRegression.read(stored)
    for name in ("grid", "truth"):
        assert np.array_equal(getattr(read, name), getattr(data, name))
    assert np.array_equal(read.train_x, data.x)
    assert np.array_equal(read.train_y, data.y)
    assert np.array_equal(read.targets, data.targets.astype(np.float32))
    assert {part.dtype for part in (read.targets, read.outputs)} == {np.dtype(np.float64)}
    assert read.noise == 9.0


def test_directions_are_those_of_scores():
    assert DIRECTIONS == {"rmse": "lower", "nll": "lower"}
    assert DIRECTIONS.keys() <= {name.split("/")[-1] for name in score(arrays(lambda data: data.truth[None]))[0]}


@pytest.mark.parametrize("method", ["map", "bbh", "ensemble"])
def test_published_scores_are_computed_again(method):
    """Names and their order are the same. The last bits of an exponential depend on the processor."""
    store = Store(LEADERBOARD)
    record = store.get(Path(f"toy/v2/{method}/seed0.json"))
    scores, curves = score(store.arrays(record))
    expected = {
        name: value for name, value in record.scores.items() if "total_variation" not in name
    }  # of the reference
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, rel=1e-12)
    assert list(curves) == list(record.curves)
    for name, curve in curves.items():
        assert list(curve) == list(record.curves[name])
        for column, values in curve.items():
            assert values == pytest.approx(record.curves[name][column], rel=1e-12)
