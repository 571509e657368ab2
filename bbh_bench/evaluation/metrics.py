"""The built-in metrics: each a number computed from stored predictions, by library code where there is some.

Entropies are in nats. For detection the outliers are the positive class and predictive entropy is the score.
"""

from collections.abc import Callable

import numpy as np

from bbh_bench.api import Metric, Scope
from bbh_bench.evaluation.predictive import Predictions
from bbh_bench.hookspecs import hookimpl


def error(predictions: Predictions, labels: np.ndarray) -> float:
    """Share of inputs whose most probable class is wrong."""
    return float(np.mean(predictions.log_probs.argmax(axis=1) != labels))


def nll(predictions: Predictions, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of the right class, in nats, in log space: no clipping."""
    return float(-np.mean(predictions.log_probs[np.arange(len(labels)), labels]))


def brier(predictions: Predictions, labels: np.ndarray) -> float:
    """Mean squared distance of the probabilities to the one-hot label, summed over classes, in [0, 2] (Brier 1950)."""
    one_hot = np.eye(predictions.log_probs.shape[1])[labels]
    return float(np.mean(np.sum((predictions.probs - one_hot) ** 2, axis=1)))


def ece(predictions: Predictions, labels: np.ndarray) -> float:
    """Expected calibration error of the predicted class's confidence, 15 equal bins (Guo et al. 2017, eq. 3)."""
    import torch  # noqa: PLC0415  (a report of stored scores needs none of this)
    from torchmetrics.functional.classification import multiclass_calibration_error  # noqa: PLC0415

    probs = torch.from_numpy(predictions.probs)
    return float(
        multiclass_calibration_error(probs, torch.from_numpy(labels.astype(np.int64)), probs.shape[1], n_bins=15)
    )


def entropy(predictions: Predictions) -> float:
    """Mean entropy of the predictive: total uncertainty."""
    return float(predictions.entropy.mean())


def expected_entropy(predictions: Predictions) -> float:
    """Mean entropy of the single networks: the aleatoric part."""
    return float((predictions.entropy - predictions.mutual_information).mean())


def mutual_information(predictions: Predictions) -> float:
    """Mean mutual information of class and network: the epistemic part."""
    return float(predictions.mutual_information.mean())


def entropy_auc(predictions: Predictions) -> float:
    """Area under the empirical distribution function of the entropy over [0, log K], divided by log K.

    In closed form ``1 - mean entropy / log K``, since the area under a distribution function on [0, h] is h minus the
    mean. Low is uncertain. The paper's histogram version is 0.001 to 0.013 off.
    """
    return float(1 - predictions.entropy.mean() / predictions.max_entropy)


def _detection(curve: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Predictions, Predictions], float]:
    def compute(test: Predictions, outliers: Predictions) -> float:
        truth = np.r_[np.zeros(len(test.entropy)), np.ones(len(outliers.entropy))]
        return float(curve(truth, np.r_[test.entropy, outliers.entropy]))

    return compute


def _auroc(truth: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415

    return float(roc_auc_score(truth, score))


def _aupr(truth: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score  # noqa: PLC0415

    return float(average_precision_score(truth, score))


def _fpr95(truth: np.ndarray, score: np.ndarray) -> float:
    from sklearn.metrics import roc_curve  # noqa: PLC0415

    fpr, tpr, _ = roc_curve(truth, score, drop_intermediate=False)
    return float(fpr[np.searchsorted(tpr, 0.95)])


auroc = _detection(_auroc)
aupr = _detection(_aupr)
fpr95 = _detection(_fpr95)

LABELLED: Scope = "labelled"
INPUTS: Scope = "inputs"
OUTLIERS: Scope = "outliers"


@hookimpl
def bbh_metrics() -> list[Metric]:
    """The built-in metrics."""
    return [
        Metric("error", LABELLED, "lower", "share of wrong classes", error),
        Metric("nll", LABELLED, "lower", "negative log-likelihood, nats", nll),
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
            "predictive less expected entropy (epistemic), nats",
            mutual_information,
        ),
        Metric("entropy_auc", INPUTS, "neither", "1 - mean entropy / log K: low is uncertain", entropy_auc),
        Metric("auroc", OUTLIERS, "higher", "area under the ROC curve, outliers told by entropy", auroc),
        Metric("aupr", OUTLIERS, "higher", "average precision, outliers positive, told by entropy", aupr),
        Metric("fpr95", OUTLIERS, "lower", "share of test images flagged where 95 % of outliers are", fpr95),
    ]
