"""The built-in metrics. Each is one number, computed from stored predictions, by library code where a library has it.

Entropies are in nats. For OOD detection, OOD inputs are the positive class and the predictive entropy is the score;
``ood_metrics`` has other scores.
"""

import numpy as np
import torch

from bbh_bench.api import Metric, Scope
from bbh_bench.calibration import scaled_nll
from bbh_bench.evaluation.calibration_errors import CALIBRATION
from bbh_bench.evaluation.detection import area_under_roc, average_precision, roc_curve
from bbh_bench.evaluation.ood_metrics import BY_OTHER_SCORES
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.evaluation.selective import SELECTIVE
from bbh_bench.hookspecs import hookimpl


def error(predictions: Predictions, labels: np.ndarray) -> float:
    """Share of inputs whose most probable class is not the label."""
    return float(np.mean(predictions.log_probs.argmax(axis=1) != labels))


def nll(predictions: Predictions, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the label, in nats. Computed from log-probabilities, so that nothing is clipped."""
    return float(-np.mean(predictions.log_probs[np.arange(len(labels)), labels]))


def nll_scaled(predictions: Predictions, labels: np.ndarray) -> float:
    """Negative log-likelihood at a temperature that was fitted on other test images, in nats; see ``bbh_bench.calibration``."""
    return scaled_nll(predictions.log_probs, labels)


def brier(predictions: Predictions, labels: np.ndarray) -> float:
    """Mean squared distance of the probabilities to the one-hot label, summed over classes, in [0, 2] (Brier 1950)."""
    one_hot = np.eye(predictions.log_probs.shape[1])[labels]
    return float(np.mean(np.sum((predictions.probs - one_hot) ** 2, axis=1)))


def ece(predictions: Predictions, labels: np.ndarray) -> float:
    """Expected calibration error of the confidence in the predicted class, 15 bins of equal width (Guo et al. 2017, eq. 3)."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    probs = torch.from_numpy(predictions.probs)
    return float(
        multiclass_calibration_error(probs, torch.from_numpy(labels.astype(np.int64)), probs.shape[1], n_bins=15)
    )


def signed_ece(predictions: Predictions, labels: np.ndarray) -> float:
    """Mean confidence in the predicted class minus accuracy. Positive values mean overconfident, negative underconfident.

    It is the sum of ``ece`` without the absolute values of its bins, weighted by their shares, for any choice of bins. Gaps of
    opposite signs cancel: zero does not mean calibrated.
    """
    return float(predictions.probs.max(axis=1).mean()) - (1 - error(predictions, labels))


def entropy(predictions: Predictions) -> float:
    """Mean entropy of the predictive distribution, in nats: total uncertainty."""
    return float(predictions.entropy.mean())


def expected_entropy(predictions: Predictions) -> float:
    """Mean entropy of the single networks, in nats: the aleatoric part."""
    return float((predictions.entropy - predictions.mutual_information).mean())


def mutual_information(predictions: Predictions) -> float:
    """Mean mutual information of class and network, in nats: the epistemic part."""
    return float(predictions.mutual_information.mean())


def entropy_auc(predictions: Predictions) -> float:
    """Area under the empirical distribution function of the entropy over [0, log K], divided by log K.

    The closed form is ``1 - mean entropy / log K``: the area under a distribution function on [0, h] is h minus the mean.
    Low values mean uncertain predictions. Values from the histogram in the paper's code differ by 0.001 to 0.013.
    """
    return float(1 - predictions.entropy.mean() / predictions.max_entropy)


def auroc(test: Predictions, ood: Predictions) -> float:
    """Area under the ROC curve of OOD detection."""
    return area_under_roc(test.entropy, ood.entropy)


def aupr(test: Predictions, ood: Predictions) -> float:
    """Average precision of OOD detection."""
    return average_precision(test.entropy, ood.entropy)


def fpr95(test: Predictions, ood: Predictions) -> float:
    """Share of test inputs at or above the highest entropy threshold that at least 95 % of the OOD inputs reach."""
    fpr, tpr = roc_curve(test.entropy, ood.entropy, drop_intermediate=False)
    return float(fpr[np.searchsorted(tpr, 0.95)])


LABELLED: Scope = "labelled"
INPUTS: Scope = "inputs"
OOD: Scope = "ood"


@hookimpl
def bbh_metrics() -> list[Metric]:
    """The built-in metrics, the newest last: in the order in which ``rescore`` adds them to a record."""
    return [
        Metric("error", LABELLED, "lower", "share of misclassified test images", error),
        Metric("nll", LABELLED, "lower", "mean negative log-likelihood of the labels, nats", nll),
        Metric("brier", LABELLED, "lower", "Brier score, in [0, 2]", brier),
        Metric("ece", LABELLED, "lower", "expected calibration error of the predicted class, 15 bins", ece),
        Metric("entropy", INPUTS, "neither", "mean predictive entropy, nats", entropy),
        Metric(
            "expected_entropy", INPUTS, "neither", "mean entropy of single networks (aleatoric), nats", expected_entropy
        ),
        Metric(
            "mutual_information",
            INPUTS,
            "neither",
            "predictive minus expected entropy (epistemic), nats",
            mutual_information,
        ),
        Metric("entropy_auc", INPUTS, "neither", "1 - mean entropy / log K: low values mean uncertain", entropy_auc),
        Metric("auroc", OOD, "higher", "area under the ROC curve of OOD detection by entropy", auroc),
        Metric("aupr", OOD, "higher", "average precision of OOD detection by entropy, OOD positive", aupr),
        Metric("fpr95", OOD, "lower", "share of test images detected as OOD when 95 % of the OOD images are", fpr95),
        Metric("nll_scaled", LABELLED, "lower", "NLL after temperature scaling across test halves, nats", nll_scaled),
        Metric(
            "signed_ece", LABELLED, "neither", "mean confidence minus accuracy: positive is overconfident", signed_ece
        ),
        *BY_OTHER_SCORES,
        *SELECTIVE,
        *CALIBRATION,
    ]
