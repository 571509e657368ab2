"""The board's part on attacks: worst cases, each attack's curve, the paper's attack beside the adaptive ones, the audit."""

from collections.abc import Callable, Mapping
from statistics import mean
from typing import Any

from bbh_bench.leaderboard import figures
from bbh_bench.leaderboard.rendering import DASH, markdown_table, score, table
from bbh_bench.leaderboard.tables import TaskRecords, order

Curve = dict[str, list[float]]
Check = dict[str, Any]
NORMS = {"linf": "L∞", "l2": "L2"}
PAPER, ADAPTIVE = "paper-fgsm", ("fgsm", "pgd-linf")
OWN = "Below, accuracies by fresh networks, and in brackets by those that the attacker drew."
SIGNS = {"pass": "✓", "fail": "✗", "not applicable": DASH}


def under_attack(group: TaskRecords) -> list[str]:
    """All of it; nothing for records without attacks."""
    names = group.attacks()
    if not names:
        return []
    parts = ["### Under attack"]
    if any(group.has(f"robust/{norm}") for norm in NORMS):
        parts += [_picture(group), *_worst(group)]
    areas = [score(group, name, f"attack/{name}/accuracy_area") for name in names]
    parts += ["**Degradation, attack by attack**, each over its own epsilons", table(group, areas)]
    smallest = [score(group, name, f"attack/{name}/median_distance") for name in names]
    if any(group.has(column.key) for column in smallest):
        held = [column for column in smallest if group.has(column.key)]
        parts += ["**Median smallest perturbation**, in the attack's norm", table(group, held)]
    parts += [*_papers(group), OWN]
    for name in names:
        parts += [f"**{name}**: {_how(group, name)}", _attack_table(group, name)]
    return [*parts, *_audit(group)]


def badges(group: TaskRecords) -> dict[str, str]:
    """For each method, how many of the audit's items that apply were passed, over all seeds."""
    found = {}
    for method in order(group):
        verdicts = [check["verdict"] for _, _, check in _checks(group, method)]
        passed, failed = verdicts.count("pass"), verdicts.count("fail")
        if passed or failed:
            found[method] = f"{SIGNS['fail' if failed else 'pass']} {passed}/{passed + failed}"
    return found


def struck_out(group: TaskRecords) -> list[str]:
    """Why figures are struck out: one paragraph."""
    reasons = [
        f"`{method}` (seed {seed}): {check['line']} is {_figure(check)}, and {check['limit']:.1f} would pass"
        for method in order(group)
        for seed, _, check in group.unsound(method)
    ]
    return [f"~~Struck out~~, for its audit failed: {'; '.join(reasons)}."] if reasons else []


def _checks(group: TaskRecords, method: str) -> list[tuple[int, str, Check]]:
    return [
        (record.seed, name, check)
        for record in group.finished
        for name, check in record.audit.items()
        if record.method["name"] == method
    ]


def _figure(check: Check) -> str:
    return f"{check['figure']:.1f} {check['unit']}"


def _picture(group: TaskRecords) -> str:
    return (
        "Mean over images and seeds; the band is one standard error over seeds, of one seed the 95 % interval of its images. "
        "Dashed: the audit failed."
        f"\n\n![Accuracy and entropy along epsilon under each attack]({figures.name(group, 'attacks')})"
    )


def _worst(group: TaskRecords) -> list[str]:
    parts = []
    for norm, sign in NORMS.items():
        if group.has(f"robust/{norm}"):
            title = f"**Worst case over the {sign} attacks**: accuracy %, its Wilson 95 % interval (mean over seeds)"
            parts += [title, _curve_table(group, f"robust/{norm}", _with_interval)]
    return parts


def _with_interval(curves: list[Curve], k: int) -> str:
    accuracy, low, high = (
        100 * mean(curve[column][k] for curve in curves) for column in ("accuracy", "accuracy_low", "accuracy_high")
    )
    return f"{accuracy:.1f} [{low:.0f}, {high:.0f}]"


def _attack_table(group: TaskRecords, name: str) -> str:
    """Accuracy at each epsilon by fresh networks, in brackets by the attacker's; entropy and what it tells at the last."""

    def accuracy(curves: list[Curve], k: int) -> str:
        own = f" ({_mean(curves, 'own_accuracy', k, 100)})" if "own_accuracy" in curves[0] else ""
        return _mean(curves, "accuracy", k, 100) + own

    return _curve_table(
        group,
        f"attack/{name}",
        accuracy,
        {
            "entropy at the last ε": lambda curves: _mean(curves, "entropy", -1, digits=3),
            "flagged by entropy, AUROC": lambda curves: _mean(curves, "flagged", -1, digits=3),
        },
    )


def _curve_table(
    group: TaskRecords,
    name: str,
    cell: Callable[[list[Curve], int], str],
    last: Mapping[str, Callable[[list[Curve]], str]] | None = None,
) -> str:
    """A row a method, a column an epsilon, over the seeds that were attacked at those of the heading."""
    last = last or {}
    epsilons = group.curves(name)[0]["epsilon"]
    rows = []
    for method in order(group):
        same = [curve for curve in group.curves(name, method) if curve["epsilon"] == epsilons]
        cells = [cell(same, k) for k in range(len(epsilons))] + [text(same) for text in last.values()] if same else []
        mark = "~~" if group.unsound(method) else ""
        shown = [f"{mark}{text}{mark}" for text in cells] or [DASH] * (len(epsilons) + len(last))
        rows.append([method, str(len(same)) if same else DASH, *shown])
    return markdown_table(["accuracy % at ε =", "n", *(f"{epsilon:g}" for epsilon in epsilons), *last], rows)


def _mean(curves: list[Curve], column: str, k: int, factor: float = 1, digits: int = 1) -> str:
    if column not in curves[0]:
        return DASH
    return f"{factor * mean(curve[column][k] for curve in curves):.{digits}f}"


def _how(group: TaskRecords, name: str) -> str:
    """What the records say of an attack's settings, in a line."""
    held = (attack for record in group.finished for attack in record.task.get("attacks", []))
    settings: dict[str, Any] = next((attack for attack in held if attack["name"] == name), {})
    shown = ("version", "norm", "access", "draws", "steps", "rel_stepsize", "stepsize", "restarts")
    said = [f"{key.replace('_', ' ')} {settings[key]}" for key in shown if key in settings]
    images = group.curves(f"attack/{name}")[0].get("images", [])
    return ", ".join([*said, *(f"{n:.0f} images" for n in images[:1])])


def _papers(group: TaskRecords) -> list[str]:
    """The paper's attack beside the adaptive ones, at the epsilons that they share."""
    names = [name for name in (PAPER, *ADAPTIVE) if group.has(f"attack/{name}")]
    if len(names) < 2 or names[0] != PAPER:
        return []
    grids = [group.curves(f"attack/{name}")[0]["epsilon"] for name in names]
    epsilons = sorted(set(grids[0]).intersection(*grids[1:]) - {0.0})
    rows = []
    for method in order(group):
        held = {name: group.curves(f"attack/{name}", method) for name in names}
        if all(held.values()):
            accuracies = [
                " / ".join(_at(held[name], epsilon, "accuracy", 100, 1) for name in names) for epsilon in epsilons
            ]
            moved = [_at(held[name], epsilons[-1], "moved", 1, 3) for name in names[:2]]
            rows.append([method, *accuracies, " / ".join(moved)])
    headings = ["at ε =", *(f"{epsilon:g}" for epsilon in epsilons), f"mean change of a pixel at ε = {epsilons[-1]:g}"]
    return [
        f"**The paper's attack beside the adaptive ones**: accuracy % under {' / '.join(names)}, and how far the first two "
        "move the images. Where draws disagree, the paper's doesn't spend its budget.",
        markdown_table(headings, rows),
    ]


def _at(curves: list[Curve], epsilon: float, column: str, factor: float, digits: int) -> str:
    same = [curve for curve in curves if epsilon in curve["epsilon"] and column in curve]
    return f"{factor * mean(c[column][c['epsilon'].index(epsilon)] for c in same):.{digits}f}" if same else DASH


def _audit(group: TaskRecords) -> list[str]:
    """A row a method, a column an item: the figure that comes nearest to its limit, or exceeds it most, over the seeds."""
    items = {name: check for record in group.finished for name, check in record.audit.items()}
    if not items:
        return []
    rows = []
    for method in order(group):
        checks = _checks(group, method)
        rows.append([method, *(_worst_check([check for _, n, check in checks if n == name]) for name in items)])
    headings = [f"{name.replace('_', ' ')}, {check['unit']}" for name, check in items.items()]
    lines = [f"- *{name.replace('_', ' ')}*: {check['line']}" for name, check in items.items()]
    return [
        "**Audit**: the figure of the seed that comes nearest to its limit. Differences of accuracy are allowed two standard "
        "errors beside their limit; each record has both.",
        markdown_table(["method", *headings], rows),
        "\n".join(lines),
    ]


def _worst_check(checks: list[Check]) -> str:
    measured = [check for check in checks if check["verdict"] != "not applicable"]
    if not measured:
        return DASH
    worst = max(measured, key=lambda check: check["figure"] - check["limit"])
    return f"{SIGNS[worst['verdict']]} {worst['figure']:.1f}"
