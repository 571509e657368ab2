"""Identity of methods, attacks and tasks: registered name, version and fields; never a Python path or a ``repr``.

Moving a file, renaming a module or adding a layer that only concerns speed therefore changes no identity.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from bbh_bench.errors import ContractError


def describe(value: object) -> Any:
    """A value as JSON values: what records store and fingerprints are computed from.

    A dataclass becomes its fields. One without a field ``name``, such as an attack's algorithm, starts with ``type``, its
    class's name. Raises ``ContractError`` for a number that is not finite, and for an object that has no fields: two of them
    could not be told apart.
    """
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: describe(getattr(value, field.name)) for field in fields(value)}
        return own if "name" in own else {"type": type(value).__name__} | own
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if isinstance(value, Enum):
        return describe(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ContractError(f"has the field value {value}, which a record cannot store; use None instead.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ContractError(
        f"has a field value of type {type(value).__name__}, whose settings a record cannot store. Use numbers, strings, None, "
        "tuples, mappings, or a frozen dataclass made of these."
    )


def hyperparameters(method: object) -> dict[str, Any]:
    """The fields of a method but its name and version. Raises ``ContractError`` as ``describe`` does."""
    described: dict[str, Any] = describe(method)
    return {key: value for key, value in described.items() if key not in ("name", "version")}


def fingerprint(definition: Mapping[str, object]) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a definition, JSON values, in canonical form."""
    canonical = json.dumps(definition, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
