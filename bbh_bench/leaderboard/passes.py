"""The board's table of forward and backward passes per image, by attack."""

from statistics import fmean

from bbh_bench.leaderboard.page import Block
from bbh_bench.leaderboard.rendering import DASH, Table, paragraph
from bbh_bench.leaderboard.statistics import method_order
from bbh_bench.leaderboard.tables import TaskRecords

PREFIX, FORWARD, BACKWARD = "attack/", "/forward_passes", "/backward_passes"
CAPTION = (
    "**Passes of the attacks**: forward + backward passes through single networks, for each attacked image, at all ε together, "
    "without the evaluation on fresh samples. They are the same on every machine."
)


def passes_table(group: TaskRecords) -> list[Block]:
    """A caption and a table with a row for each method and a column for each attack. Empty for records without counts."""
    attacks = dict.fromkeys(
        name.removeprefix(PREFIX).removesuffix(FORWARD)
        for record in group.finished
        for name in record.cost
        if name.startswith(PREFIX) and name.endswith(FORWARD)
    )
    if not attacks:
        return []
    rows = [[method, *(_cell(group, method, attack) for attack in attacks)] for method in method_order(group)]
    return [paragraph(CAPTION), Table(["method", *attacks], rows)]


def _cell(group: TaskRecords, method: str, attack: str) -> str:
    costs = [record.cost for record in group.by_method[method]]
    counted = [cost for cost in costs if f"{PREFIX}{attack}{FORWARD}" in cost]
    if not counted:
        return DASH
    forward, backward = (
        fmean(cost.get(f"{PREFIX}{attack}{kind}", 0.0) for cost in counted) for kind in (FORWARD, BACKWARD)
    )
    return f"{forward:,.0f} + {backward:,.0f}"
