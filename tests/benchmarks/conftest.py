"""Performance as ratios inside one run: variants take turns, so that a busy machine slows all of them alike."""

import statistics
import time
from collections.abc import Callable

import pytest
import torch

_LINES: list[str] = []


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def compare(benchmark):
    """``compare(ours, theirs, goal)``: the median ratio of CPU times, beside its goal; shown, and never a failure."""

    def measured(
        ours: Callable[[], object],
        theirs: Callable[[], object],
        goal: float,
        rounds: int = 7,
        warm: int = 2,
        row: str = "",
        against: str = "",
    ) -> float:
        for _ in range(warm):
            ours(), theirs()
        ratios = []
        for _ in range(rounds):
            start = time.process_time()
            ours()
            middle = time.process_time()
            theirs()
            ratios.append((middle - start) / (time.process_time() - middle))
        benchmark.pedantic(ours, rounds=3)
        return note(
            benchmark, statistics.median(ratios), goal, f"[{min(ratios):.3g} - {max(ratios):.3g}]", row, against
        )

    return measured


def note(benchmark, ratio: float, goal: float, spread: str = "", row: str = "", against: str = "") -> float:
    """Keep a figure and its goal with the benchmark, and for the summary. ``row`` and ``against`` are for the table."""
    benchmark.extra_info.update(
        ratio=ratio, goal=goal, spread=spread, row=row or _words(benchmark.name), against=against
    )
    verdict = "reached" if ratio <= goal else "MISSED"
    _LINES.append(f"{benchmark.name}: {ratio:.3g} {spread} goal <= {goal:g}: {verdict}")
    return ratio


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("goals")
    for line in _LINES:
        terminalreporter.write_line(line)
