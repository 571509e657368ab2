"""A folder of records, each with its predictions beside it: written atomically, resumed by what is there."""

import hashlib
import io
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO
from zipfile import BadZipFile

import numpy as np

from bbh_bench.errors import RecordError
from bbh_bench.records.record import Record


class Store:
    """The folder; it need not exist before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def records(self) -> list[Record]:
        """All of them, sorted by path. Raises ``RecordError`` for one that can't be read: a board must not lose a row."""
        if not self.root.is_dir():
            raise RecordError(f"There is no folder '{self.root}' to read records from; `bbh-bench run` makes records.")
        found = []
        for path in sorted(self.root.glob("*/v*/*/seed*.json")):
            record = Record.read(path)
            if record.path != path.relative_to(self.root):
                raise RecordError(f"The record '{path}' says that it is '{record.path}'; move it there, or delete it.")
            found.append(record)
        return found

    def some_records(self) -> list[Record]:
        """All of them. Raises ``RecordError`` where there is none, too: it is likely not the folder that was meant."""
        records = self.records()
        if not records:
            raise RecordError(
                f"There are no records in '{self.root}'; name the folder that holds <task>/v<n>/<method>/seed<k>.json."
            )
        return records

    def prepare(self) -> None:
        """Make sure that the folder can be written to. Raises ``RecordError``."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self.root, prefix=".probe."):
                pass
        except OSError as error:
            raise RecordError(
                f"'{self.root}' can't be written to ({error.strerror}). Name a folder of yours instead."
            ) from error

    def complete(self, record: Record) -> bool:
        """Whether a finished record has its predictions beside it, unchanged."""
        try:
            self.packed(record)
        except RecordError:
            return False
        return True

    def get(self, path: Path) -> Record | None:
        """The record at a relative path, or None. Raises ``RecordError``."""
        return Record.read(self.root / path) if (self.root / path).exists() else None

    def put(self, record: Record, arrays: Mapping[str, np.ndarray]) -> Record:
        """Write predictions, then the record that names them; a reader never sees one half of either."""
        target = self.root / record.path
        record.to_json()  # what can't be written must fail before anything is
        target.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            packed = io.BytesIO()
            np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
            content = packed.getvalue()
            name = target.with_suffix(".npz").name
            record = replace(record, predictions={"file": name, "sha256": hashlib.sha256(content).hexdigest()})
            write_atomically(target.with_name(name), content)
        write_atomically(target, record.to_json().encode())
        return record

    def arrays(self, record: Record) -> dict[str, np.ndarray]:
        """The stored predictions of a finished record. Raises ``RecordError`` where they are missing or changed."""
        content = self.packed(record)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (BadZipFile, EOFError, OSError, ValueError, zlib.error) as error:
            raise RecordError(
                f"The predictions of '{self.root / record.path}' are no arrays ({error}). Run the cell again."
            ) from error

    def packed(self, record: Record) -> bytes:
        """The file of predictions, checked against the record's digest. Raises ``RecordError``."""
        path = self.root / record.path.with_name(record.predictions.get("file", "seed.npz"))
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(
                f"The predictions '{path}' can't be read ({error.strerror}). Run the cell again."
            ) from error
        if hashlib.sha256(content).hexdigest() != record.predictions["sha256"]:
            raise RecordError(f"The predictions '{path}' aren't those of their record. Run the cell again.")
        return content


def write_atomically(target: Path, content: bytes) -> None:
    """The whole file, or what was there."""
    with atomically(target) as scratch:
        scratch.write(content)


@contextmanager
def atomically(target: Path) -> Iterator[IO[bytes]]:
    """A file beside the target, renamed at the end: an interrupted run leaves the old file or the new one."""
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as scratch:
        try:
            yield scratch
            scratch.flush()
            os.fsync(scratch.fileno())
            os.chmod(scratch.name, 0o644)  # a temporary file is private
            os.replace(scratch.name, target)
        except BaseException:
            Path(scratch.name).unlink(missing_ok=True)
            raise
