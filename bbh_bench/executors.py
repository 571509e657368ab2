"""Where cells run. So far: here, one after the other."""

from collections.abc import Iterator, Mapping

from bbh_bench.api import Arrays, LoadedTask
from bbh_bench.plan import Cell
from bbh_bench.progress import Progress
from bbh_bench.record import Record
from bbh_bench.runner import Bench, run_cell, warm_up


def inline(
    bench: Bench,
    cells: list[Cell],
    loaded: Mapping[str, LoadedTask],
) -> Iterator[tuple[Cell, Record, Arrays]]:
    """Run the cells in this process, each as soon as its predecessor's result was taken."""
    if cells:
        warm_up(bench, loaded.values())
    for number, cell in enumerate(cells, start=1):
        with Progress(f"[{number}/{len(cells)}] {cell}") as progress:
            record, arrays = run_cell(bench, cell, loaded[cell.task.name], progress)
        yield cell, record, arrays
