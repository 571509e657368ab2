"""The board's part on corrupted test images."""

from bbh_bench.leaderboard.corruption_figure import corruption_panels
from bbh_bench.leaderboard.page import Block, figure
from bbh_bench.leaderboard.rendering import paragraph, score_column, score_table
from bbh_bench.leaderboard.tables import Column, TaskRecords

EXPLANATION = (
    "Test images corrupted by code, at severities 1 to 5, in the manner of MNIST-C (Mu and Gilmer 2019). Scores are means over "
    "all kinds of corruption and all five severities. A method that knows what it does not know keeps its calibration error "
    "low while its error grows."
)
FIGURE = (
    "First the means over all corruptions, then the accuracy under each one. Severity 0 has the clean images. Lines are means "
    "over seeds; bands are 95 % t intervals."
)


def corruption_columns(group: TaskRecords) -> list[Column]:
    """Empty for a task without corruptions."""
    if not group.score_names("corrupted/"):
        return []
    return [
        score_column(group, "corrupted: error %", "corrupted/error", 2, 100),
        score_column(group, "corrupted: NLL", "corrupted/nll", 4),
        score_column(group, "corrupted: Brier", "corrupted/brier", 4),
        score_column(group, "corrupted: ECE", "corrupted/ece", 4),
        score_column(group, "corrupted: signed calibration error", "corrupted/signed_ece", 4),
        score_column(group, "corrupted: AURC × 1,000", "corrupted/aurc", 2, 1000),
    ]


def corruption_section(group: TaskRecords) -> list[Block]:
    """Figure and table; empty for a task without corruptions."""
    columns = corruption_columns(group)
    if not columns:
        return []
    drawn: list[Block] = []
    if corruption_panels(group):
        alt = "Error, likelihood and calibration along the severity of corruptions"
        drawn = [figure(group, "corruptions", alt, FIGURE)]
    return ["## Corrupted test images", paragraph(EXPLANATION), *drawn, score_table(group, columns)]
