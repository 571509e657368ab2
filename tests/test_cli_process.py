"""The command in a process of its own: as a module, with a reader that leaves, and interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bbh_bench.records.store import Store

PLUGIN = str(Path(__file__).with_name("line_plugin.py"))
COMMAND = [sys.executable, "-m", "bbh_bench"]
RUN = ["run", "--plugin", PLUGIN, "--task", "line"]
TWO = ["--executor", "processes", "--jobs", "2"]


def bbh(*arguments, folder):
    return subprocess.run([*COMMAND, *arguments], check=False, cwd=folder, capture_output=True, text=True, timeout=300)


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
def test_ctrl_c_is_one_sentence_and_leaves_finished_records_and_no_process(tmp_path, executor):
    run = [*COMMAND, *RUN, "--method", "straight,waiting", "--seeds", "0", *executor]
    process = subprocess.Popen(
        run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    seen = []
    for line in process.stdout:
        seen.append(line)
        if {"[1/2]", "waiting"} <= {word for text in seen for word in (text[:5], text.rpartition(": ")[2].strip())}:
            break
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to the workers, too
    assert process.wait(timeout=60) == 130
    errors = process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert errors.rpartition("bbh-bench: ")[2].startswith("stopped; the finished cells are kept")
    assert "Traceback" not in errors
    assert [record.method.name for record in Store(tmp_path / "runs").records()] == ["straight"]
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
