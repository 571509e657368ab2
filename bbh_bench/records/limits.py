"""What a file from outside may be: a regular file of limited size whose values the rest of the suite can use.

A record of a third party must not end a board: neither a device or a pipe in its place, nor arrays that fill the memory, nor
a number or a text that no table can show.
"""

import io
import json
import math
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.lib import format as npy

if TYPE_CHECKING:
    from bbh_bench.records.record import Provenance, Record

LARGEST_JSON, LARGEST_ARRAYS, LARGEST_UNPACKED = 2**25, 2**29, 2**30
"""Bytes of a record, of its file of arrays, and of the arrays themselves."""
LARGEST_SETTINGS = 2**20
"""Bytes of the fields of one method or attack, as JSON."""
LONGEST_TEXT, LONGEST_TRACEBACK = 4000, 10**6
"""Characters of a text of a record."""
LARGEST_NUMBER = 1e150
"""Of a score, a cost or a value of a curve: boards square them."""
LONGEST_INTEGER = 300
"""Decimal digits of an integer among the settings."""
DAMAGED_ARCHIVE = (zipfile.BadZipFile, EOFError, OSError, RuntimeError, zlib.error)
"""What ``zipfile`` raises for a damaged archive."""
DEEPEST = 20
"""Levels of nested settings."""
DEEPEST_SETTINGS = DEEPEST - 2
"""Levels within a method or attack: a record has them in two levels of its own."""
ATTACK = {"name": str, "version": int, "norm": str, "access": str, "samples": int, "epsilons": list, "algorithm": dict}
"""Parts of the description of an attack that tables use, with their types."""

CURVES = {
    "attack": ("epsilon", "accuracy"),
    "robust": ("epsilon", "accuracy", "accuracy_low", "accuracy_high"),
    "uncertainty": (
        "epsilon",
        *(f"{score}_{which}" for score in ("auroc", "mi_auroc") for which in ("ood", "test", "both")),
        "images_test",
        "images_ood",
    ),
    "shift": (),
    "corrupted": ("severity",),
    "grid/prediction": ("x", "truth", "mean", "std"),
    "train/data": ("x", "y"),
}
"""Columns that tables and figures need, by a curve's name or its first part. Other curves are not shown."""


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


def decoded(content: bytes) -> Any:
    """A JSON value. Raises ``ValueError``, also for a key that an object has twice: readers do not agree which value counts.

    msgspec, which takes a third of the time of ``json``, keeps the last one. It has kept all of them if what it read has as
    many colons as the file, of which none may be written as an escape.
    """
    value = msgspec.json.decode(content)
    try:
        complete = msgspec.json.encode(value).count(b":") == content.count(b":")
    except (OverflowError, UnicodeEncodeError):  # a large integer, or half of a surrogate pair
        complete = False
    if not complete or b"\\u003" in content:
        json.loads(content, object_pairs_hook=_check_keys)
    return value


def _check_keys(pairs: list[tuple[str, object]]) -> None:
    key, times = Counter(key for key, _ in pairs).most_common(1)[0] if pairs else ("", 1)
    if times > 1:
        raise ValueError(f"the name {key[:50]!a} stands twice in one of its objects")


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
    shape, dtype = _header(archive, member)
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "biufcU":
        raise ValueError(f"'{member.filename}' has the type {dtype}, which is none of numbers")
    if math.prod(shape) * max(dtype.itemsize, 1) > member.file_size:  # a text of no characters has no bytes
        raise ValueError(f"'{member.filename}' claims more values than it has")


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and type that an array claims. Raises ``ValueError``, and what ``zipfile`` raises for damaged files."""
    with archive.open(member) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        try:
            shape, _, dtype = read_header(file)
        except (*DAMAGED_ARCHIVE, ValueError):
            raise
        except Exception as error:  # NumPy's parser lets pass what its tokenizer and Python's compiler raise
            raise ValueError(f"the header of '{member.filename}' cannot be read: {type(error).__name__}") from error
    return shape, dtype


def check_values(record: "Record") -> None:
    """Raise ``ValueError`` for a value of a record that no table could show."""
    for name, texts in _texts(record):
        longest = LONGEST_TRACEBACK if name == "error" else LONGEST_TEXT
        length = max(map(len, texts), default=0)
        if length > longest:
            raise ValueError(f"a text of its {name} has {length:,} characters; at most {longest:,} are read")
        try:
            "\n".join(texts).encode()
        except UnicodeEncodeError:
            raise ValueError(f"a text of its {name} has half of a surrogate pair") from None
    columns = {name: [value] for name, value in [*record.scores.items(), *record.cost.items()]}
    _check_numbers(columns)
    for name, curve in record.curves.items():
        _check_numbers({f"{name}/{column}": values for column, values in curve.items()})
        _check_curve(name, curve)
    for attack in record.task.attacks:
        _check_attack(attack)


def _check_numbers(columns: Mapping[str, list[float]]) -> None:
    for name, values in columns.items():
        if not sum(map(abs, values)) <= LARGEST_NUMBER:  # one sum, because a board reads millions of values
            raise ValueError(f"a value of {name} is not finite, or too large")


def _check_curve(name: str, curve: Mapping[str, list[float]]) -> None:
    """Raise ``ValueError`` for a curve that a board would show, and cannot."""
    kind = name if name in CURVES else name.partition("/")[0]
    if kind not in CURVES:
        return
    needed = {*CURVES[kind], *(f"{column[:-4]}_high" for column in curve if column.endswith("_low"))}
    probabilities = [column for column in curve if column.startswith("p(")]
    if kind == "shift" and probabilities:  # of the classes of a single image
        needed |= {"entropy", "p(0)", "p(1)"}
    lacking = sorted(needed - set(curve))
    if lacking:
        raise ValueError(f"the curve '{name}' lacks the columns {', '.join(lacking)}")
    if not all(curve.values()):
        raise ValueError(f"the curve '{name}' has no points")


def _check_attack(attack: dict[str, Any]) -> None:
    wrong = [name for name, kind in ATTACK.items() if type(attack.get(name)) is not kind]
    surrogate = attack.get("surrogate")
    if surrogate is not None and not (isinstance(surrogate, dict) and type(surrogate.get("name")) is str):
        wrong.append("surrogate")
    if wrong:
        raise ValueError(f"the description of an attack lacks or changes: {', '.join(wrong)}")


def _texts(record: "Record") -> list[tuple[str, list[str]]]:
    """Every text of a record, by section; of curves, only their names, since those of their columns are checked by readers."""
    task, method, error = record.task, record.method, record.error
    package = method.package
    sections = [
        ("task", [task.name, task.kind, task.title, task.headline, task.fingerprint]),
        ("task", _nested([task.attacks, task.threat_model])),
        ("method", _nested([method.name, method.description, method.hyperparameters])),
        ("method", _nested([package.name, package.version, package.commit])),
        ("scores", [*record.scores, *record.curves, *record.cost, *record.audit]),
        ("warnings", record.warnings),
    ]
    run: Provenance | None = record.provenance
    while run is not None:
        machine = run.hardware
        texts = [run.packages, run.python, run.commit, run.command, run.device, run.started]
        sections.append(("provenance", _nested([*texts, machine.processor, machine.accelerator, machine.system])))
        run = run.fit
    if error is not None:
        sections.append(("error", [error.type, error.message, error.location, error.traceback]))
    return sections


def _nested(value: Any) -> list[str]:
    """The texts in nested JSON values. Raises ``ValueError`` for deeper nesting than is read."""
    texts: list[str] = []
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for each in level:
            if type(each) is str:
                texts.append(each)
            elif type(each) is dict:
                texts += each
                below += each.values()
            elif type(each) is list:
                below += each
        if not below:
            return texts
        level = below
    raise ValueError(f"its settings are nested in more than {DEEPEST} levels")
