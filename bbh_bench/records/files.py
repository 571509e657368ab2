"""Writing files so that a reader never sees half of one, and removing what an interrupted write left behind.

Content goes to a temporary file beside its target, is forced to the disk, and takes the target's name at the end. The name of a
temporary file tells which process writes it: ``.<target>.<digest of the host>-<process id>-<random>.tmp``.
"""

import hashlib
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import IO

STALE_SECONDS = 3600.0
"""A temporary file that nobody has written to for so long is stale, whichever host its process ran on."""
TEMPORARY = re.compile(r"\.(?P<target>.+)\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-[a-z0-9_]{8}\.tmp")
UNOWNED = re.compile(r"\.(seed\d+\.(json|npz)|.+\.(md|png|pt)|probe)\.[a-z0-9_]{8}")
"""Temporary files of version 0.1, which do not tell their process."""


def write_atomically(target: Path, content: bytes) -> None:
    """Replace a file as a whole: an interruption leaves the old content or the new one. Raises ``OSError``."""
    with atomically(target) as file:
        file.write(content)


@contextmanager
def atomically(target: Path) -> Iterator[IO[bytes]]:
    """A temporary file that replaces ``target`` at the end: an interruption leaves the old file or the new one.

    Raises ``OSError``, whose ``filename`` is the target.
    """
    with _removed_if_it_fails(target) as file:
        yield file
        _complete(file)
        os.replace(file.name, target)


class Together:
    """Files that take the place of their targets together: all of them, or none if one cannot be written.

    Use it as a context manager. Files get their names at the end of the block, in the order in which they were added; if the
    block or an earlier step raises, the remaining ones are removed. A process that is killed at that point has replaced some
    targets, each as a whole.
    """

    def __init__(self) -> None:
        self._targets: dict[Path, Path] = {}
        """Target of each temporary file."""

    def __enter__(self) -> "Together":
        return self

    def add(self, target: Path, content: bytes) -> None:
        """Write the content of one file to the disk, under a temporary name. Raises ``OSError``."""
        with _removed_if_it_fails(target) as file:
            file.write(content)
            _complete(file)
            self._targets[Path(file.name)] = target

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for temporary, target in self._targets.items():
                    with _about(target):
                        os.replace(temporary, target)
        finally:
            for temporary in self._targets:  # those that have their final name are not there any more
                temporary.unlink(missing_ok=True)


def probe(folder: Path) -> None:
    """Raise ``OSError`` if no file can be created in a folder."""
    with NamedTemporaryFile(dir=folder, prefix=f".probe.{_owner()}-", suffix=".tmp"):
        pass


def clear_temporary(folder: Path) -> list[Path]:
    """Delete the stale temporary files in a folder, not below it, and return their paths.

    Stale are those of a process of this host that is dead, and those of any process that are older than an hour. A process that
    writes at this moment keeps its file. Files that cannot be deleted stay.
    """
    deleted = []
    for path in folder.glob(".*"):
        with suppress(OSError):
            if path.is_file() and _stale(path):
                path.unlink()
                deleted.append(path)
    return deleted


def being_written(target: Path) -> bool:
    """Whether there is a temporary file for ``target``."""
    found = (TEMPORARY.fullmatch(path.name) for path in target.parent.glob(".*.tmp"))
    return any(match is not None and match["target"] == target.name for match in found)


@contextmanager
def _removed_if_it_fails(target: Path) -> Iterator[IO[bytes]]:
    """A temporary file beside ``target``, which is deleted if the block raises."""
    prefix = f".{target.name}.{_owner()}-"
    with _about(target), NamedTemporaryFile(dir=target.parent, prefix=prefix, suffix=".tmp", delete=False) as file:
        try:
            yield file
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _complete(file: IO[bytes]) -> None:
    """Force what was written to the disk; a full disk shows here at the latest."""
    file.flush()
    os.fsync(file.fileno())
    os.chmod(file.name, 0o644)  # temporary files are readable by their owner only


@contextmanager
def _about(target: Path) -> Iterator[None]:
    """Let an ``OSError`` name the target: a failing write names no file, others name the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else it would be shown as "[Errno None] None"
            error.filename, error.filename2 = str(target), None
        raise


def _owner() -> str:
    """``<digest of the host>-<process id>``."""
    return f"{_host()}-{os.getpid()}"


def _host() -> str:
    """A digest of what makes a process id unique: the host, and the container on it that has process ids of its own."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not on Linux
        space = 0
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _stale(path: Path) -> bool:
    owned = TEMPORARY.fullmatch(path.name)
    if owned is not None and owned["host"] == _host() and not process_exists(int(owned["process"])):
        return True
    return bool(owned or UNOWNED.fullmatch(path.name)) and age(path) > STALE_SECONDS


def age(path: Path) -> float:
    """Seconds since a file was last written or renamed. Raises ``OSError``."""
    status = path.stat()
    return time.time() - max(status.st_mtime, status.st_ctime)


def process_exists(process: int) -> bool:
    """Whether there is a process of this number on this host. True if that cannot be known."""
    if os.name != "posix":  # elsewhere signal 0 may end a process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
