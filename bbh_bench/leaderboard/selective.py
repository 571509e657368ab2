"""The board's part on selective prediction and calibration: what confidence is worth on the test images."""

from bbh_bench.leaderboard.page import Block
from bbh_bench.leaderboard.rendering import paragraph, score_column, score_table
from bbh_bench.leaderboard.tables import Column, TaskRecords

OWN = ("aurc", "eaurc", "adaptive_ece", "classwise_ece")
"""Last parts of the names of scores that only this table shows."""
EXPLANATION = (
    "*AURC*: the method answers for the images with the highest confidence only; the area is the mean, over how many it "
    "answers for, of the share of misclassified images among them. *Excess AURC* is what it exceeds that of the best order "
    "by, in which all misclassified images come last: it says how well confidence finds errors, apart from how many there "
    "are. *ECE* has 15 bins of equal width, *adaptive ECE* 15 bins with the same number of images, and *class-wise ECE* "
    "averages the calibration error of each class's probability."
)


def selective_columns(group: TaskRecords) -> list[Column]:
    """Empty for records that were not rescored since these metrics exist."""
    columns = [
        score_column(group, "AURC × 1,000", "test/aurc", 3, 1000),
        score_column(group, "excess AURC × 1,000", "test/eaurc", 3, 1000),
        score_column(group, "ECE", "test/ece", 4),
        score_column(group, "adaptive ECE", "test/adaptive_ece", 4),
        score_column(group, "class-wise ECE", "test/classwise_ece", 4),
        score_column(group, "signed calibration error", "test/signed_ece", 4),
    ]
    return columns if any(group.has(f"test/{name}") for name in OWN) else []


def selective_section(group: TaskRecords) -> list[Block]:
    """A table of all methods."""
    columns = selective_columns(group)
    if not columns:
        return []
    return ["## Selective prediction and calibration", paragraph(EXPLANATION), score_table(group, columns)]
