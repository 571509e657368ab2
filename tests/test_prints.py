"""Lines of text, collected from what is written in pieces."""

import logging
import subprocess
import sys
from contextlib import closing, redirect_stdout
from pathlib import Path

import pytest

from bbh_bench.running.prints import LineStream


@pytest.fixture
def lines():
    return []


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["a\n"], ["a"]),
        (["a", "b", "\nc\n"], ["ab", "c"]),
        (["a\n\nb\n"], ["a", "", "b"]),
        (["a\r\nb\r\n"], ["a", "b"]),
        (["\r1 %", "\r2 %", "\r3 %\n"], ["3 %"]),
        (["1 %\r", "2 %\r", "3 %\r", "\n"], ["3 %"]),
        (["\r1 %", "\r   ", "\r"], []),  # a bar that removes itself
        (["no end"], ["no end"]),
        ([], []),
    ],
)
def test_lines(lines, pieces, expected):
    with closing(LineStream(lines.append)) as stream:
        for piece in pieces:
            assert stream.write(piece) == len(piece)
            stream.flush()
    assert lines == expected


def test_a_long_bar_takes_no_memory(lines):
    stream = LineStream(lines.append)
    for k in range(100_000):
        stream.write(f"\r{k} steps")
    stream.end_line()
    assert lines == ["99999 steps"]


def test_a_prompt_is_passed_on_when_it_is_flushed(lines):
    with LineStream(lines.append, prompts=True) as stream:
        print("(Pdb) ", end="", file=stream, flush=True)
        assert lines == ["(Pdb) "]
        print("\r10 %", end="", file=stream, flush=True)  # a bar is no prompt
        assert lines == ["(Pdb) "]


def test_what_receives_lines_may_print_them(capsys):
    with closing(LineStream(lambda line: print(f"method: {line}"))) as stream, redirect_stdout(stream):
        print("hello")
    assert capsys.readouterr().out == "method: hello\n"


def test_a_reader_that_left_is_not_the_methods_failure():
    def broken(line):
        raise BrokenPipeError

    print("hello", file=LineStream(broken))


def test_it_still_works_when_it_is_closed(lines):
    """A logger that a method has set up keeps the stream."""
    stream = LineStream(lines.append)
    handler = logging.StreamHandler(stream)
    stream.close()
    handler.emit(logging.makeLogRecord({"msg": "late"}))
    assert lines == ["late"]


def test_a_debugger_works_in_a_method(tmp_path):
    """``breakpoint()`` in a fit: its prompt and its answers are seen."""
    (tmp_path / "stops.py").write_text(
        "from dataclasses import dataclass\n"
        "from bbh_bench import hookimpl\n"
        "@dataclass(frozen=True)\n"
        "class Stops:\n"
        "    name: str = 'stops'\n"
        "    version: int = 1\n"
        "    def fit(self, problem):\n"
        "        answer = 6 * 7\n"
        "        breakpoint()\n"
        "        raise ValueError\n"
        "@hookimpl\n"
        "def bbh_methods():\n"
        "    return [Stops()]\n"
    )
    plugin = Path(__file__).with_name("line_plugin.py")
    run = [
        "run",
        "--plugin",
        "stops.py",
        "--plugin",
        str(plugin),
        "--task",
        "line",
        "--method",
        "stops",
        "--seeds",
        "0",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "bbh_bench", *run],
        check=False,
        cwd=tmp_path,
        input="p answer\nc\n",
        capture_output=True,
        text=True,
    )
    assert "(Pdb)" in done.stdout
    assert "\n42\n" in done.stdout
