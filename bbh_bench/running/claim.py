"""A claim on a cell: a small file that says which run works on it, on which machine, and what the cell is doing.

The first claim on the cell ``<task>/v<n>/<method>/seed<k>.json`` of a records folder is the file of this name in ``.claims``
in that folder. A run that takes over a stale claim creates the next generation, ``seed<k>.json.2``, and then deletes the
stale file. Reading claims writes nothing and imports no torch.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bbh_bench.running.process_identity import ProcessIdentity

FOLDER = ".claims"
STALE_AFTER = 60.0
"""Seconds after which a claim that was not renewed can be taken over."""
SIZE = 1024
"""Bytes of a claim file. A constant size: a claim can then be renewed on a full disk, and in one write."""
UNKNOWN = "unknown"


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim file holds, as JSON."""

    process: ProcessIdentity
    run: str
    """Random identifier of the run."""
    began: str
    """When the cell was claimed. ISO 8601, UTC."""
    stage: str = "starting"
    fraction: float | None = None
    """The completed part of the fit, in [0, 1]."""
    loss: float | None = None

    def encode(self) -> bytes:
        """JSON, padded with spaces to a constant size."""
        return msgspec.json.encode(self).ljust(SIZE - 1) + b"\n"


@dataclass(frozen=True)
class Claim:
    """A claim as it was when it was read."""

    path: Path
    """Of the cell's record, relative to the records folder."""
    file: Path
    """Of the claim."""
    content: Content | None
    """None if the file is being written at this moment."""
    age: float
    """Seconds since it was renewed."""
    stale: bool
    """Whether its run has ended, or has not renewed it for too long: it can be taken over."""

    @property
    def host(self) -> str:
        """Name of the machine of the run."""
        return self.content.process.host if self.content else UNKNOWN

    @property
    def pid(self) -> int | None:
        """Process of the run on its machine."""
        return self.content.process.pid if self.content else None

    @property
    def run(self) -> str:
        """Random identifier of the run."""
        return self.content.run if self.content else UNKNOWN

    @property
    def began(self) -> str | None:
        """When the cell was claimed. ISO 8601, UTC."""
        return self.content.began if self.content else None

    @property
    def stage(self) -> str:
        """What the cell is doing."""
        return self.content.stage if self.content else UNKNOWN

    @property
    def fraction(self) -> float | None:
        """The completed part of the fit, in [0, 1]. None outside a fit."""
        return self.content.fraction if self.content else None

    @property
    def loss(self) -> float | None:
        """The current loss. None outside a fit, and if it is not finite."""
        return self.content.loss if self.content else None

    @property
    def generation(self) -> int:
        """1, or more for a claim that was taken over from a run that had ended."""
        return _generation(self.file.name)


def claim_file(root: Path, path: Path, generation: int) -> Path:
    """The file of a claim on the cell ``path`` of the records folder ``root``."""
    name = path.name if generation == 1 else f"{path.name}.{generation}"
    return root / FOLDER / path.parent / name


def cell_claims(root: Path, path: Path, now: float, stale_after: float) -> list[Claim]:
    """All claims on one cell, lowest generation first. ``now``: the time of the file system, in seconds since 1970."""
    folder = root / FOLDER / path.parent
    return _sorted(
        _read(root, file, now, stale_after) for file in _files(folder) if _record_name(file.name) == path.name
    )


def read_claims(root: Path, now: float, stale_after: float = STALE_AFTER) -> list[Claim]:
    """The claims of a records folder, one for each claimed cell: the live one if there is one. Sorted by path."""
    claims: dict[Path, Claim] = {}
    for folder, _, _ in os.walk(root / FOLDER):  # unlike ``Path.glob``, it tolerates that another run removes folders
        with suppress(OSError):  # a folder that cannot be read; who creates a claim in it gets the error
            for claim in _sorted(_read(root, file, now, stale_after) for file in _files(Path(folder))):
                if claim.path not in claims or claims[claim.path].stale:
                    claims[claim.path] = claim
    return sorted(claims.values(), key=lambda claim: claim.path)


def _sorted(claims: Iterator[Claim | None]) -> list[Claim]:
    return sorted((claim for claim in claims if claim is not None), key=lambda claim: (claim.path, claim.generation))


def _files(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in os.listdir(folder) if name.startswith("seed")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _record_name(name: str) -> str:
    """``seed0.json`` for ``seed0.json`` and ``seed0.json.2``."""
    start, _, end = name.rpartition(".")
    return start if end.isdecimal() else name


def _generation(name: str) -> int:
    end = name.rpartition(".")[2]
    return int(end) if end.isdecimal() else 1


def _read(root: Path, file: Path, now: float, stale_after: float) -> Claim | None:
    """One claim. None if it has been released meanwhile. A file that cannot be read counts as a live claim."""
    age, content = 0.0, None
    try:
        with file.open("rb") as stream:  # opening it also makes a network file system ask for the present time stamp
            age = max(0.0, now - os.fstat(stream.fileno()).st_mtime)
            content = decoded(stream.read())
    except FileNotFoundError:
        return None
    except OSError:
        pass
    ended = content is not None and content.process.ended
    path = file.relative_to(root / FOLDER).with_name(_record_name(file.name))
    return Claim(path, file, content, age, stale=ended or age > stale_after)


def decoded(content: bytes) -> Content | None:
    """The content of a claim file. None if it is incomplete."""
    try:
        return msgspec.json.decode(content, type=Content)
    except ValueError:  # also of msgspec's own errors and of wrong encodings
        return None
