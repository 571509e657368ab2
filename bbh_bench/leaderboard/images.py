"""Scores of single test images, from the stored predictions of a classification; without torch."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from bbh_bench.errors import RecordError
from bbh_bench.records.record import Record

TEST_SET = ("test/labels", "test/log_odds")
"""Names of the arrays that ``read_test_set`` reads."""
ReadArrays = Callable[[Record, Collection[str]], Mapping[str, np.ndarray]]
"""The stored arrays of a finished record that have these names; raises ``RecordError``."""
ImageScores = Mapping[str, Mapping[str, Mapping[int, np.ndarray]]]
"""Values ``[images]`` by the name of a score, a method and a seed."""

UNREADABLE = (RecordError, KeyError, ValueError, IndexError, TypeError)
"""What reading damaged arrays may raise."""
MOST_RECORDS = 300
"""Of one task. Reading the predictions of more would take longer than the rest of a board."""


def image_scores(records: Sequence[Record], read: ReadArrays) -> dict[str, dict[str, dict[int, np.ndarray]]]:
    """``test/nll`` and ``test/error`` of every test image, of the records of one task.

    Methods of which predictions are missing or damaged are left out, and those of other images than the first record's:
    ``verify`` says why. Empty for other tasks than classifications, and for more than ``MOST_RECORDS``.
    """
    scores: dict[str, dict[str, dict[int, np.ndarray]]] = {"test/nll": {}, "test/error": {}}
    records = [record for record in records if record.finished and record.task.kind == "classification"]
    first: np.ndarray | None = None
    incomplete = set()
    for record in records if len(records) <= MOST_RECORDS else ():
        try:
            arrays = read(record, TEST_SET)
            labels, nll, error = _scores(arrays)
        except UNREADABLE:
            incomplete.add(record.method.name)
            continue
        first = labels if first is None else first
        if not np.array_equal(labels, first):
            incomplete.add(record.method.name)
            continue
        scores["test/nll"].setdefault(record.method.name, {})[record.seed] = nll
        scores["test/error"].setdefault(record.method.name, {})[record.seed] = error
    return {
        score: {name: values for name, values in of_methods.items() if name not in incomplete}
        for score, of_methods in scores.items()
    }


def read_test_set(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Labels ``[N]`` and log-probabilities ``[N, K]`` of the test images, as ``evaluation`` decodes them."""
    log_odds = arrays["test/log_odds"].astype(float)
    log_probs = log_odds - np.log(np.exp(log_odds).sum(axis=1, keepdims=True))  # the largest of a row is 0
    return arrays["test/labels"].astype(int), log_probs


def _scores(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, negative log-likelihoods and errors ``[N]``, as ``evaluation`` computes them."""
    labels, log_probs = read_test_set(arrays)
    return labels, -log_probs[np.arange(len(labels)), labels], log_probs.argmax(axis=1) != labels
