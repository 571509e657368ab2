"""What a run shows while it goes on, on a terminal and elsewhere."""

import io
from pathlib import Path

import pytest
import record_factory
from msgspec.structs import replace as changed

from bbh_bench.cli.display import BarDisplay, LineDisplay, ProcessDisplay, display
from bbh_bench.cli.lines import RunLines, outcome, start_line
from bbh_bench.cli.status import RunStatus
from bbh_bench.cli.terminal import PeriodicLine, StatusLine, width, write_above
from bbh_bench.records.record import Failure
from bbh_bench.running.cell import Result


class Terminal(io.StringIO):
    """A terminal without a size: that of $COLUMNS counts."""

    def isatty(self):
        return True

    def shown(self):
        """What a reader sees: the lines, without what was overwritten."""
        lines = []
        for line in self.getvalue().split("\n"):
            text = ""
            for part in line.split("\r"):
                text = part + text[len(part) :]
            lines.append(text.rstrip())
        return lines


class Label:
    """A cell, as far as a display looks at it."""

    def __init__(self, seed):
        self.path = Path(f"digits5/v2/map/seed{seed}.json")
        self.name = f"digits5 map seed {seed}"

    def __str__(self):
        return self.name


CELLS = [Label(seed) for seed in range(3)]
FINISHED = Result(record_factory.record(nll=0.1 + 0.2, cost={"total/seconds": 4.06}), {})
ERROR = Failure(
    type="TypeError", message="no luck.\nMore.", location="blur.py:14", traceback="Traceback (most ...)\nTypeError\n"
)
FAILED = Result(record_factory.record(nll=0.1 + 0.2, status="failed", error=ERROR, scores={}, cost={}), {})


def test_start_line():
    assert start_line(48, 2) == "48 cells, 2 at a time"
    assert start_line(1, 8) == "1 cell, 1 at a time"
    assert start_line(6, None) == "6 cells, 1 at a time"


def test_outcome():
    assert outcome(FINISHED.record, Path("runs"), stored=True) == "test/nll 0.3 in 4.1 s"
    failed = "FAILED: TypeError: no luck (blur.py:14)."
    command = "bbh-bench show runs/t/v1/m/seed0.json prints the traceback."
    assert outcome(FAILED.record, Path("runs"), stored=True) == f"{failed} {command}"
    assert "show 'my runs/t/v1" in outcome(FAILED.record, Path("my runs"), stored=True)
    kept = f"{failed} The finished record of this cell is kept.\n{ERROR.traceback.rstrip()}"
    assert outcome(FAILED.record, Path("runs"), stored=False) == kept
    nowhere = changed(FAILED.record, error=changed(ERROR, location=""))
    assert outcome(nowhere, Path("runs"), stored=True).startswith("FAILED: TypeError: no luck. bbh-bench show")


def test_lines_without_a_terminal():
    written = []
    observer = LineDisplay(RunLines(Path("runs"), written.append))
    observer.run_started(CELLS[:2], 1, None)
    assert written == ["1 of 3 cells are finished already.", "2 cells, 1 at a time"]
    observer.cell_started(CELLS[0])
    observer.stage(CELLS[0], "fit")
    observer.fitting(CELLS[0], 0.5, 1.0)
    observer.printed(CELLS[0], "hello")
    warned = Result(changed(FINISHED.record, warnings=["its size gets a dash", "and more"]), {})
    observer.cell_finished(CELLS[0], warned, True)
    observer.cell_finished(CELLS[1], FAILED, True)
    assert written[2:5] == [
        "hello",
        "[1/2] digits5 map seed 0: test/nll 0.3 in 4.1 s",
        "  warning: its size gets a dash",
    ]
    assert written[5] == "  warning: and more"
    assert written[6].startswith("[2/2] digits5 map seed 1: FAILED: TypeError")


def test_nothing_to_run_needs_no_start_line():
    written = []
    LineDisplay(RunLines(Path("runs"), written.append)).run_started([], 2, None)
    assert written == ["2 of 2 cells are finished already."]


def test_the_status_of_a_run():
    status = RunStatus(48)
    for cell in CELLS[:2]:
        status.cell_started(cell)
    status.stage(CELLS[0], "fit")
    status.fitting(CELLS[0], 0.4512)
    assert str(status) == "0/48 finished | digits5 map seed 0: fit 45 % | digits5 map seed 1: starting"
    status.stage(CELLS[0], "attack/pgd-linf")
    assert str(status) == "0/48 finished | digits5 map seed 0: attack/pgd-linf | digits5 map seed 1: starting"
    status.cell_finished(CELLS[0], failed=True)
    status.cell_finished(CELLS[1], failed=False)
    assert str(status) == "2/48 finished, 1 failed"


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


def run_in_processes(observer):
    """Two cells at a time, the third waits; one prints."""
    observer.run_started(CELLS, 0, 2)
    for cell in CELLS[:2]:
        observer.cell_started(cell)
        observer.stage(cell, "fit")
    observer.fitting(CELLS[0], 0.45, 1.0)
    observer.stage(CELLS[1], "attack/pgd-linf")
    observer.printed(CELLS[0], "hello")
    observer.cell_finished(CELLS[1], FAILED, True)
    observer.cell_started(CELLS[2])


def test_a_status_line_in_place_with_results_above_it(terminal):
    status = StatusLine(terminal)
    lines = RunLines(Path("runs"), lambda text: write_above(text, terminal))
    run_in_processes(ProcessDisplay(lines, status.show))
    shown = terminal.shown()
    assert shown[0] == "3 cells, 2 at a time"
    assert shown[1] == "digits5 map seed 0: hello"
    assert shown[2].startswith("[1/3] digits5 map seed 1: FAILED")
    assert shown[3] == "1/3 finished, 1 failed | digits5 map seed 0: fit 45 % | digits5 map seed 2: starting"
    assert len(shown) == 4
    assert "0/3 finished | digits5 map seed 0: fit 45 % | digits5 map seed 1: attack/pgd-linf" in terminal.getvalue()
    status.close()
    assert terminal.shown()[3] == ""


def test_a_status_line_is_cut_off_at_the_width_of_the_terminal(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert width(terminal) == 40
    status = StatusLine(terminal)
    status.show("x" * 39)
    assert terminal.shown() == ["x" * 39]
    status.show("y" * 40)
    assert terminal.shown() == ["y" * 36 + "..."]
    status.close()


def test_a_status_from_time_to_time_without_a_terminal():
    written, now = [], [0.0]
    periodic = PeriodicLine(written.append, seconds=30, clock=lambda: now[0])
    run_in_processes(ProcessDisplay(RunLines(Path("runs"), written.append), periodic.show))
    assert written[0] == "3 cells, 2 at a time"
    assert written[1] == "digits5 map seed 0: hello"
    assert written[2].startswith("[1/3] digits5 map seed 1: FAILED")
    assert len(written) == 3
    for seconds, text in [(29, "a"), (30, "b"), (31, "c"), (60, "b"), (61, "d"), (90, "e"), (91, "f")]:
        now[0] = seconds
        periodic.show(text)
    assert written[3:] == ["b", "d", "f"]  # at least 30 s apart, and only what changed


def test_a_bar_for_each_cell_with_prints_above_it(terminal):
    observer = BarDisplay(RunLines(Path("runs"), lambda text: write_above(text, terminal)), terminal)
    observer.run_started(CELLS, 0, None)
    observer.cell_started(CELLS[0])
    observer.stage(CELLS[0], "fit")
    observer.fitting(CELLS[0], 0.25, 1.5)
    observer.printed(CELLS[0], "hello")
    shown = terminal.shown()
    assert shown[:2] == ["3 cells, 1 at a time", "hello"]
    assert shown[2].startswith("[1/3] digits5 map seed 0: fit:")
    assert "25%" in shown[2]
    assert "elapsed" in shown[2]
    assert "left, loss 1.5" in shown[2]
    observer.cell_finished(CELLS[0], FINISHED, True)
    assert terminal.shown()[2:] == ["[1/3] digits5 map seed 0: test/nll 0.3 in 4.1 s", ""]
    observer.cell_started(CELLS[1])
    assert terminal.shown()[3].startswith("[2/3] digits5 map seed 1:")
    observer.close()
    assert terminal.shown()[3] == ""


@pytest.mark.parametrize("jobs", [None, 2])
def test_the_display_of_a_terminal_is_removed_whatever_happens(monkeypatch, terminal, jobs):
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("sys.stdout", terminal)

    def interrupted():
        with display(Path("runs"), jobs) as observer:
            observer.run_started(CELLS, 0, jobs)
            observer.cell_started(CELLS[0])
            assert "digits5 map seed 0" in terminal.shown()[1]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert terminal.shown() == [f"3 cells, {jobs or 1} at a time", ""]


@pytest.mark.parametrize("jobs", [None, 2])
def test_without_a_terminal_there_are_lines_only(capsys, jobs):
    with display(Path("runs"), jobs) as observer:
        observer.run_started(CELLS, 0, jobs)
        observer.cell_started(CELLS[0])
        observer.stage(CELLS[0], "fit")
        observer.fitting(CELLS[0], 0.5, 1.0)
        observer.cell_finished(CELLS[0], FINISHED, True)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"3 cells, {jobs or 1} at a time"
    assert second == "[1/3] digits5 map seed 0: test/nll 0.3 in 4.1 s"
