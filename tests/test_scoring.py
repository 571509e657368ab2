"""Scores from arrays: oracle for the curves is NumPy on the decoded predictions."""

import numpy as np
import pytest
import torch

from bbh_bench.evaluation.predictive import decode, predict
from bbh_bench.evaluation.scoring import classification, entropy_cdf


def made(seed, n=60, scale=2.0):
    logits = scale * torch.randn(6, n, 4, generator=torch.Generator().manual_seed(seed))
    return predict(lambda x: logits[:, x.long()], torch.arange(float(n)), torch.device("cpu"), 4)


@pytest.fixture
def arrays():
    labels = np.arange(60, dtype=np.uint8) % 4
    sets = {
        "test": made(0),
        "outlier/a": made(1, 40, 0.5),
        "outlier/b": made(2, 50),
    }
    flat = {f"{name}/{key}": value for name, held in sets.items() for key, value in held.items()}
    return flat | {"test/labels": labels}


def test_every_metric_on_every_set_of_its_scope(arrays, metrics):
    scores, curves = classification(arrays, metrics)
    for metric in metrics:
        assert (f"test/{metric.name}" in scores) == (metric.scope in ("labelled", "inputs"))
        assert (f"outlier/a/{metric.name}" in scores) == (metric.scope in ("inputs", "outliers"))
        assert (f"outlier/b/{metric.name}" in scores) == (metric.scope in ("inputs", "outliers"))
    assert set(curves) == {"test/entropy_cdf", "outlier/a/entropy_cdf", "outlier/b/entropy_cdf"}
    assert scores["outlier/a/entropy"] > scores["test/entropy"]  # half the scale of the logits


def test_entropy_cdf_rises_from_its_counts_to_one(arrays):
    predictions = decode(arrays, "test")
    cdf = entropy_cdf(predictions)
    assert len(cdf["entropy"]) == len(cdf["share"]) == 101
    assert cdf["share"][-1] == 1
    assert cdf["share"][30] == pytest.approx(np.mean(predictions.entropy <= 0.3 * np.log(4)))
