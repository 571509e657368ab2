"""The command in a process of its own: as a module, with a reader that leaves, and interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import record_factory

from bbh_bench.records.store import Store

PLUGIN = str(Path(__file__).with_name("line_plugin.py"))
COMMAND = [sys.executable, "-m", "bbh_bench"]
RUN = ["run", "--plugin", PLUGIN, "--task", "line"]
TWO = ["--executor", "processes", "--jobs", "2"]
PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
TINY_PLUGIN = """
from bbh_bench import hookimpl
from helpers import QUICK, TINY

@hookimpl
def bbh_tasks():
    return [TINY]

@hookimpl
def bbh_methods():
    return [QUICK]
"""
REPORT = "import sys; from bbh_bench import cli; sys.exit(cli.main(['report']))"


def bbh(*arguments, folder, env=None):
    return python("-m", "bbh_bench", *arguments, folder=folder, env=env)


def python(*arguments, folder, env=None):
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_python_m_bbh_bench_is_the_command(tmp_path):
    done = bbh("--help", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: bbh-bench ")


@pytest.mark.parametrize("command", ["list", "--help", "completion bash"])
def test_a_reader_that_leaves_is_no_traceback(tmp_path, command):
    """What is printed fits into the pipe's buffer: the error comes when it is flushed, at the end."""
    line = f"{sys.executable} -m bbh_bench {command} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    first, code = done.stdout.splitlines()
    assert first
    assert code in ("0", "141")  # 0: it had written everything before head left


def test_a_run_goes_on_when_nobody_reads_its_output_any_more(tmp_path):
    run = [*COMMAND, *RUN, "--method", "talking", "--seeds", "0-19"]
    process = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("[2/20]"):
            break
    process.stdout.close()
    assert process.wait(timeout=300) == 141
    errors = process.stderr.read()
    process.stderr.close()
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
    records = Store(tmp_path / "runs").records()
    assert [record.finished for record in records] == [True] * 20  # a print that nobody reads is no failure of a method


def all_gone(group, patience=10.0):
    """Whether no process of a group is left. Python's own resource tracker ends a moment after the others."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="signals of process groups")
@pytest.mark.parametrize("executor", [[], TWO], ids=["inline", "processes"])
@pytest.mark.parametrize(
    ("send", "number", "code"),
    [(os.killpg, signal.SIGINT, 130), (os.kill, signal.SIGTERM, 143)],
    ids=["ctrl-c", "term"],
)
def test_a_signal_is_one_sentence_and_leaves_finished_records_and_no_process(tmp_path, executor, send, number, code):
    """Ctrl-C reaches the workers too, as a terminal sends it; SIGTERM reaches the run only."""
    run = [*COMMAND, *RUN, "--method", "straight,waiting", "--seeds", "0", *executor]
    process = subprocess.Popen(
        run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if {"[1/2]", "waiting"} <= {word for text in seen for word in (text[:5], text.rpartition(": ")[2].strip())}:
            break
    send(process.pid, number)
    assert process.wait(timeout=60) == code
    errors = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert errors.rpartition("bbh-bench: ")[2].startswith("stopped; the finished cells are kept")
    assert "Traceback" not in errors
    assert [record.method.name for record in Store(tmp_path / "runs").records()] == ["straight"]
    assert not list((tmp_path / "runs").rglob(".*"))
    assert all_gone(process.pid)


def test_a_run_in_processes_loads_plugin_files_there_and_gives_the_same_scores(tmp_path):
    methods = ["--method", "straight,talking,warned,broken", "--seeds", "0-1"]
    here = bbh(*RUN, *methods, "--records", "here", folder=tmp_path)
    there = bbh(*RUN, *methods, "--records", "there", *TWO, folder=tmp_path)
    assert here.returncode == there.returncode == 1  # one method is broken
    assert here.stdout.startswith("8 cells, 1 at a time\n")
    assert there.stdout.startswith("8 cells, 2 at a time\n")
    for output, prefix in ((here.stdout, ""), (there.stdout, "line talking seed 0: ")):
        for line in ("a whole line", "progress 100 %", "half a line"):
            assert f"\n{prefix}{line}\n" in output
        assert "progress 10 %" not in output
        assert re.search(r"line warned seed 1: test/mse 1\.279 in .* s\n  warning: the fit is rough\n", output)
        assert "line broken seed 0: FAILED: TypeError: this fit does not work (line_plugin.py:" in output
    assert "\nline talking seed 0: an error message\n" in there.stdout
    records = [Store(tmp_path / name).records() for name in ("here", "there")]
    assert [(r.path, r.status, r.scores) for r in records[0]] == [(r.path, r.status, r.scores) for r in records[1]]


def test_a_run_works_without_git_and_with_an_ascii_terminal(tmp_path):
    """As in a small container. Attacks import Foolbox, which imports GitPython, which looks for git."""
    set_by_others = ("GIT_PYTHON_REFRESH", "PYTHONIOENCODING")
    environment = {name: value for name, value in os.environ.items() if name not in set_by_others}
    environment |= {"PATH": str(tmp_path), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": os.pathsep.join(PATHS)}
    (tmp_path / "tiny.py").write_text(TINY_PLUGIN)
    run = ["run", "--plugin", "tiny.py", "--task", "tiny", "--method", "quick", "--seeds", "0"]
    done = bbh(*run, folder=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "NLL ?" in done.stdout  # an arrow
    (record,) = Store(tmp_path / "runs").records()
    assert "attack/fgsm/robust_accuracy_auc" in record.scores


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of processes")
def test_a_leaderboard_that_does_not_fit_on_the_disk_leaves_the_old_one(tmp_path):
    store = Store(tmp_path / "runs")
    store.put(record_factory.record(), {"a": np.zeros(1)})
    (store.root / "LEADERBOARD.md").write_text("old")
    files = sorted(store.root.rglob("*"))
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); " + REPORT
    done = python("-c", limited, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("bbh-bench: The leaderboard cannot be written to the folder 'runs' (File too large)")
    assert done.stderr.count("\n") == 1
    assert (store.root / "LEADERBOARD.md").read_text() == "old"
    assert sorted(store.root.rglob("*")) == files


def test_an_unknown_backend_of_matplotlib_is_ignored(tmp_path):
    """Figures need none. Others find the environment as it was."""
    Store(tmp_path / "runs").put(record_factory.record(), {"a": np.zeros(1)})
    code = f"import os; {REPORT.replace('sys.exit', 'code = ')}; print(code, os.environ['MPLBACKEND'])"
    done = python("-c", code, folder=tmp_path, env=os.environ | {"MPLBACKEND": "bogus"})
    assert done.stdout.splitlines()[-1:] == ["0 bogus"], done.stderr
    assert list((tmp_path / "runs").glob("*.png"))
