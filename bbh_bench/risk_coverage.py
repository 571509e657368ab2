"""The risk-coverage curve, for evaluation and leaderboard. NumPy only."""

import numpy as np


def expected_errors(confidence: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Expected number of misclassified inputs among the n with the highest confidence, for n = 0 ... N: ``[N + 1]``.

    ``confidence`` ``[N]``; ``wrong`` ``[N]``: whether an input is misclassified. Inputs with the same confidence are in random
    order, over which the expectation is taken. Divided by n it is the risk at coverage n / N (Geifman and El-Yaniv 2017, arXiv
    1705.08500).
    """
    _, group, sizes = np.unique(-confidence, return_inverse=True, return_counts=True)
    ends = np.r_[0, np.cumsum(sizes)]
    errors = np.r_[0, np.cumsum(np.bincount(group, weights=wrong))]
    return np.interp(np.arange(len(wrong) + 1), ends, errors)
