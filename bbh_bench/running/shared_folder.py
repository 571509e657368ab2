"""Files in a folder that several runs, perhaps on several machines, create and remove at the same time."""

import errno
import os
import stat
import time
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

CLOCK = ".clock."
"""Prefix of the files from which the time of the file system is read."""
ATTEMPTS = 100
"""To create a file in a folder: another run may remove the folder, which is empty, at the same moment."""


class FileSystemClock:
    """The time by which a file system stamps files: on a network, it is not that of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._measured = False
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._offset

    def measure(self) -> None:
        """Read the time stamp of a new file in the folder. Keeps the last value if there can be none."""
        with suppress(OSError), NamedTemporaryFile(dir=self._folder, prefix=CLOCK) as file:
            self._offset = os.fstat(file.fileno()).st_mtime - time.monotonic()
            self._measured = True

    def clear(self, seconds: float) -> None:
        """Remove files of runs that were killed while they measured, if they are older than that."""
        with suppress(OSError):  # another run has removed one, or the folder
            for name in os.listdir(self._folder):
                file = self._folder / name
                if name.startswith(CLOCK) and self.now() - file.stat().st_mtime > seconds:
                    file.unlink()

    def measure_first(self) -> None:
        """Create the folder and measure, unless that was done. Raises ``OSError`` if the folder cannot be created."""
        for _ in range(ATTEMPTS):
            if self._measured:
                return
            with suppress(FileNotFoundError):
                make_folder(self._folder)
            self.measure()


def create_exclusively(file: Path, content: bytes) -> bool:
    """Create a file and its folder. False if the file exists. Raises ``OSError``."""
    try:
        descriptor = _open_new(file)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
    except OSError:
        with suppress(OSError):
            file.unlink()
        raise
    return True


def _open_new(file: Path) -> int:
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            make_folder(file.parent)
            return os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))


def make_folder(folder: Path) -> None:
    """Create a folder unless it exists. Raises ``OSError``; ``FileNotFoundError`` if it was removed at the same moment."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        if stat.S_ISDIR(folder.stat().st_mode):
            return
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def remove_empty(folder: Path) -> None:
    """Remove a folder and those in it as far as they are empty."""
    for place, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # it is not empty, or another run has removed it
            os.rmdir(place)
