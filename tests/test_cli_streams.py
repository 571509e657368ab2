"""Standard output that nobody reads, that has no room or lacks characters; and SIGTERM. All in this process."""

import io
import os
import signal
import threading

import numpy as np
import pytest
import record_factory
from cli_helpers import refused

from bbh_bench import cli
from bbh_bench.cli.signals import sigterm_raises
from bbh_bench.errors import Terminated
from bbh_bench.records.store import Store

pytest_plugins = ["cli_fixtures"]
FIRST, SECOND = (f"runs/t/v1/m/seed{k}.json" for k in (0, 1))
COMMANDS = [
    ["list"],
    ["show", FIRST],
    ["diff", FIRST, SECOND],
    ["report"],
    ["verify"],
    ["completion", "bash"],
    ["--version"],
    [],
]


@pytest.fixture
def records(install, folder):
    """Two records, of a task that is not installed."""
    for seed in (0, 1):
        Store(folder / "runs").put(record_factory.record(seed=seed, nll=0.1 + seed), {"a": np.zeros(1)})


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_pipe_that_nobody_reads_ends_a_command_in_silence(records, capsys, monkeypatch, command):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:  # closed at the end, which writes again, as the interpreter does at exit
        monkeypatch.setattr("sys.stdout", stream)
        assert cli.main(command) == cli.READER_LEFT
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
def test_standard_output_on_a_full_disk_is_one_paragraph(records, capsys, monkeypatch):
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        refused(capsys, ["list"], "'standard output' cannot be read or written (No space left on device)")


def test_a_closed_standard_output_is_no_error(records, monkeypatch):
    monkeypatch.setattr("sys.stdout", None)
    assert cli.main(["show", FIRST]) == 0


def test_characters_that_standard_output_lacks_are_replaced(monkeypatch):
    def arrow():
        print("nll ↓")
        return 0

    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(cli, "print_version", arrow)
    assert cli.main(["--version"]) == 0
    assert raw.getvalue() == b"nll ?\n"


def test_sigterm_stops_a_command_and_the_handler_of_before_comes_back(capsys, monkeypatch):
    monkeypatch.setattr(cli, "print_version", lambda: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["--version"]) == 143
    assert capsys.readouterr().err == f"{cli.STOPPED}\n"
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_stays_as_it_is_outside_the_main_thread_and_where_it_is_ignored():
    def handler():
        with sigterm_raises():
            handlers.append(signal.getsignal(signal.SIGTERM))

    handlers, before = [], signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=handler)
    thread.start()
    thread.join()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        handler()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert handlers == [before, signal.SIG_IGN]


def test_terminated_is_no_failure_of_a_cell():
    assert not issubclass(Terminated, Exception)
