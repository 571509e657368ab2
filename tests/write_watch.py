"""Which files and folders this process creates, changes or removes: what Python tells its audit hooks."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.utime",
}


class Watch:
    """An audit hook cannot be removed, so that there is one, which notes paths only where it is asked to."""

    def __init__(self):
        self.active = False
        self.installed = False
        self.paths = []

    def __call__(self, event, arguments):
        if not self.active:
            return
        if event == "open":
            path, mode, flags = arguments
            changes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else bool(flags & WRITING)
            found = [path] if changes else []
        else:
            found = arguments[:2] if event in CHANGES else []
        self.paths += [
            os.path.abspath(os.fsdecode(each)) for each in found if isinstance(each, str | bytes | os.PathLike)
        ]


WATCH = Watch()


@contextmanager
def written():
    """The absolute paths that are written inside. Compiled modules, which Python caches as it likes, are not written."""
    if not WATCH.installed:
        sys.addaudithook(WATCH)
        WATCH.installed = True
    cached, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    WATCH.paths, WATCH.active = [], True
    try:
        yield WATCH.paths
    finally:
        WATCH.active = False
        sys.dont_write_bytecode = cached


def outside(paths, *folders):
    """Those that are in none of the folders, but the null device and settings of the own process, such as its memory."""
    roots = [Path(os.devnull), Path("/proc/self"), *(Path(folder).absolute() for folder in folders)]
    return [path for path in paths if not any(Path(path).is_relative_to(root) for root in roots)]
