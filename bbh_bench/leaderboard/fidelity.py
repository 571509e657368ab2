"""The board's part on fidelity: how far each method's predictive distribution is from that of the exact posterior."""

from bbh_bench.leaderboard.columns import fidelity_columns
from bbh_bench.leaderboard.fidelity_figure import fidelity_sets
from bbh_bench.leaderboard.page import Block, figure
from bbh_bench.leaderboard.rendering import paragraph, score_table
from bbh_bench.leaderboard.tables import TaskRecords

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


def fidelity_sections(group: TaskRecords) -> list[Block]:
    """Empty for a task without a reference predictive."""
    if not fidelity_sets(group):
        return []
    return [
        "## Fidelity to the exact posterior",
        figure(group, "fidelity", "Total variation of each method from the exact posterior, with the floor", FIGURE),
        paragraph(EXPLANATION),
        score_table(group, fidelity_columns(group)),
    ]
