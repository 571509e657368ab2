"""OOD detection by other scores than the predictive entropy: its two parts, and the method's own score.

Total uncertainty is the sum of the expected entropy of the networks (aleatoric) and of the mutual information of class and
network (epistemic); Mukhoti et al. 2023, arXiv 2102.11582, section 2, discuss which of them should detect OOD inputs.
"""

import numpy as np

from bbh_bench.api import Metric, Scope
from bbh_bench.errors import NotApplicable
from bbh_bench.evaluation.detection import area_under_roc
from bbh_bench.evaluation.predictive import Predictions

OOD: Scope = "ood"


def auroc_mutual_information(test: Predictions, ood: Predictions) -> float:
    """Area under the ROC curve of OOD detection by the mutual information.

    Raises ``NotApplicable`` if it is zero for all inputs, as for a single network: that is no score, and not one at chance.
    """
    if not (np.any(test.mutual_information) or np.any(ood.mutual_information)):
        raise NotApplicable("the mutual information is zero for all inputs.")
    return area_under_roc(test.mutual_information, ood.mutual_information)


def auroc_expected_entropy(test: Predictions, ood: Predictions) -> float:
    """Area under the ROC curve of OOD detection by the mean entropy of the networks; of a single one, by its entropy."""
    return area_under_roc(test.entropy - test.mutual_information, ood.entropy - ood.mutual_information)


def auroc_ood_score(test: Predictions, ood: Predictions) -> float:
    """Area under the ROC curve of OOD detection by the method's own score. Raises ``NotApplicable`` if it has none."""
    if test.ood_score is None or ood.ood_score is None:
        raise NotApplicable("the method has no OOD score of its own.")
    return area_under_roc(test.ood_score, ood.ood_score)


BY_OTHER_SCORES = (
    Metric(
        "auroc_mutual_information",
        OOD,
        "higher",
        "AUROC of OOD detection by mutual information; of several networks",
        auroc_mutual_information,
    ),
    Metric(
        "auroc_expected_entropy",
        OOD,
        "higher",
        "AUROC of OOD detection by the mean entropy of single networks",
        auroc_expected_entropy,
    ),
    Metric(
        "auroc_ood_score",
        OOD,
        "higher",
        "AUROC of OOD detection by the method's own score; of methods that have one",
        auroc_ood_score,
    ),
)
