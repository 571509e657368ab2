"""What a run shows while it goes on, on a terminal and elsewhere."""

import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import record_factory
from msgspec.structs import replace as changed

from bbh_bench.cli.display import PeriodicView, RunDisplay, TerminalView, display, ticking
from bbh_bench.cli.lines import RunLines, outcome, start_line
from bbh_bench.cli.live_lines import bar, table
from bbh_bench.cli.run_status import RunStatus
from bbh_bench.cli.terminal import LiveLines, Output, PeriodicLine
from bbh_bench.records.record import Failure
from bbh_bench.records.store import Store
from bbh_bench.running.cell import Result


class Terminal(io.StringIO):
    """A terminal without a size: that of $COLUMNS and $LINES counts."""

    def isatty(self):
        return True

    def shown(self, rows=24):
        """What a reader sees: the lines, without what was overwritten. The cursor cannot leave the last ``rows`` lines."""
        lines, row, column = [""], 0, 0
        for part in re.findall(r"\x1b\[\d*[AJ]|[\r\n]|[^\x1b\r\n]+", self.getvalue()):
            if part in "\r\n":
                row, column = row + (part == "\n"), 0
                lines += [""] * (row == len(lines))
            elif part.startswith("\x1b") and part.endswith("A"):
                row = max(0, len(lines) - rows, row - int(part[2:-1]))
            elif part.startswith("\x1b"):
                lines[row:] = [lines[row][:column]]
            else:
                lines[row] = lines[row][:column] + part + lines[row][column + len(part) :]
                column += len(part)
        return [line.rstrip() for line in lines]


class Label:
    """A cell, as far as a display looks at it."""

    def __init__(self, seed, method="map"):
        self.path = Path(f"digits5/v2/{method}/seed{seed}.json")
        self.name = f"digits5 {method} seed {seed}"

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
    assert start_line(6, 0) == "6 cells, as many at a time as there is room for"


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


class Clock:
    """Seconds, set by a test."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def on_terminal(terminal, several, folder=Path("runs")):
    """A display, all of whose events are drawn."""
    live, out = LiveLines(Output(terminal)), Output(terminal)
    lines = RunLines(folder, lambda text: live.write_above(text, out))
    return RunDisplay(lines, TerminalView(live, out, several, clock=iter(range(10**6)).__next__), several), live


def without_terminal(several=False):
    """A display, and what it writes; its status is never due."""
    written = []
    view = PeriodicView(PeriodicLine(written.append, clock=lambda: 0.0))
    return RunDisplay(RunLines(Path("runs"), written.append), view, several), written


def test_lines_without_a_terminal():
    observer, written = without_terminal()
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


def test_lines_about_cells_of_other_runs():
    observer, written = without_terminal(several=True)
    observer.run_started(CELLS, 0, 2)
    observer.cell_elsewhere(CELLS[0])
    observer.waiting(2)
    observer.waiting(2)
    observer.waiting(1)
    observer.waiting(0)
    assert written[1:] == [
        "[1/3] digits5 map seed 0: finished by another run",
        "The last 2 cells are claimed by other runs: waiting for them. bbh-bench status says what they do.",
    ]
    observer.waiting(1)
    assert written[3].startswith("The last cell is claimed by")


def test_nothing_to_run_needs_no_start_line():
    observer, written = without_terminal()
    observer.run_started([], 2, None)
    assert written == ["2 of 2 cells are finished already."]


def test_the_status_of_a_run(clock):
    status = RunStatus(CELLS, 2, clock=clock)
    for cell in CELLS[:2]:
        status.cell_started(cell)
    status.stage(CELLS[0], "fit")
    status.fitting(CELLS[0], 0.4512, 1.0)
    start = "0/3 finished, 2 running, time left unknown | "
    assert str(status) == f"{start}digits5 map seed 0: fit 45 % | digits5 map seed 1: starting"
    status.stage(CELLS[0], "attack/pgd-linf")
    assert str(status) == f"{start}digits5 map seed 0: attack/pgd-linf | digits5 map seed 1: starting"
    clock.seconds = 30.0
    status.cell_finished(CELLS[0], None)
    assert status.totals() == "1/3 finished, 1 failed, 1 running, time left unknown"
    status.cell_finished(CELLS[1], 30.0)
    assert str(status) == "2/3 finished, 1 failed, 30 s left"
    status.waiting = 1
    assert str(status) == "2/3 finished, 1 failed, 1 left to other runs, 30 s left"
    status.waiting = 0
    status.cell_elsewhere(CELLS[2])
    assert str(status) == "3/3 finished, 1 of them by other runs, 1 failed"


def test_a_status_in_one_line_names_a_few_cells(clock):
    cells = [Label(seed) for seed in range(20)]
    status = RunStatus(cells, 20, clock=clock)
    for cell in cells:
        status.cell_started(cell)
    assert str(status).count("starting") == 8
    assert str(status).endswith("| digits5 map seed 7: starting | and 12 more")


def test_late_messages_of_a_cell_that_is_over_change_nothing(clock):
    status = RunStatus(CELLS, 2, clock=clock)
    status.stage(CELLS[0], "fit")
    status.fitting(CELLS[0], 0.5, 1.0)
    assert status.running == {}


def test_the_time_left_of_a_resumed_fit_follows_from_its_own_speed(clock):
    status = RunStatus(CELLS, 2, clock=clock)
    status.cell_started(CELLS[0])
    status.stage(CELLS[0], "fit")
    running = status.running[CELLS[0].path]
    clock.seconds = 2.0
    status.fitting(CELLS[0], 0.5, 1.0)  # from a checkpoint
    assert running.stage_left(clock()) is None
    clock.seconds = 12.0
    status.fitting(CELLS[0], 0.75, 1.0)  # a quarter in ten seconds
    assert running.stage_left(clock()) == 10.0


def two_running(clock):
    """Two cells at a time, one half fitted after a minute; the third waits."""
    cells = [Label(0, "bbh"), *CELLS[1:]]
    status = RunStatus(cells, 2, clock=clock)
    for cell in cells[:2]:
        status.cell_started(cell)
    status.stage(cells[0], "fit")
    status.fitting(cells[0], 0.0, 2.0)
    clock.seconds = 60.0
    status.fitting(cells[0], 0.5, 1.2345678)
    status.stage(cells[1], "attack/pgd-linf")
    clock.seconds = 65.0
    return status


def test_a_table_of_running_cells(clock):
    status = two_running(clock)
    assert table(status, 120, 24) == [
        "digits5 bbh seed 0  fit              [#####-----]  50 %  loss 1.235  1:05 elapsed, 1:05 left",
        "digits5 map seed 1  attack/pgd-linf                                  0:05 elapsed",
        "0/3 finished, 2 running, at least 1 min left",
    ]
    assert "#" not in table(status, 90, 24)[0]  # no room for bars
    assert " 50 %  loss 1.235  1:05 elapsed, 1:05 left" in table(status, 90, 24)[0]
    assert table(status, 40, 24)[0] == "digits5 bbh seed 0  fit             ..."
    for columns in (3, 10, 40, 90, 120):
        assert max(map(len, table(status, columns, 24))) < max(4, columns)


def test_a_table_has_no_more_lines_than_its_terminal(clock):
    cells = [Label(seed) for seed in range(20)]
    status = RunStatus(cells, 20, clock=clock)
    for cell in cells:
        status.cell_started(cell)
    assert len(table(status, 100, 21)) == 21
    lines = table(status, 100, 20)
    assert len(lines) == 20
    assert lines[17:] == [
        "digits5 map seed 17  starting  0:00 elapsed",
        "and 2 more",
        "0/20 finished, 20 running, time left unknown",
    ]
    assert table(status, 100, 2)[0] == "and 20 more"
    assert table(RunStatus([], 2), 100, 24) == []
    assert table(status, 100, 1) == ["0/20 finished, 20 running, time left unknown"]


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


def test_a_table_in_place_with_results_above_it(terminal):
    observer, live = on_terminal(terminal, several=True)
    run_in_processes(observer)
    shown = terminal.shown()
    assert shown[0] == "3 cells, 2 at a time"
    assert shown[1] == "digits5 map seed 0: hello"
    assert shown[2].startswith("[1/3] digits5 map seed 1: FAILED")
    assert re.fullmatch(r"digits5 map seed 0  fit       \[####------\]  45 %  loss 1\.000  0:0\d elapsed", shown[3])
    assert re.fullmatch(r"digits5 map seed 2  starting +0:0\d elapsed", shown[4])
    assert shown[5:] == ["1/3 finished, 1 failed, 2 running, time left unknown"]
    live.close()
    assert terminal.shown()[3:] == [""]


def test_lines_that_a_narrower_window_has_wrapped_are_erased(terminal, monkeypatch):
    live = LiveLines(Output(terminal))
    live.show(["x" * 50, "y"])
    monkeypatch.setenv("COLUMNS", "20")
    terminal.truncate(0)
    live.close()
    assert "\x1b[3A" in terminal.getvalue()  # three rows of the first line and one of the second


def test_a_status_from_time_to_time_without_a_terminal():
    written, now = [], [0.0]
    periodic = PeriodicLine(written.append, seconds=30, clock=lambda: now[0])
    run_in_processes(RunDisplay(RunLines(Path("runs"), written.append), PeriodicView(periodic), several=True))
    assert written[0] == "3 cells, 2 at a time"
    assert written[1] == "digits5 map seed 0: hello"
    assert written[2].startswith("[1/3] digits5 map seed 1: FAILED")
    assert len(written) == 3
    for seconds, text in [(29, "a"), (30, "b"), (31, "c"), (60, "b"), (61, "d"), (90, "e"), (91, "f")]:
        now[0] = seconds
        periodic.show(text)
    assert written[3:] == ["b", "d", "f"]  # at least 30 s apart, and only what changed


def test_a_bar_for_each_cell_with_prints_above_it(terminal):
    observer, live = on_terminal(terminal, several=False)
    observer.run_started(CELLS, 0, None)
    observer.cell_started(CELLS[0])
    observer.stage(CELLS[0], "fit")
    observer.fitting(CELLS[0], 0.25, 1.5)
    observer.printed(CELLS[0], "hello")
    shown = terminal.shown()
    assert shown[:2] == ["3 cells, 1 at a time", "hello"]
    pattern = r"\[1/3\] digits5 map seed 0: fit \[##--------\]  25 % 0:0\d elapsed loss 1.500 \| run: time left unknown"
    assert re.fullmatch(pattern, shown[2])
    observer.cell_finished(CELLS[0], FINISHED, True)
    assert terminal.shown()[2:] == ["[1/3] digits5 map seed 0: test/nll 0.3 in 4.1 s", ""]
    observer.cell_started(CELLS[1])
    assert terminal.shown()[3] == "[2/3] digits5 map seed 1: starting 0:00 elapsed | run: 8 s left"
    live.close()
    assert terminal.shown()[3:] == [""]


def test_a_bar_says_how_long_its_fit_still_takes_and_fits_the_terminal(clock):
    status = two_running(clock)
    line = (
        "[1/3] digits5 bbh seed 0: fit [#####-----]  50 % 1:05 elapsed, 1:05 left loss 1.235 | run: at least 1 min left"
    )
    assert bar(status, 120) == [line]
    assert bar(status, len(line)) == [line.replace("[#####-----] ", "")]
    assert bar(status, 30) == ["[1/3] digits5 bbh seed 0: ..."]
    assert bar(RunStatus(CELLS, 1), 100) == []


def test_a_fit_is_drawn_ten_times_a_second_at_most_and_stages_at_once(terminal, clock):
    live, out = LiveLines(Output(terminal)), Output(terminal)
    view = TerminalView(live, out, several=False, clock=clock)
    observer = RunDisplay(RunLines(Path("runs"), lambda text: live.write_above(text, out)), view, several=False)
    observer.run_started(CELLS, 0, None)
    observer.cell_started(CELLS[0])
    observer.stage(CELLS[0], "fit")
    assert ": fit 0:00" in terminal.shown()[1]
    for clock.seconds, fraction, share in [
        (0.05, 0.1, None),
        (0.11, 0.2, " 20 %"),
        (0.2, 0.3, " 20 %"),
        (0.22, 0.4, " 40 %"),
    ]:
        observer.fitting(CELLS[0], fraction, 1.0)
        assert (share or ": fit 0:00") in terminal.shown()[1]


def test_finished_records_of_the_folder_are_first_estimates(terminal, tmp_path):
    record = record_factory.record(cost={"total/seconds": 120.0})
    task = changed(record.task, name="digits5", version=2)
    kept = Store(tmp_path).put(
        changed(record, task=task, method=changed(record.method, name="map"), seed=7), {"a": np.zeros(1)}
    )
    (tmp_path / kept.path.with_name("seed8.json")).write_text("{}")  # no record: ignored
    observer, _ = on_terminal(terminal, False, tmp_path)
    observer.run_started(CELLS, 1, None)
    observer.cell_started(CELLS[0])
    assert terminal.shown()[-1].endswith("| run: 6 min left")


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
        whole_run(observer, jobs)
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"3 cells, {jobs or 1} at a time"
    assert second == "[1/3] digits5 map seed 0: test/nll 0.3 in 4.1 s"


def whole_run(observer, jobs):
    """All events of a cell."""
    observer.run_started(CELLS, 0, jobs)
    observer.cell_started(CELLS[0])
    observer.stage(CELLS[0], "fit")
    observer.fitting(CELLS[0], 0.5, 1.0)
    observer.cell_finished(CELLS[0], FINISHED, True)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch, terminal, capsys):
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("sys.stderr", terminal)
    with display(Path("runs"), 2) as observer:
        whole_run(observer, 2)
    assert terminal.getvalue() == ""
    assert len(capsys.readouterr().out.splitlines()) == 2


class Broken(Terminal):
    """A terminal or pipe that nobody reads any more."""

    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("jobs", [None, 2])
@pytest.mark.parametrize("gone", ["closed", "broken", "missing"])
def test_an_output_that_is_gone_does_not_end_a_run(monkeypatch, terminal, jobs, gone):
    stream = {"closed": Terminal(), "broken": Broken(), "missing": None}[gone]
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    seen = []
    with display(Path("runs"), jobs) as observer:
        if gone == "closed":
            stream.close()
        whole_run(observer, jobs)
        observer.printed(CELLS[0], "hello")
        seen.append(observer)
    assert len(seen) == 1


def test_characters_that_an_output_lacks_are_escaped():
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii", newline="\n")
    Output(stream).line("ε 0.1")
    assert buffer.getvalue() == b"\\u03b5 0.1\n"


def test_times_go_on_where_nothing_happens():
    ticks, enough = [], threading.Event()

    def tick():
        ticks.append(1)
        if len(ticks) == 3:
            enough.set()

    with ticking(tick, 0.001):
        assert enough.wait(60)
    number = len(ticks)
    assert not [thread for thread in threading.enumerate() if thread.name == "display"]
    assert len(ticks) == number
