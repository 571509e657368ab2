"""Selective prediction: how well confidence tells misclassified inputs from others.

A selective classifier answers for the share *coverage* of the inputs, those with the highest confidence, and its *risk* is the
share of misclassified inputs among them (Geifman and El-Yaniv 2017, arXiv 1705.08500). Confidence is the probability of the
predicted class. Inputs with the same confidence, which half precision makes frequent, are in random order: values are
expectations over it, so that the order in which inputs are stored does not matter.
"""

import numpy as np

from bbh_bench.api import Metric, Scope
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.risk_coverage import expected_errors

LABELLED: Scope = "labelled"


def aurc(predictions: Predictions, labels: np.ndarray) -> float:
    """Area under the risk-coverage curve: the mean over n = 1 ... N of the risk of the n most confident inputs.

    With a confidence that says nothing, it is the error rate.
    """
    errors = expected_errors(*_confidence(predictions, labels))
    return float(np.mean(errors[1:] / np.arange(1, len(errors))))


def eaurc(predictions: Predictions, labels: np.ndarray) -> float:
    """Excess AURC: minus that of the best order, which has all misclassified inputs last.

    Geifman et al. 2019, arXiv 1805.08206.
    Zero if each misclassified input is less confident than all others. Unlike ``aurc``, it hardly depends on the error rate.
    """
    _, wrong = _confidence(predictions, labels)
    answered = np.arange(1, len(wrong) + 1)
    best = np.maximum(0, answered - np.count_nonzero(~wrong)) / answered
    return max(0.0, aurc(predictions, labels) - float(np.mean(best)))  # below zero only by rounding


def _confidence(predictions: Predictions, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log of the probability of the predicted class, and whether it is wrong, ``[N]`` each."""
    log_probs = predictions.log_probs
    return log_probs.max(axis=1), log_probs.argmax(axis=1) != labels


SELECTIVE = (
    Metric("aurc", LABELLED, "lower", "area under the risk-coverage curve by confidence", aurc),
    Metric("eaurc", LABELLED, "lower", "AURC minus that of the best order of the same errors", eaurc),
)
