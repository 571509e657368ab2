"""Scores of classifications from stored arrays: oracles are NumPy on the decoded predictions, and the published records."""

from pathlib import Path

import numpy as np
import pytest
import torch

from bbh_bench.api import Metric
from bbh_bench.errors import BenchWarning
from bbh_bench.evaluation import stored
from bbh_bench.evaluation.classification import entropy_cdf, score, shift_curve
from bbh_bench.evaluation.metrics import bbh_metrics
from bbh_bench.evaluation.predictive import decode, predict
from bbh_bench.records.store import Store

LEADERBOARD = Path(__file__).parent.parent / "leaderboard"
OF_ATTACKS = ("attack", "robust", "uncertainty")


def predicted(seed, n=60, scale=2.0):
    logits = scale * torch.randn(6, n, 4, generator=torch.Generator().manual_seed(seed))
    return predict(lambda x: logits[:, x.long()], torch.arange(float(n)), torch.device("cpu"), 4)


@pytest.fixture
def arrays():
    sets = {"test": predicted(0), "outlier/a": predicted(1, 40, 0.5), "outlier/b": predicted(2, 50)}
    flat = {f"{name}/{key}": value for name, parts in sets.items() for key, value in parts.items()}
    flat |= {f"{name}/ood_score": np.linspace(0, 1, len(parts["log_odds"])) for name, parts in sets.items()}
    return flat | {"test/labels": np.arange(60, dtype=np.uint8) % 4}


def test_every_metric_on_every_set_of_its_scope(arrays):
    scores, curves = score(arrays, bbh_metrics())
    for metric in bbh_metrics():
        assert (f"test/{metric.name}" in scores) == (metric.scope in ("labelled", "inputs"))
        assert (f"ood/a/{metric.name}" in scores) == (metric.scope in ("inputs", "ood"))
        assert (f"ood/b/{metric.name}" in scores) == (metric.scope in ("inputs", "ood"))
    assert set(curves) == {"test/entropy_cdf", "ood/a/entropy_cdf", "ood/b/entropy_cdf"}
    assert scores["ood/a/entropy"] > scores["test/entropy"]  # half the scale of the logits


def test_entropy_cdf_rises_from_its_counts_to_one(arrays):
    predictions = decode(arrays, "test")
    cdf = entropy_cdf(predictions)
    assert len(cdf["entropy"]) == len(cdf["share"]) == 101
    assert cdf["share"][-1] == 1
    assert cdf["share"][30] == pytest.approx(np.mean(predictions.entropy <= 0.3 * np.log(4)))


@pytest.mark.parametrize("scope", ["labelled", "inputs", "ood"])
@pytest.mark.parametrize(
    ("compute", "reason"),
    [(lambda *inputs: 1 / 0, "ZeroDivisionError: division by zero"), (lambda *inputs: float("nan"), "not finite for ")],
)
def test_a_broken_metric_is_left_out_with_a_warning(arrays, scope, compute, reason):
    """The scores of the other metrics are the same."""
    broken = Metric("broken", scope, "lower", "does not work", compute)
    with pytest.warns(BenchWarning, match="metric 'broken' is left out: " + reason) as caught:
        scores, _ = score(arrays, [broken, *bbh_metrics()])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert scores == score(arrays, bbh_metrics())[0]


def shift_arrays(labels):
    return stored.store_shift("rotation", "angle, degrees", (0, 30, 60), labels, predicted(3, 3 * 5))


@pytest.mark.parametrize("labels", [torch.tensor([3, 1, 0, 2, 2]), None])
def test_a_shift_is_read_as_it_was_stored(labels):
    """Its curve, against the predictions at each value."""
    arrays = shift_arrays(labels)
    expected = ["axis/angle, degrees", *(["labels"] if labels is not None else []), "log_odds", "mutual_information"]
    assert list(arrays) == [f"shift/rotation/{key}" for key in expected]
    shift = stored.read_shifts(arrays)["rotation"]
    assert (shift.axis, shift.values) == ("angle, degrees", [0, 30, 60])
    curve = shift_curve(shift)
    assert list(curve)[:3] == ["angle, degrees", "entropy", "mutual_information"]
    assert ("accuracy" in curve) == (labels is not None)
    for k in range(3):
        part = slice(5 * k, 5 * k + 5)
        assert curve["entropy"][k] == pytest.approx(shift.predictions.entropy[part].mean())
        assert curve["mutual_information"][k] == pytest.approx(shift.predictions.mutual_information[part].mean())
        if labels is not None:
            correct = shift.predictions.probs[part].argmax(1) == labels.numpy()
            assert curve["accuracy"][k] == pytest.approx(correct.mean())


def test_a_shift_of_a_single_image_shows_the_probability_of_each_class():
    arrays = stored.store_shift("pair", "share", (0.0, 1.0), None, predicted(4, 2))
    shift = stored.read_shifts(arrays)["pair"]
    curve = shift_curve(shift)
    for c in range(4):
        assert curve[f"p({c})"] == pytest.approx(shift.predictions.probs[:, c])


def test_labels_and_predictions_are_read_as_they_were_stored():
    labels, test, ood = torch.tensor([2, 0, 3, 1]), predicted(5, 4), predicted(6, 7)
    arrays = stored.store_labels(labels) | stored.under(stored.TEST, test) | stored.under(stored.ood_prefix("o"), ood)
    assert next(iter(arrays)) == "test/labels"
    assert list(arrays)[-1] == "outlier/o/mutual_information"
    assert arrays["test/labels"].dtype == np.uint8
    assert stored.read_labels(arrays).tolist() == labels.tolist()
    whole = stored.read_test(arrays)
    part = stored.read_test(arrays, np.array([3, 1]))
    assert np.array_equal(part.log_probs, whole.log_probs[[3, 1]])
    assert np.array_equal(part.mutual_information, whole.mutual_information[[3, 1]])
    assert list(stored.read_ood(arrays)) == ["o"]
    assert stored.read_ood(arrays)["o"].log_probs.shape == (7, 4)


@pytest.mark.parametrize(
    "path", ["digits5/v3/map/seed0.json", "digits5/v3/bbh/seed0.json", "mnist-short/v3/map/seed0.json"]
)
def test_published_scores_are_computed_again(path):
    """Names and their order are the same. The last bits of a logarithm depend on the processor.

    Records of a former version of a task get no metrics that came later: these are left out.
    """
    store = Store(LEADERBOARD)
    record = store.get(Path(path))
    metrics = [metric for metric in bbh_metrics() if metric.name in record.directions]
    assert len(metrics) >= 11
    scores, curves = score(store.arrays(record), metrics)

    def without_attacks(values):
        return {name: value for name, value in values.items() if name.split("/")[0] not in OF_ATTACKS}

    expected = without_attacks(record.scores)
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, rel=1e-12, abs=1e-15)
    expected = without_attacks(record.curves)
    assert list(curves) == list(expected)
    for name, curve in curves.items():
        assert list(curve) == list(expected[name])
        for column, values in curve.items():
            assert values == pytest.approx(expected[name][column], rel=1e-12, abs=1e-15)
