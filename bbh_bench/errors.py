"""What a user can mend: each error says what is wrong, where, and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class BenchError(Exception):
    """Shown to the user as one paragraph, without a traceback; the command line then exits with code 2."""


class UnknownName(BenchError):
    """A name that no plugin registers."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        super().__init__(f"No {kind} named '{name}'. {hint}Known: {', '.join(names) or 'none'}.")


class DataError(BenchError):
    """A data file that is missing, truncated or other than the one the task is defined by."""


class RecordError(BenchError):
    """A record that can't be read, is of a newer schema, or doesn't belong where it is to go."""


class ContractError(BenchError):
    """A method, posterior, attack or plugin that doesn't keep the promises of its kind."""


class BenchWarning(UserWarning):
    """Something could not be done or measured; recorded with the cell and shown to the user."""
