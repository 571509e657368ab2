"""The command line. One module per command: its arguments, and a function that runs it and returns the exit code.

A command imports what it needs when it runs, so that ``--help`` loads neither torch nor a plugin.
"""

import argparse
import os
import sys

from bbh_bench.cli import (
    check,
    completion,
    diff,
    listing,
    new,
    publish,
    report,
    rescore,
    run,
    show,
    status,
    streams,
    tune,
    verify,
)
from bbh_bench.cli.signals import sigterm_raises
from bbh_bench.errors import BenchError, Terminated, text

COMMANDS = (listing, new, run, tune, status, report, publish, verify, rescore, show, diff, check, completion)

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

    0; 1 if a cell failed or a check did not hold; 2 for a mistake that the user can fix, and for a file that cannot be read or
    written; 130 after Ctrl-C; 143 after SIGTERM; 141 if nobody reads the output any more.
    """
    streams.replace_unknown_characters()
    try:
        return dispatch(arguments)
    except BrokenPipeError:
        return READER_LEFT
    finally:
        streams.drop_unwritable()


def dispatch(arguments: list[str] | None) -> int:
    """Parse, run the command, and report on standard error why it stopped, in one paragraph."""
    try:
        with sigterm_raises():
            try:
                return run_command(arguments)
            finally:
                streams.flush()
    except BenchError as error:
        return stopped(f"bbh-bench: {error}", 2)
    except KeyboardInterrupt:
        return stopped(STOPPED, 130)
    except Terminated:
        return stopped(STOPPED, 143)
    except BrokenPipeError:
        raise
    except OSError as error:
        return stopped(f"bbh-bench: {unusable_file(error)}", 2)


def run_command(arguments: list[str] | None) -> int:
    """Parse and run the command."""
    top = parser()
    options = top.parse_args(arguments)
    if options.version:
        return print_version()
    if options.command is None:
        top.print_help()
        return 2
    return int(options.function(options))


def stopped(message: str, code: int) -> int:
    """Print why a command stopped, and return its exit code."""
    print(message, file=sys.stderr)
    return code


def unusable_file(error: OSError) -> str:
    """One paragraph about an error that no command expects: which file, why, and what can be done."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    file = f"'{name}'" if name else "a file"
    return (
        f"{file} cannot be read or written ({error.strerror or text(error)}). Check its path, its permissions and the room on "
        "its disk; then the same command goes on."
    )


def print_version() -> int:
    """Print the version of the package."""
    import bbh_bench

    print(f"bbh-bench {bbh_bench.__version__}")
    return 0
