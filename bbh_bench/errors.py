"""Errors and warnings that a user can act on: each says what is wrong, where, and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from traceback import walk_tb


class BenchError(Exception):
    """A mistake that a user can fix. Shown as one paragraph, without a traceback; the command then exits with code 2."""


class UnknownName(BenchError):
    """A name that no plugin registers."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        super().__init__(f"No {kind} named '{name}'. {hint}Known: {', '.join(names) or 'none'}.")


class DataError(BenchError):
    """A data file that is missing, truncated, or not the one by which the task is defined."""


class RecordError(BenchError):
    """A record that cannot be read or written, has a newer schema, or does not belong where it should be stored."""


class ContractError(BenchError):
    """A method, posterior, attack, task or metric that breaks the contract of its kind (``bbh_bench.api``)."""


class NotApplicable(BenchError):
    """Raised by a metric where there is nothing to compute it from. The record then has no such score, and no warning."""


class BenchWarning(UserWarning):
    """Something could not be done or measured; recorded with the cell and shown to the user."""


class Terminated(BaseException):
    """SIGTERM came: the command stops in an orderly way. Like ``KeyboardInterrupt``, it is no failure of a cell."""


def text(error: BaseException) -> str:
    """The message of an exception. A third party's ``__str__`` may itself raise; then what it raised."""
    try:
        return str(error)
    except (KeyboardInterrupt, Terminated):
        raise
    except BaseException as second:
        return f"its message cannot be shown: str() raised {type(second).__name__}"


def printable(message: str, longest: int = 2000) -> str:
    """A text of a third party or of a file, for a terminal: line breaks and control characters are escaped, and it ends."""
    shown = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in message[: longest + 1])
    return shown if len(message) <= longest and len(shown) <= longest else f"{shown[:longest]}..."


def one_line(message: str, longest: int = 2000) -> str:
    """The same where line breaks only divide the text."""
    return printable(" ".join(message[: 2 * longest].split()), longest)


def location(error: BaseException, package: str) -> str:
    """``file:line`` of the deepest frame in the code of a top-level ``package``, else of the deepest frame; '' if unknown."""
    if isinstance(error, SyntaxError) and isinstance(error.filename, str):
        return f"{Path(error.filename).name}:{error.lineno}"
    frames = list(walk_tb(error.__traceback__))
    own = [pair for pair in frames if str(pair[0].f_globals.get("__name__", "")).partition(".")[0] == package]
    for frame, line in (own or frames)[-1:]:
        return f"{Path(frame.f_code.co_filename).name}:{line}"
    return ""
