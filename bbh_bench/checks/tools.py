"""What contract tests have in common: failures with advice, and a guard on data files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from bbh_bench.data import data_folder
from bbh_bench.errors import DataError, text


@contextmanager
def advice(what: str) -> Iterator[None]:
    """Turn any exception inside into an ``AssertionError``."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise AssertionError(f"{what} raised {type(error).__name__}: {text(error)}") from error


_watched: ContextVar[tuple[Path, str] | None] = ContextVar("watched", default=None)
"""The folder that nobody may read, and what to do instead."""


@cache
def _watch_files() -> None:
    """Install an audit hook, once per process: it cannot be removed, so it does nothing unless a folder is watched."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        watched = _watched.get()
        if event == "open" and watched is not None and isinstance(arguments[0], str):
            folder, remedy = watched
            path = Path(arguments[0]).absolute()
            bundled = "datasets" in path.parts and path.suffix not in (".py", ".pyc", ".so")  # scikit-learn's, say
            if bundled or path.is_relative_to(folder):
                raise PermissionError(f"it opened the data file '{path}'; {remedy}.")

    sys.addaudithook(hook)


@contextmanager
def no_data_files(remedy: str = "use the data of the Problem") -> Iterator[None]:
    """Refuse to open files of scikit-learn's data sets and of the data folder, inside. The message ends with the remedy."""
    _watch_files()
    try:
        folder = data_folder()
    except DataError:  # a folder that does not exist needs no guard
        folder = Path("no data folder")
    token = _watched.set((folder.absolute(), remedy))
    try:
        yield
    finally:
        _watched.reset(token)


def require(holds: object, advice: str) -> None:
    """An assertion that holds under ``python -O`` too."""
    if not holds:
        raise AssertionError(advice)
