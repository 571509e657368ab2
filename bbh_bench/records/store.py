"""A folder of records, each with its stored arrays beside it. Files are written atomically; a run skips the cells it finds."""

import hashlib
import io
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO
from zipfile import BadZipFile

import msgspec
import numpy as np

from bbh_bench.errors import RecordError
from bbh_bench.records.record import Predictions, Record


class Store:
    """The folder; it need not exist before the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def records(self) -> list[Record]:
        """All records, sorted by path. Raises ``RecordError`` if one cannot be read: a leaderboard must not lose a row."""
        if not self.root.is_dir():
            raise RecordError(f"There is no folder '{self.root}' to read records from; `bbh-bench run` makes records.")
        records = []
        for path in sorted(self.root.glob("*/v*/*/seed*.json")):
            record = Record.read(path)
            if record.path != path.relative_to(self.root):
                raise RecordError(f"The record '{path}' says that it is '{record.path}'; move it there, or delete it.")
            records.append(record)
        return records

    def some_records(self) -> list[Record]:
        """All records. Raises ``RecordError`` if there are none: then it is probably the wrong folder."""
        records = self.records()
        if not records:
            raise RecordError(
                f"There are no records in '{self.root}'; name the folder that holds <task>/v<n>/<method>/seed<k>.json."
            )
        return records

    def prepare(self) -> None:
        """Create the folder. Raises ``RecordError`` if it cannot be written to."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with NamedTemporaryFile(dir=self.root, prefix=".probe."):
                pass
        except OSError as error:
            raise RecordError(
                f"The folder '{self.root}' cannot be written to ({error.strerror}). Name another one (see --help)."
            ) from error

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
        """Write the arrays, then the record that names them. A reader never sees half a file.

        Raises ``ValueError`` before anything is written if the record holds NaN or infinity, and ``OSError``.
        """
        target = self.root / record.path
        record.to_json()
        target.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            packed = io.BytesIO()
            np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
            content = packed.getvalue()
            name = target.with_suffix(".npz").name
            predictions = Predictions(file=name, sha256=hashlib.sha256(content).hexdigest())
            record = msgspec.structs.replace(record, predictions=predictions)
            write_atomically(target.with_name(name), content)
        write_atomically(target, record.to_json().encode())
        return record

    def arrays(self, record: Record) -> dict[str, np.ndarray]:
        """The stored arrays of a finished record. Raises ``RecordError`` if they are missing or changed."""
        content = self.packed(record)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (BadZipFile, EOFError, OSError, ValueError, zlib.error) as error:
            raise RecordError(
                f"The arrays of '{self.root / record.path}' cannot be unpacked ({error}). Run the cell again."
            ) from error

    def packed(self, record: Record) -> bytes:
        """The file of arrays, checked against the record's digest. Raises ``RecordError``."""
        if record.predictions is None:
            raise RecordError(f"The record '{self.root / record.path}' is of a failed cell and has no arrays.")
        path = self.root / record.path.with_name(record.predictions.file)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(f"The arrays '{path}' cannot be read ({error.strerror}). Run the cell again.") from error
        if hashlib.sha256(content).hexdigest() != record.predictions.sha256:
            raise RecordError(
                f"The arrays '{path}' are not those of their record: the digests differ. Run the cell again."
            )
        return content


def write_atomically(target: Path, content: bytes) -> None:
    """Replace a file as a whole: an interruption leaves the old content or the new one."""
    with atomically(target) as scratch:
        scratch.write(content)


@contextmanager
def atomically(target: Path) -> Iterator[IO[bytes]]:
    """A temporary file that replaces ``target`` at the end: an interruption leaves the old file or the new one."""
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as scratch:
        try:
            yield scratch
            scratch.flush()
            os.fsync(scratch.fileno())
            os.chmod(scratch.name, 0o644)  # temporary files are readable by their owner only
            os.replace(scratch.name, target)
        except BaseException:
            Path(scratch.name).unlink(missing_ok=True)
            raise
