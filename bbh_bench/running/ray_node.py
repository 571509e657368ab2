"""What a node of a Ray cluster does for a run: it runs one cell in a fresh process."""

import hashlib
import os
import pickle
import platform
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import bbh_bench
from bbh_bench.records.files import process_exists
from bbh_bench.running.provenance import hardware, installed_version
from bbh_bench.running.ray_messages import Post
from bbh_bench.running.worker import WorkerSettings, run_alone

PREFIX = "bbh_bench_plugins_"


@dataclass(frozen=True)
class Installation:
    """What must be the same on the driver and on every node: a record names the driver's."""

    versions: dict[str, str | None]
    """Of Python and of packages, by name."""
    code: str
    """Digest of the source files of bbh_bench."""

    @classmethod
    def here(cls, packages: Iterable[str]) -> "Installation":
        """Of this process."""
        versions = {name: installed_version(name) for name in packages}
        return cls(versions | {"Python": platform.python_version()}, _code_digest())

    def difference(self, other: "Installation") -> str:
        """What differs, in words; '' if nothing does."""
        different = [
            f"{name} {other.versions.get(name)} instead of {mine}"
            for name, mine in self.versions.items()
            if other.versions.get(name) != mine
        ]
        if not different and self.code != other.code:
            different = ["other source files of bbh_bench"]
        return ", ".join(different)


@dataclass(frozen=True)
class Errand:
    """One attempt at a cell, as it is sent to a node. It can be unpickled wherever bbh_bench is the same."""

    settings: WorkerSettings
    """Its plugin files are those of the driver."""
    plugins: tuple[tuple[str, bytes], ...]
    """Names and contents of plugin files: a node need not have them."""
    packed: bytes
    """The pickled cell."""


def run_errand(installation: Installation, errand: bytes, mailbox: Any, number: int) -> tuple[str, Any]:
    """The remote task: what became of the cell.

    ``("result", its pickled result)``, ``("unreadable", why)`` if it cannot be unpacked, or ``("differs", what)`` if the node
    has another installation.
    """
    difference = installation.difference(Installation.here(set(installation.versions) - {"Python"}))
    if difference:
        return "differs", f"{socket.gethostname()} has {difference}"
    import ray

    attempt: Errand = pickle.loads(errand)
    settings = attempt.settings
    torch.set_num_threads(settings.threads)
    post = Post(ray, mailbox, number)
    post.send("started", ray.get_runtime_context().get_node_id(), hardware(settings.context.device))
    post.delivered()  # from now on the cell has a time limit
    with _files(attempt.plugins) as files:
        result = run_alone(replace(settings, plugin_files=files), attempt.packed, post.send)
    post.delivered()
    return ("unreadable", result) if isinstance(result, str) else ("result", pickle.dumps(result))


@contextmanager
def _files(plugins: Iterable[tuple[str, bytes]]) -> Iterator[tuple[Path, ...]]:
    """Write plugin files into a folder of this process; it is removed at the end, or, if the process dies, by a later one."""
    _remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}_") as folder:
        paths = []
        for number, (name, content) in enumerate(plugins):
            path = Path(folder, str(number), name)  # two files may have the same name
            path.parent.mkdir()
            path.write_bytes(content)
            paths.append(path)
        yield tuple(paths)


def _remove_leftovers() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        process = folder.name.removeprefix(PREFIX).partition("_")[0]
        with suppress(OSError, ValueError):
            if folder.stat().st_uid == os.getuid() and not process_exists(int(process)):
                shutil.rmtree(folder)


def _code_digest() -> str:
    """SHA-256 of all source files of the package."""
    root = Path(bbh_bench.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
