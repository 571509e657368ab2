"""The learning rate of a budget: a short one needs larger steps."""

PAPER_STEPS = 55_000
"""Of the paper's budget for MNIST: 100 epochs of 550 batches."""
PAPER_RATE = 1e-3
"""The paper's rate for that budget."""
HIGHEST_RATE = 4e-3
"""The highest rate that was among the best on validation data (``docs/tuning.md``)."""


def learning_rate(lr: float | None, steps: int) -> float:
    """``lr``; or if it is None, the rate of Adam for a budget of ``steps``.

    ``1e-3 (55,000 / steps)^(1/4)``, at least 1e-3 and at most 4e-3: the paper's rate at its 55,000 steps, 2.1e-3 at 2,750 and
    2.7e-3 at a thousand.
    """
    if lr is not None:
        return lr
    return min(HIGHEST_RATE, max(PAPER_RATE, PAPER_RATE * (PAPER_STEPS / max(1, steps)) ** (1 / 4)))
