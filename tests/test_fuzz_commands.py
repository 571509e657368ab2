"""Any command line ends with an exit code and, unless that is 0, a message; it writes only where it was told to."""

import argparse
import tempfile
from contextlib import chdir
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  # it writes caches of its own in the user's folder, at its first import
import numpy as np
import pytest
from fuzz_json import TEXTS
from fuzz_settings import examples
from helpers import TINY, Failing
from hypothesis import event, given
from hypothesis import strategies as st
from record_factory import failed, record
from write_watch import outside, written

from bbh_bench import cli, hookimpl, plugins
from bbh_bench.records.store import Store

BROKEN = "x = = 1\n"
WORKS = "from bbh_bench import hookimpl\n\n@hookimpl\ndef bbh_methods():\n    return []\n"
FOLDERS = [
    "runs",
    "empty",
    "missing",
    "deeper/missing",
    ".",
    "",
    "../beside",
    "file.txt",
    "x" * 300,
    "a\nb",
    "ä",
    "\udcff",
]
FILES = [
    "runs/t/v1/m/seed0.json",
    "runs/t/v1/m/seed1.json",
    "runs/t/v1/m/seed1.npz",
    "t/v1/m/seed0.json",
    "HEAD:runs",
    "works.py",
    "broken.py",
]
WORDS = ["tiny", "failing", "tiny,tiny", "t", "m", "test-method", "map", "toy", "method", "nll", ",", "linf"]
NUMBERS = ["0", "1", "-1", "0-2", "2-0", "1000", "1e9", "nan", "9" * 30, "0.5", "90s", "1h", "4GB", "1-", "٣"]
# An argument cannot contain a null character, and absolute paths lead out of the folder on purpose.
JUNK = TEXTS.filter(lambda text: "\0" not in text and not text.startswith("/"))
VALUES = st.sampled_from([*FOLDERS, *FILES]) | st.sampled_from([*WORDS, *NUMBERS]) | JUNK
USUAL = {"--task": "tiny", "--method": "failing", "--records": "runs", "--plugin": "works.py", "--seeds": "0"}
"""Without these, hardly any command line would come to the work itself."""


@hookimpl
def bbh_tasks():
    return [TINY]


@hookimpl
def bbh_methods():
    return [Failing()]


def subcommands():
    """The parser of each command."""
    (found,) = [each for each in cli.parser()._actions if isinstance(each, argparse._SubParsersAction)]
    return found.choices


COMMANDS = subcommands()


def value_of(action):
    """Of an option or position: mostly one that it allows. A run in other processes would take seconds."""
    if action.choices is None:
        usual = [USUAL[option] for option in action.option_strings if option in USUAL]
        return st.sampled_from(usual) | VALUES if usual else VALUES
    return st.sampled_from([each for each in action.choices if each != "processes"]) | JUNK


@st.composite
def argument_lists(draw, command):
    """A command with its positions, some options with values, and sometimes something else."""
    actions = [each for each in COMMANDS[command]._actions if not isinstance(each, argparse._HelpAction)]
    parts = [[draw(value_of(each))] for each in actions if not each.option_strings and draw(st.integers(0, 9)) > 0]
    options = [each for each in actions if each.option_strings]
    for each in draw(st.lists(st.sampled_from(options), max_size=4)) if options else []:
        name = draw(st.sampled_from(each.option_strings))
        parts.append([name] if each.nargs == 0 else [name, draw(value_of(each))])
    if draw(st.integers(0, 9)) == 0:
        parts.append([draw(JUNK | st.sampled_from(["--", "-", "--unknown", "--records", "--task=", "-x"]))])
    return [command, *(word for part in draw(st.permutations(parts)) for word in part)]


def fill(folder):
    """Two finished records, one of a failed cell, and a few other files."""
    store = Store(folder / "runs")
    for seed in range(2):
        store.put(record("m", seed, 0.1 + seed / 100), {"x": np.arange(3)})
    store.put(failed("m", 2), {})
    (folder / "empty").mkdir()
    for name, text in {"file.txt": "text", "works.py": WORKS, "broken.py": BROKEN}.items():
        (folder / name).write_text(text)


@pytest.fixture(autouse=True)
def few_plugins(monkeypatch):
    """One task and a method whose fit fails at once, so that no command takes long."""
    monkeypatch.setattr(plugins, "BUILT_IN", (__name__,))
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])


@pytest.mark.parametrize("command", COMMANDS)
@examples(10)
@given(data=st.data())
def test_any_command_line_ends_with_a_code_and_a_message(command, data, capsys):
    arguments = data.draw(argument_lists(command))
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        folder = Path(root, "work")
        folder.mkdir()
        fill(folder)
        patch.setattr(tempfile, "tempdir", root)  # where a command keeps what it removes at its end
        patch.setenv("BBH_BENCH_DATA", str(folder / "empty"))
        with chdir(folder), written() as paths:
            code = exit_code(arguments)
        assert outside(paths, root) == []
    captured = capsys.readouterr()
    event(f"{code}")
    assert type(code) is int
    assert code in (0, 1, 2)
    assert code == 0 or captured.err.strip() or captured.out.strip()
    assert "Traceback" not in captured.err + captured.out


def exit_code(arguments):
    """Of a command; argparse ends the process for what it cannot parse."""
    try:
        return cli.main(arguments)
    except SystemExit as end:
        return end.code


def test_a_run_of_a_failing_method_is_watched_too(tmp_path, monkeypatch, capsys):
    """And the watch sees what a run writes: else the test above could not fail."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with written() as paths:
        assert exit_code(["run", "--task", "tiny", "--method", "failing", "--seeds", "0"]) == 1
    assert outside(paths, tmp_path) == []
    assert str(tmp_path / "runs/tiny/v1/failing/seed0.json") in outside(paths, tmp_path / "other")
    assert "out of luck" in capsys.readouterr().out
