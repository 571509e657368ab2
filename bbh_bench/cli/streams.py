"""Standard output and standard error: characters that they cannot show, and readers that are gone."""

import io
import os
import sys
from contextlib import suppress


def replace_unknown_characters() -> None:
    """Write a question mark for a character that the encoding of a standard stream lacks, instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")


def flush() -> None:
    """Write what standard output holds back. Raises ``OSError``, which the interpreter would show as a traceback at exit."""
    if sys.stdout is None:  # it is closed
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        error.filename = "standard output"
        raise


def drop_unwritable() -> None:
    """Drop what a standard stream holds back and cannot write: the interpreter would try it again when it exits."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):  # a stream without a file
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
