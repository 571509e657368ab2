"""Calibration errors with other bins than ``ece``, and of all classes; Nixon et al. 2019, arXiv 1904.01685, compare them."""

import numpy as np
import torch

from bbh_bench.api import Metric, Scope
from bbh_bench.evaluation.predictive import Predictions

LABELLED: Scope = "labelled"
BINS = 15
"""As many as ``ece`` has."""


def adaptive_ece(predictions: Predictions, labels: np.ndarray) -> float:
    """Expected calibration error of the predicted class, in 15 bins of confidence with the same number of inputs.

    Most inputs have a confidence near one: bins of equal width tell hardly any of them apart. Inputs with the same confidence
    are shared out among bins in equal parts, as is an input on the edge of two bins, so that the order of inputs does not
    matter, and bins have the same size for any number of inputs.
    """
    confidence = predictions.probs.max(axis=1)
    correct = predictions.log_probs.argmax(axis=1) == labels
    values, group, sizes = np.unique(confidence, return_inverse=True, return_counts=True)
    gaps = sizes * values - np.bincount(group, weights=correct)  # confidence minus accuracy, summed over each value
    ends, total = np.r_[0, np.cumsum(sizes)], np.r_[0, np.cumsum(gaps)]
    edges = np.linspace(0, len(labels), BINS + 1)
    return float(np.abs(np.diff(np.interp(edges, ends, total))).sum() / len(labels))


def classwise_ece(predictions: Predictions, labels: np.ndarray) -> float:
    """Static calibration error: the calibration error of the probability of each class, averaged over classes.

    15 bins of equal width for each class (Nixon et al. 2019, section 3.2; *class-wise ECE* in Kull et al. 2019, arXiv
    1910.12656). Most probabilities are near zero, so that values are smaller than those of ``ece``.
    """
    from torchmetrics.functional.classification import binary_calibration_error

    # Clipped, since torchmetrics takes a value above 1 for a logit.
    by_class = torch.from_numpy(predictions.probs.clip(0, 1).T.copy())
    truth = torch.from_numpy(labels.astype(np.int64))
    errors = [binary_calibration_error(p, (truth == k).long(), n_bins=BINS).item() for k, p in enumerate(by_class)]
    return float(np.mean(errors))


CALIBRATION = (
    Metric("adaptive_ece", LABELLED, "lower", "expected calibration error, 15 bins of equal mass", adaptive_ece),
    Metric("classwise_ece", LABELLED, "lower", "calibration error of each class, averaged, 15 bins", classwise_ece),
)
