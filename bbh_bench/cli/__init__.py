"""The command line. One module per command: its arguments, and a function that runs it and returns the exit code.

A command imports what it needs when it runs, so that ``--help`` loads neither torch nor a plugin.
"""

import argparse
import os
import sys

from bbh_bench.cli import check, completion, diff, listing, publish, report, rescore, run, show, status, verify
from bbh_bench.errors import BenchError

COMMANDS = (listing, run, status, report, publish, verify, rescore, show, diff, check, completion)

STOPPED = "bbh-bench: stopped; the finished cells are kept, and the same command goes on with the rest."
READER_LEFT = 141
"""Exit code if nobody reads the output any more, as in ``bbh-bench list | head -1``: that of a program ended by SIGPIPE."""


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(
        prog="bbh-bench", description="Benchmark methods that make neural networks know what they do not know."
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for module in COMMANDS:
        module.add_parser(commands)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; 1 if a cell failed or a check did not hold; 2 for a mistake that the user can fix; 130 after Ctrl-C; 141 if nobody reads
    the output any more.
    """
    try:
        try:
            return dispatch(arguments)
        finally:
            sys.stdout.flush()  # the interpreter would do it too late to handle the error
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes again when it exits
        return READER_LEFT


def dispatch(arguments: list[str] | None) -> int:
    """Parse, run the command, and report what the user can fix on standard error."""
    top = parser()
    options = top.parse_args(arguments)
    if options.version:
        return print_version()
    if options.command is None:
        top.print_help()
        return 2
    try:
        return int(options.function(options))
    except BenchError as error:
        print(f"bbh-bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return 130


def print_version() -> int:
    """Print the version of the package."""
    import bbh_bench

    print(f"bbh-bench {bbh_bench.__version__}")
    return 0
