"""A run's status as lines of a terminal: a table of running cells, or a bar for the only one."""

from bbh_bench.cli.durations import clock
from bbh_bench.cli.run_status import RunningCell, RunStatus

BAR = 10
"""Characters of a bar."""


def table(status: RunStatus, columns: int, rows: int) -> list[str]:
    """One line for each running cell, as many as fit, and a line of totals.

    At most ``rows`` lines of less than ``columns`` characters: a full line would wrap on some terminals. None if there is
    nothing to run.
    """
    if not status.total:
        return []
    cells = list(status.running.values())
    room = max(1, rows) - 1
    shown = cells if len(cells) <= room else cells[: max(0, room - 1)]
    lines = _aligned(shown, status.now(), columns)
    if len(shown) < len(cells) and room:
        lines.append(f"and {len(cells) - len(shown)} more")
    return [fitted(line, columns) for line in [*lines, status.totals()]]


def bar(status: RunStatus, columns: int) -> list[str]:
    """One line for the only running cell: a bar of its fit, and the time left of the run. None if no cell is running."""
    return [fitted(_bar_line(status, cell, columns), columns) for cell in list(status.running.values())[:1]]


def _bar_line(status: RunStatus, cell: RunningCell, columns: int) -> str:
    label = f"[{status.finished + 1}/{status.total}] {cell.name}: {cell.stage}"
    run = f"| run: {status.time_left() or 'time left unknown'}"
    with_bar = " ".join(
        part for part in (label, _share(cell, BAR), _times(cell, status.now()), _loss(cell), run) if part
    )
    if len(with_bar) < columns:
        return with_bar
    return " ".join(part for part in (label, _share(cell, 0), _times(cell, status.now()), _loss(cell), run) if part)


def _aligned(cells: list[RunningCell], now: float, columns: int) -> list[str]:
    """The columns of a table, one line for each cell; without bars where there is no room for them."""
    rows = [[cell.name, cell.stage, _share(cell, BAR), _loss(cell), _times(cell, now)] for cell in cells]
    lines = _columns(rows)
    if max(map(len, lines), default=0) < columns:
        return lines
    return _columns([[*row[:2], _share(cell, 0), *row[3:]] for row, cell in zip(rows, cells, strict=True)])


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    used = [index for index, width in enumerate(widths) if width]
    return ["  ".join(row[index].ljust(widths[index]) for index in used).rstrip() for row in rows]


def _share(cell: RunningCell, width: int) -> str:
    if cell.fraction is None:
        return ""
    full = min(width, max(0, int(width * cell.fraction)))
    drawn = f"[{'#' * full}{'-' * (width - full)}] " if width else ""
    return f"{drawn}{100 * cell.fraction:3.0f} %"


def _loss(cell: RunningCell) -> str:
    return "" if cell.loss is None else f"loss {cell.loss:#.4g}"  # with zeros at the end: columns would move


def _times(cell: RunningCell, now: float) -> str:
    left = cell.stage_left(now)
    return f"{clock(now - cell.stage_began)} elapsed{'' if left is None else f', {clock(left)} left'}"


def fitted(line: str, columns: int) -> str:
    """The line, cut off if it has not less than ``columns`` characters."""
    return line if len(line) < columns else f"{line[: max(0, columns - 4)]}..."
