"""What a file from outside may be: a regular file of limited size whose values the rest of the suite can use.

A record of a third party must not end a board: neither a device or a pipe in its place, nor arrays that fill the memory, nor
a number or a text that no table can show.
"""

import io
import math
import os
import stat
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib import format as npy

if TYPE_CHECKING:
    from bbh_bench.records.record import Provenance, Record

LARGEST_JSON, LARGEST_ARRAYS, LARGEST_UNPACKED = 2**25, 2**29, 2**30
"""Bytes of a record, of its file of arrays, and of the arrays themselves."""
LONGEST_TEXT, LONGEST_TRACEBACK = 4000, 10**6
"""Characters of a text of a record."""
LARGEST_NUMBER = 1e300
DEEPEST = 20
"""Levels of nested settings."""
ATTACK = {"name": str, "version": int, "norm": str, "access": str, "samples": int, "epsilons": list, "algorithm": dict}
"""Parts of the description of an attack that tables use, with their types."""


def read_limited(path: Path, largest: int) -> bytes:
    """The content of a regular file. Raises ``OSError``, and ``ValueError`` for a link, a device, a pipe or a larger file."""
    state = os.lstat(path)
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(21, "Is a directory", str(path))
    if not stat.S_ISREG(state.st_mode):
        raise ValueError("it is a link, a device or a pipe, and no regular file")
    if state.st_size > largest:
        raise ValueError(f"it has {state.st_size:,} bytes; at most {largest:,} are read")
    return path.read_bytes()


def unpacked(content: bytes, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a packed file, or those of these names that it has.

    Raises ``ValueError`` and what ``zipfile`` and NumPy raise for damaged ones.

    Before any memory is taken, the sizes that the file claims are compared with each other and with the limit.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > LARGEST_UNPACKED:
            raise ValueError(f"its arrays have more than {LARGEST_UNPACKED:,} bytes")
        chosen = [each for each in members if names is None or each.filename.removesuffix(".npy") in names]
        for member in chosen:
            _check_member(archive, member)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if names is None or name in names}


def _check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 1:
        raise ValueError(f"'{member.filename}' is encrypted")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{member.filename}' has an unknown compression")
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "biufcU":
        raise ValueError(f"'{member.filename}' has the type {dtype}, which is none of numbers")
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"'{member.filename}' claims more values than it has")


def check_values(record: "Record") -> None:
    """Raise ``ValueError`` for a value of a record that no table could show."""
    for name, text in _texts(record):
        longest = LONGEST_TRACEBACK if name == "error" else LONGEST_TEXT
        if len(text) > longest:
            raise ValueError(f"a text of its {name} has {len(text):,} characters; at most {longest:,} are read")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"a text of its {name} has half of a surrogate pair") from None
    numbers = [*record.scores.items(), *record.cost.items()]
    numbers += [(name, value) for name, curve in record.curves.items() for column in curve.values() for value in column]
    for name, value in numbers:
        if not abs(value) <= LARGEST_NUMBER:
            raise ValueError(f"the value {name} is not finite, or too large")
    for attack in record.task.attacks:
        _check_attack(attack)


def _check_attack(attack: dict[str, Any]) -> None:
    wrong = [name for name, kind in ATTACK.items() if type(attack.get(name)) is not kind]
    surrogate = attack.get("surrogate")
    if surrogate is not None and not (isinstance(surrogate, dict) and type(surrogate.get("name")) is str):
        wrong.append("surrogate")
    if wrong:
        raise ValueError(f"the description of an attack lacks or changes: {', '.join(wrong)}")


def _texts(record: "Record") -> Iterator[tuple[str, str]]:
    """Every text of a record but the names of scores, curves and costs, which are names of columns below."""
    task, method, error = record.task, record.method, record.error
    yield from (("task", text) for text in (task.name, task.kind, task.title, task.headline, task.fingerprint))
    yield from (("task", text) for text in _nested([task.attacks, task.threat_model]))
    yield from (("method", text) for text in _nested([method.name, method.description, method.hyperparameters]))
    yield from (
        ("method", text) for text in _nested([method.package.name, method.package.version, method.package.commit])
    )
    yield from (("scores", text) for text in (*record.scores, *record.curves, *record.cost, *record.audit))
    yield from (("warnings", text) for text in record.warnings)
    run: Provenance | None = record.provenance
    while run is not None:
        machine = run.hardware
        yield from (
            ("provenance", text) for text in _nested([run.packages, run.python, run.commit, run.command, run.device])
        )
        yield from (
            ("provenance", text)
            for text in _nested([run.started, machine.processor, machine.accelerator, machine.system])
        )
        run = run.fit
    if error is not None:
        yield from (("error", text) for text in (error.type, error.message, error.location, error.traceback))


def _nested(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts in nested JSON values. Raises ``ValueError`` for deeper nesting than is read."""
    if depth > DEEPEST:
        raise ValueError(f"its settings are nested in more than {DEEPEST} levels")
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from _nested(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            yield from _nested(each, depth + 1)
