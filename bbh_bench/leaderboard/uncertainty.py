"""The board's part on attacks on the uncertainty: OOD detection where OOD images look certain and test images uncertain."""

from statistics import fmean

from bbh_bench.leaderboard.columns import uncertainty_columns
from bbh_bench.leaderboard.page import Block, figure
from bbh_bench.leaderboard.rendering import DASH, Table, escaped, paragraph, score_table
from bbh_bench.leaderboard.statistics import method_order
from bbh_bench.leaderboard.tables import ATTACKED_SETS, Curve, TaskRecords

EXPLANATION = (
    "**Attacks on the uncertainty**: images are perturbed in L∞ to change the predictive entropy, whatever their class. OOD "
    "images are pushed towards low entropy, test images towards high entropy. AUROC % of OOD detection where only the OOD "
    "images are attacked / only the test images / both, evaluated on fresh samples. At 50 % the uncertainty says nothing; "
    "below, it misleads."
)
FIGURE = (
    "AUROC of OOD detection by predictive entropy against ε. Lines are means over seeds; bands are 95 % t intervals."
)
BY_INFORMATION = (
    "The same images, detected by mutual information instead of entropy. It is zero for a single network, which is 50 %. The "
    "attack does not aim at it."
)


def uncertainty_sections(group: TaskRecords) -> list[Block]:
    """Empty for records without this attack."""
    sets = group.uncertainty_sets()
    if not sets:
        return []
    parts: list[Block] = [
        "## Attacks on the uncertainty",
        figure(group, "uncertainty", "AUROC of OOD detection under attack against epsilon", FIGURE),
        paragraph(EXPLANATION),
    ]
    for name in sets:
        images = group.curves(f"uncertainty/{name}")[0]
        counts = f"{images['images_test'][0]:.0f} test images, {images['images_ood'][0]:.0f} OOD images"
        parts += [
            f"**OOD: {escaped(name)}** ({counts})",
            score_table(group, uncertainty_columns(group, name)),
            _table(group, name, "auroc"),
            paragraph(BY_INFORMATION),
            _table(group, name, "mi_auroc"),
        ]
    return parts


def _table(group: TaskRecords, name: str, column: str) -> Table:
    """A row for each method and a column for each epsilon, of the first record; seeds with other epsilons are left out."""
    curve = f"uncertainty/{name}"
    epsilons = group.curves(curve)[0]["epsilon"]
    rows = []
    for method in method_order(group):
        curves = [each for each in group.curves(curve, method) if each["epsilon"] == epsilons]
        mark = "~~" if group.failed_checks(method) else ""
        texts = [f"{mark}{_cell(curves, column, k)}{mark}" if curves else DASH for k in range(len(epsilons))]
        rows.append([method, str(len(curves)) if curves else DASH, *texts])
    return Table(["AUROC % at ε =", "n", *(f"{epsilon:g}" for epsilon in epsilons)], rows)


def _cell(curves: list[Curve], column: str, k: int) -> str:
    values = [100 * fmean(curve[f"{column}_{which}"][k] for curve in curves) for which in ATTACKED_SETS]
    if curves[0]["epsilon"][k] == 0:
        return f"{values[0]:.1f}"  # without perturbation the three are the same
    return " / ".join(f"{value:.1f}" for value in values)
