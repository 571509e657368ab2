"""The board's part on fidelity: how far each method's predictive distribution is from that of the exact posterior."""

from bbh_bench.leaderboard.fidelity_figure import AGREEMENT, DISTANCE, FLOOR, fidelity_sets, set_title
from bbh_bench.leaderboard.page import Block, figure
from bbh_bench.leaderboard.rendering import escaped, paragraph, score_column, score_table
from bbh_bench.leaderboard.tables import Column, TaskRecords

EXPLANATION = (
    "*Total variation* is half the sum of the absolute differences between the predictive probabilities of a method and those "
    "of the exact posterior, averaged over inputs: 0 for the exact posterior, at most 1. *Agreement* is the share of inputs "
    "with the same most probable class (Izmailov et al. 2021). Hamiltonian Monte Carlo has sampled the reference. *Floor* is "
    "the total variation between two halves of its chains: smaller differences mean nothing. All methods have the same prior."
)
FIGURE = (
    "Total variation from the predictive distribution of the exact posterior; methods in the order of the first panel, with "
    "95 % t intervals over seeds. Dashed: the floor of the reference."
)


def fidelity_columns(group: TaskRecords) -> list[Column]:
    """Total variation, its floor, and agreement on every set."""
    columns = []
    for name in fidelity_sets(group):
        columns += [
            score_column(group, f"{escaped(set_title(name))}: total variation", f"{name}/{DISTANCE}", 4),
            score_column(group, f"{escaped(set_title(name))}: floor", f"{name}/{FLOOR}", 4),
            score_column(group, f"{escaped(set_title(name))}: agreement %", f"{name}/{AGREEMENT}", 2, 100),
        ]
    return [column for column in columns if group.has(column.name)]


def fidelity_sections(group: TaskRecords) -> list[Block]:
    """Empty for a task without a reference predictive."""
    if not fidelity_sets(group):
        return []
    return [
        "## Fidelity to the exact posterior",
        figure(group, "fidelity", "Total variation of each method from the exact posterior, with the floor"),
        paragraph(FIGURE),
        paragraph(EXPLANATION),
        score_table(group, fidelity_columns(group)),
    ]
