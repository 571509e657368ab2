"""Arrays that several cells share: computed by the first cell that needs them, then read."""

import hashlib
import io
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from bbh_bench.api import Arrays
from bbh_bench.errors import BenchWarning
from bbh_bench.records.files import write_atomically

_KEY = "key"
_ARRAY = "array/"


class SharedArrays:
    """A folder with a file of arrays for each key; or, without a folder, arrays in memory.

    ``identity`` is part of every key: JSON values.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, object]) -> None:
        self._folder = folder
        self._identity = dict(identity)
        self._in_memory: dict[str, Arrays] = {}

    def get(self, key: str, compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of ``key``. Of several processes that need them at a time, one computes them and the others wait.

        A file that cannot be read, or that holds another key, is replaced. If it cannot be written, there is a
        ``BenchWarning``, and the next cell computes the arrays again.
        """
        whole = json.dumps(self._identity | {_KEY: key}, sort_keys=True)
        if self._folder is None:
            if whole not in self._in_memory:
                self._in_memory[whole] = _contiguous(compute())
            return self._in_memory[whole]
        path = self._folder / f"{hashlib.sha256(whole.encode()).hexdigest()}.npz"
        arrays = _read(path, whole)
        if arrays is not None:
            return arrays
        with _locked(path.with_suffix(".lock")):
            arrays = _read(path, whole)  # another process may have written it while this one waited
            if arrays is None:
                arrays = _contiguous(compute())
                _write(path, whole, arrays)
        return arrays


def _contiguous(arrays: Arrays) -> Arrays:
    """The same values in the memory layout that a file gives them, so that sums over them have the same bits."""
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _read(path: Path, key: str) -> Arrays | None:
    """The arrays of a file, or None if it is missing, damaged, or of another key."""
    try:
        with np.load(path, allow_pickle=False) as content:
            if str(content[_KEY]) != key:
                return None
            return {name.removeprefix(_ARRAY): content[name] for name in content.files if name.startswith(_ARRAY)}
    except (BadZipFile, EOFError, KeyError, OSError, ValueError, zlib.error):
        return None


def _write(path: Path, key: str, arrays: Arrays) -> None:
    content = io.BytesIO()
    named = {_KEY: np.array(key)} | {_ARRAY + name: array for name, array in arrays.items()}
    np.savez(content, **named)  # type: ignore[arg-type]
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        warnings.warn(
            f"'{path}' cannot be written ({error.strerror}): each cell computes what it could share with others",
            BenchWarning,
            stacklevel=4,
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for other processes that are inside with the same path. The lock ends with its process, however that ends.

    Without effect on Windows, and where the file cannot be created: then the same arrays may be computed twice.
    """
    try:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except (ImportError, OSError):
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
