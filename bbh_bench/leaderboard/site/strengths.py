"""What the statistics allow to say for a method, in sentences."""

from collections.abc import Sequence

from bbh_bench.leaderboard.model import Row, TaskModel


def sentence(model: TaskModel, row: Row) -> str:
    """The rank of a method in the first score of a task."""
    if not row.seeds:
        return "Every cell failed."
    seeds = f"{len(row.seeds)} {'seed' if len(row.seeds) == 1 else 'seeds'}"
    if row.provisional:
        return f"Provisional: {seeds}; a rank needs three."
    ranked = sum(other.rank is not None for other in model.rows)
    if row.rank is None:
        return f"{seeds}."
    tied = [other.method for other in model.rows if other.rank == row.rank and other.method != row.method]
    shared = f", shared with {', '.join(tied)}" if tied else ""
    return f"Rank {row.rank} of {ranked} by {_subject(model)}{shared}; {seeds}."


def _subject(model: TaskModel) -> str:
    columns = (each.column for section in model.sections for each in section.columns)
    return next((column.subject for column in columns if column.name == model.headline), model.headline)


def strengths(method: str, models: Sequence[TaskModel]) -> list[str]:
    """The scores in which a method is better than each other one, by task; then those in which it shares the first rank."""
    sentences = []
    for model in models:
        columns = {each.column.name: each for section in model.sections for each in section.columns}
        best = [each.column.subject for each in columns.values() if method in each.values and each.values[method].best]
        shared = [
            f"{each.column.subject} (with {count - 1} {'other' if count == 2 else 'others'})"
            for each in columns.values()
            for count in [sum(rank == 1 for rank in each.ranks.values())]
            if each.ranks.get(method) == 1 and not each.values[method].best and count < len(each.ranks)
        ]
        where = f"{model.name} v{model.version}"
        sentences += [f"{where}: better than each other method in {', '.join(best)}."] if best else []
        sentences += [f"{where}: shares the first rank in {', '.join(shared)}."] if shared else []
    return sentences
