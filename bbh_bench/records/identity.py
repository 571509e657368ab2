"""Identity of methods, attacks and tasks: registered name, version and fields; never a Python path or a ``repr``.

Moving a file, renaming a module or adding a layer that only concerns speed therefore changes no identity.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, TypeAlias

from bbh_bench.errors import ContractError
from bbh_bench.records.limits import DEEPEST_SETTINGS, LONGEST_INTEGER, LONGEST_TEXT

Place: TypeAlias = tuple[str, ...]
"""The names that lead from an object to one of its values."""
LONGEST_PLACE = 100
"""Characters of a place that a message shows."""


def describe(value: object) -> Any:
    """A value as JSON values: what records store and fingerprints are computed from.

    A dataclass becomes its fields. One without a field ``name``, such as an attack's algorithm, starts with ``type``, its
    class's name. A number or text of a subclass, such as NumPy's ``float64``, becomes a plain one.

    Raises ``ContractError``, which names the field, for what a record could not be written or read with: a number that is not
    finite or too large, a text that is too long or not Unicode, and deep nesting. Also for objects that could not be told
    apart: those without fields, and mappings with keys that are the same in JSON.
    """
    return _described(value, ())


def _described(value: object, place: Place) -> Any:
    if len(place) > DEEPEST_SETTINGS:
        raise ContractError(f"is nested in more than {DEEPEST_SETTINGS} levels{_at(place)}; use fewer.")
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: _described(getattr(value, field.name), (*place, field.name)) for field in fields(value)}
        return own if "name" in own else {"type": type(value).__name__} | own
    if isinstance(value, Mapping):
        return _mapping(value, place)
    if isinstance(value, list | tuple):
        return [_described(item, (*place, str(number))) for number, item in enumerate(value)]
    if isinstance(value, Enum):
        return _described(value.value, place)
    return _scalar(value, place)


def _scalar(value: object, place: Place) -> bool | int | float | str | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return _integer(value, place)
    if isinstance(value, float):
        return _number(value, place)
    if isinstance(value, str):
        return _text(value, place)
    raise ContractError(
        f"has a field value of type {type(value).__name__}{_at(place)}, whose settings a record cannot store. Use numbers, "
        "strings, None, tuples, mappings, or a frozen dataclass made of these."
    )


def _mapping(value: Mapping[Any, object], place: Place) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for key, item in value.items():
        if not (key is None or isinstance(key, str | int | float | Enum)):
            raise ContractError(
                f"has a mapping with a key of type {type(key).__name__}{_at(place)}; use strings as keys."
            )
        if isinstance(key, int):
            _integer(key, place)
        name = _text(key if isinstance(key, str) and not isinstance(key, Enum) else str(key), place)
        if name in described:
            raise ContractError(
                f"has a mapping with two keys that are both {json.dumps(name)} in JSON{_at(place)}; use other keys."
            )
        described[name] = _described(item, (*place, name))
    return described


def _integer(value: int, place: Place) -> int:
    if abs(int.__int__(value)) >= 10**LONGEST_INTEGER:
        raise ContractError(
            f"has an integer of more than {LONGEST_INTEGER} digits{_at(place)}, which a record cannot store; use a string or a "
            "float."
        )
    return int.__int__(value)


def _number(value: float, place: Place) -> float:
    if not math.isfinite(value):
        raise ContractError(
            f"has the field value {float.__repr__(value)}{_at(place)}, which a record cannot store; use None instead."
        )
    return float.__float__(value)


def _text(value: str, place: Place) -> str:
    """The plain text, whatever ``str()`` of a subclass would return."""
    plain = str.__str__(value)
    if len(plain) > LONGEST_TEXT:
        raise ContractError(
            f"has a text of {len(plain):,} characters{_at(place)}; a record has at most {LONGEST_TEXT:,}. Shorten it."
        )
    if not plain.isascii() and any("\ud800" <= character <= "\udfff" for character in plain):
        raise ContractError(f"has a text with half of a surrogate pair{_at(place)}, which no file can hold; remove it.")
    return plain


def _at(place: Place) -> str:
    """Where a value is: the names of the fields that lead to it, in a form that fits on a line of a terminal."""
    if not place:
        return ""
    name = ascii(".".join(place))[1:-1]
    return f" in the field '{name if len(name) <= LONGEST_PLACE else f'{name[:LONGEST_PLACE]}...'}'"


def hyperparameters(method: object) -> dict[str, Any]:
    """The fields of a method but its name and version. Raises ``ContractError`` as ``describe`` does."""
    described: dict[str, Any] = describe(method)
    return {key: value for key, value in described.items() if key not in ("name", "version")}


def fingerprint(definition: Mapping[str, object]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a definition, JSON values, in canonical form."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
