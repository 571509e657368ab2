"""What the statistics of a board allow to say, in a sentence."""

from bbh_bench.leaderboard.columns import overview_columns
from bbh_bench.leaderboard.rendering import code, escaped
from bbh_bench.leaderboard.statistics import column_values, comparison
from bbh_bench.leaderboard.tables import Column, TaskRecords


def verdict(group: TaskRecords) -> str:
    """Which method is ahead in the headline, in OOD detection and in robustness, and with which it is tied."""
    columns = {column.name: column for column in overview_columns(group)}
    chosen = [group.task.headline, *(name for name in columns if name.endswith("/auroc") or "/accuracy@" in name)]
    clauses = [clause for name in dict.fromkeys(chosen) if name in columns for clause in _clause(group, columns[name])]
    if clauses:
        text = "; ".join(clauses)
        return f"{text[0].upper()}{text[1:]}."
    if len(group.by_method) < 2:
        return ""
    return "No verdict: that needs two methods with three seeds each."


def _clause(group: TaskRecords, column: Column) -> list[str]:
    pairs = comparison(group, column)
    if pairs is None or len(pairs.methods) < 2:
        return []
    values = column_values(group, column).values
    ordered = sorted(pairs.methods, key=lambda name: values[name].mean, reverse=pairs.better == "higher")
    first, heading = ordered[0], escaped(column.subject.removesuffix(", %").removesuffix(" %"))
    if pairs.best() is not None:
        return [f"by {heading}, {code(first)} is ahead of each other method"]
    tied = [name for name in ordered if name in pairs.tied_with(first)]
    if len(tied) == len(ordered) - 1:
        return [f"by {heading}, no method can be told apart from {code(first)}, which has the best mean"]
    names = ", ".join(map(code, tied))
    return [f"by {heading}, {code(first)} has the best mean and cannot be told apart from {names}"]


def resolution(group: TaskRecords) -> str:
    """The smallest step of the error, and what two standard errors of a binomial are. Empty without predictions."""
    errors = [values for seeds in group.images.get("test/error", {}).values() for values in seeds.values()]
    if not errors:
        return ""
    images = len(errors[0])
    typical = min(float(values.mean()) for values in errors)
    noise = 100 * 2 * (max(typical, 1 / images) * (1 - typical) / images) ** 0.5
    return (
        f"One of the {images:,} test images is {100 / images:.2g} points of error; the images alone make an error uncertain by "
        f"±{noise:.1g} points or more."
    )
