"""The board's part on OOD detection: the same images, detected by different scores, side by side."""

from bbh_bench.leaderboard.page import Block
from bbh_bench.leaderboard.rendering import escaped, paragraph, score_column, score_table
from bbh_bench.leaderboard.tables import Column, TaskRecords

DETECTORS = {
    "auroc": "by entropy",
    "auroc_expected_entropy": "by expected entropy",
    "auroc_mutual_information": "by mutual information",
    "auroc_ood_score": "by its own score",
}
"""Headings, by the last part of the name of a score."""
EXPLANATION = (
    "AUROC of OOD detection by different scores of the same predictions. The entropy is the sum of the expected entropy of the "
    "networks (aleatoric) and of the mutual information (epistemic). A single network has no mutual information. Some methods "
    "have a score of their own, such as the density of their features."
)


def detection_columns(group: TaskRecords, name: str) -> list[Column]:
    """One OOD set, detected by each score. Empty unless there is another score than the entropy."""
    columns = [score_column(group, heading, f"ood/{name}/{score}") for score, heading in DETECTORS.items()]
    return columns if any(group.has(column.name) for column in columns[1:]) else []


def detection_section(group: TaskRecords) -> list[Block]:
    """A table for each OOD set. Empty for records that were not rescored since these metrics exist."""
    parts: list[Block] = []
    for name in group.ood_sets():
        if columns := detection_columns(group, name):
            parts += [f"**OOD: {escaped(name)}**", score_table(group, columns)]
    return ["## OOD detection by different scores", paragraph(EXPLANATION), *parts] if parts else []
