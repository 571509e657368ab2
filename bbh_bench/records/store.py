"""A folder of records, each with its stored arrays beside it; a run skips the cells that it has.

The JSON file of a record is what counts: it names the file of its arrays, which has its final name first. New arrays never
overwrite those of a record: an interruption at any moment leaves the old record with its arrays, or the new one with its own.
"""

import gc
import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np

from bbh_bench.errors import RecordError, printable
from bbh_bench.records.files import Together, age, being_written, clear_temporary, probe
from bbh_bench.records.limits import DAMAGED_ARCHIVE, LARGEST_ARRAYS, read_limited, unpacked
from bbh_bench.records.record import ARRAYS, Predictions, Record

STALE_SECONDS = 60.0
"""Age from which arrays that no record names are stale."""


class Store:
    """The folder; it need not exist before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def records(self) -> list[Record]:
        """All records, sorted by path. Raises ``RecordError`` if one cannot be read: nothing may be lost unseen."""
        records, unreadable = self.readable()
        if unreadable:
            raise RecordError(unreadable[0])
        return records

    def readable(self) -> tuple[list[Record], list[str]]:
        """The records that can be read, sorted by path, and a sentence about each file that is none or is at a wrong place.

        Raises ``RecordError`` if there is no folder.
        """
        self.require_folder()
        files = sorted(self.root.rglob("seed*.json"))
        hidden = {file for file in files if any(part.startswith(".") for part in file.relative_to(self.root).parts)}
        return readable_records([file for file in files if file not in hidden], self.root)

    def require_folder(self) -> None:
        """Raise ``RecordError`` if there is no folder."""
        if not self.root.is_dir():
            raise RecordError(f"There is no folder '{self.root}' to read records from; `bbh-bench run` makes records.")

    def some_readable(self) -> tuple[list[Record], list[str]]:
        """``readable``; raises ``RecordError`` if no record can be read."""
        records, unreadable = self.readable()
        return (records, unreadable) if records else (self.some_records(), [])

    def some_records(self) -> list[Record]:
        """All records. Raises ``RecordError`` if there are none: then it is probably the wrong folder."""
        if self.root.is_dir() and not any(self.root.glob("*/v*/*/seed*.json")):
            raise RecordError(
                f"There are no records in '{self.root}'; name the folder that holds <task>/v<n>/<method>/seed<k>.json."
            )
        return self.records()

    def prepare(self) -> None:
        """Create the folder and clear it of stale files. Raises ``RecordError`` if it cannot be written to."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe(self.root)
        except OSError as error:
            raise RecordError(
                f"The folder '{self.root}' cannot be written to ({error.strerror}). Name another one (see --help)."
            ) from error
        self.clear_stale()

    def clear_stale(self) -> list[Path]:
        """Delete what interrupted writes left, and return its paths. Other runs may write to the folder meanwhile.

        Temporary files go if their process is dead, or if they are older than an hour (see ``files.clear_temporary``). Arrays
        ``seed<k>*.npz`` go if the record beside them does not name them, they are older than a minute, and nobody is writing
        that record: arrays get their name when the temporary file of their record is there, and just before it gets its own.
        Should another host not see that file for longer than a minute, its cell runs again; no record ever has wrong arrays.
        Arrays of a record that cannot be read stay: it may be restored.
        """
        folders = sorted({path.parent for path in self.root.glob("*/v*/*/*seed*")})
        deleted = [path for folder in [self.root, *folders] for path in clear_temporary(folder)]
        for folder in folders:
            for path in sorted(folder.glob("seed*.npz")):
                with suppress(OSError):
                    if age(path) > STALE_SECONDS and _without_record(path):
                        path.unlink()
                        deleted.append(path)
        return deleted

    def complete(self, record: Record) -> bool:
        """Whether the arrays of a finished record are beside it, unchanged."""
        try:
            self.packed(record)
        except RecordError:
            return False
        return True

    def get(self, path: Path) -> Record | None:
        """The record at a relative path, or None. Raises ``RecordError``."""
        return Record.read(self.root / path) if (self.root / path).exists() else None

    def put(self, record: Record, arrays: Mapping[str, np.ndarray]) -> Record:
        """Write a record and its arrays, none for a failed cell, and return the record, which names their file.

        Raises ``ValueError`` before anything is written if the record holds NaN or infinity, and ``OSError``.
        """
        if not arrays:
            return self.put_packed(record, None)
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
        return self.put_packed(record, packed.getvalue())

    def put_packed(self, record: Record, content: bytes | None) -> Record:
        """``put`` for arrays that are packed already."""
        return self.put_all([(record, content)])[0]

    def put_all(self, results: Iterable[tuple[Record, bytes | None]]) -> list[Record]:
        """Write all records with their packed arrays, or none of them, and return the records, which name the files.

        First all files are written to the disk under temporary names. Then the arrays get their names, then the records. A
        process that is killed meanwhile leaves each record with its own arrays, the old one or the new one; the same call
        completes it. Arrays that a record does not name any more are deleted at the end. Raises ``ValueError`` and ``OSError``
        as ``put`` does.
        """
        stored = []
        with Together() as jsons, Together() as files:  # the inner one is completed first
            for record, content in results:
                record.to_json()  # what cannot be stored must show before a folder is created
                target = self.root / record.path
                target.parent.mkdir(parents=True, exist_ok=True)
                named = record if content is None else _with_arrays(record, content, target, files)
                jsons.add(target, named.to_json().encode())
                stored.append(named)
        for record in stored:
            target = self.root / record.path
            for path in target.parent.glob(f"{target.stem}*.npz"):
                with suppress(OSError):  # it can stay: it is stale
                    if _record_of(path) == target and _without_record(path):
                        path.unlink()
        return stored

    def arrays(self, record: Record, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        """The stored arrays of a finished record, or those of these names.

        Raises ``RecordError`` if their file is missing, changed or damaged.
        """
        content = self.packed(record)
        try:
            return unpacked(content, names)
        except (*DAMAGED_ARCHIVE, ValueError) as error:
            raise RecordError(
                f"The arrays of '{self.root / record.path}' cannot be unpacked ({printable(str(error))}). Run the cell again."
            ) from error

    def packed(self, record: Record) -> bytes:
        """The file of arrays, checked against the record's digest. Raises ``RecordError``."""
        if record.predictions is None:
            raise RecordError(f"The record '{self.root / record.path}' is of a failed cell and has no arrays.")
        path = self.root / record.path.with_name(record.predictions.file)
        try:
            content = read_limited(path, LARGEST_ARRAYS)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise RecordError(f"The arrays '{path}' cannot be read ({reason}). Run the cell again.") from error
        if hashlib.sha256(content).hexdigest() != record.predictions.sha256:
            raise RecordError(
                f"The arrays '{path}' are not those of their record: the digests differ. Run the cell again."
            )
        return content


def readable_records(files: Iterable[Path], root: Path | None = None) -> tuple[list[Record], list[str]]:
    """The records of files, and a sentence about each file that is none, or is not where it belongs in ``root``."""
    records, unreadable = [], []
    with collector_paused():
        for file in files:
            try:
                record = Record.read(file)
            except RecordError as error:
                unreadable.append(str(error))
                continue
            if root is not None and record.path != file.relative_to(root):
                unreadable.append(
                    f"The record '{file}' says that it is '{printable(str(record.path))}'; move it there, or delete it."
                )
            else:
                records.append(record)
    return records, unreadable


@contextmanager
def collector_paused() -> Iterator[None]:
    """Records are many objects that live long and have no cycles: looking for cycles among them takes as long as reading."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _with_arrays(record: Record, content: bytes, target: Path, files: Together) -> Record:
    """The record with the name of the file of its arrays, which is added to ``files``."""
    digest = hashlib.sha256(content).hexdigest()
    path = target.with_suffix(".npz")
    if path.exists() and path.read_bytes() != content:
        path = target.with_name(f"{target.stem}-{digest[:8]}.npz")
    files.add(path, content)  # even if it has this content: meanwhile another run could delete it as stale
    return msgspec.structs.replace(record, predictions=Predictions(file=path.name, sha256=digest))


def _record_of(arrays: Path) -> Path | None:
    """The record that may name a file of arrays. None for a file that is not one."""
    match = ARRAYS.fullmatch(arrays.name)
    return arrays.with_name(f"{match['stem']}.json") if match else None


def _without_record(arrays: Path) -> bool:
    """Whether no record names a file of arrays, nor one that is being written. Raises ``OSError``."""
    target = _record_of(arrays)
    if target is None or being_written(target):
        return False
    try:
        content = target.read_bytes()
    except FileNotFoundError:
        return True
    if f'"{arrays.name}"'.encode() in content:
        return False
    try:
        Record.read(target)
    except RecordError:
        return False
    return True
