"""What can be checked of a plugin's objects without running them. ``bbh_bench.testing`` checks what needs a run."""

import json
import re
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

from bbh_bench.api import Attack, AttackAlgorithm
from bbh_bench.errors import ContractError
from bbh_bench.records.identity import describe
from bbh_bench.records.limits import LARGEST_SETTINGS

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

Requirements = dict[str, tuple[Callable[[Any], bool], str]]
"""Attribute -> whether a value is valid, and what a valid value is."""

VERSIONS = 10**9
SHOWN = 100
"""Characters of an object's ``repr`` that a message shows."""

_INTEGER = (
    lambda value: type(value) is int and 0 <= value < VERSIONS,  # a record cannot store one of a subclass
    "an integer from 0 on, below 10^9",
)
_TEXT = (lambda value: isinstance(value, str), "a string")
_METHOD = (callable, "a method")

REQUIREMENTS: dict[str, Requirements] = {
    "method": {"version": _INTEGER, "fit": _METHOD},
    "task": {
        "version": _INTEGER,
        "describe": _METHOD,
        "with_attacks": _METHOD,
        "load": _METHOD,
        "score": _METHOD,
    },
    "attack": {
        "version": _INTEGER,
        "norm": (lambda value: value in ("linf", "l2"), "'linf' or 'l2'"),
        "epsilons": (
            lambda value: len(value) > 0 and list(value) == sorted(value) and value[0] >= 0,
            "numbers from 0 on, increasing",
        ),
        "samples": (lambda value: value >= 1, "an integer from 1 on"),
        "access": (lambda value: value in ("white", "black", "transfer"), "'white', 'black' or 'transfer'"),
        "images": (lambda value: value is None or (isinstance(value, int) and value > 0), "a positive integer or None"),
        "surrogate": (lambda value: value is None or callable(getattr(value, "fit", None)), "a method or None"),
        "algorithm": (lambda value: isinstance(value, AttackAlgorithm), "a bbh_bench.AttackAlgorithm"),
    },
    "metric": {
        "scope": (lambda value: value in ("labelled", "inputs", "ood"), "'labelled', 'inputs' or 'ood'"),
        "better": (lambda value: value in ("lower", "higher", "neither"), "'lower', 'higher' or 'neither'"),
        "description": _TEXT,
        "compute": (callable, "a function"),
    },
}


def check_object(kind: str, value: Any) -> None:
    """Raise ``ContractError`` unless ``value`` looks like a method, task, attack or metric, as ``kind`` says."""
    if isinstance(value, type) or not is_dataclass(value) or not _frozen(value):
        raise ContractError(
            f"{shown(value)} is not an instance of a frozen dataclass; its fields could not be recorded."
        )
    if kind == "attack" and not isinstance(value, Attack):
        raise ContractError(
            f"{shown(value)} is not a bbh_bench.Attack; wrap your algorithm: Attack(..., algorithm=...)."
        )
    name = getattr(value, "name", None)
    if type(name) is not str or not NAME.fullmatch(name):  # a record cannot store a string of a subclass
        raise ContractError(
            f"the name {shown(name)} is not valid; a name has up to 64 lower-case letters, digits, hyphens and underscores, "
            "and begins with a letter or a digit."
        )
    for attribute, (valid, what) in REQUIREMENTS[kind].items():
        if not hasattr(value, attribute) or not _holds(valid, getattr(value, attribute)):
            raise ContractError(f"'{name}' has no valid `{attribute}`; it must be {what}. {_hint(kind, attribute)}")
    if kind in ("method", "attack"):
        check_described(value)


def check_described(value: Any) -> None:
    """Raise ``ContractError`` if a record could not store the fields of a method or attack."""
    try:
        size = len(json.dumps(describe(value)))
    except ContractError as error:
        raise ContractError(f"'{value.name}' {error}") from error
    if size > LARGEST_SETTINGS:
        raise ContractError(
            f"the fields of '{value.name}' take {size:,} bytes as JSON; a record has at most {LARGEST_SETTINGS:,}. Let a field "
            "name a file or a number from which the method computes them."
        )


def shown(value: Any) -> str:
    """``repr``, cut off after 100 characters. A third party's ``__repr__`` may itself raise; then the name of the class."""
    try:
        text = repr(value)
    except Exception:
        return f"an object of the class '{type(value).__name__}' (its repr() raises an error)"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def _holds(valid: Callable[[Any], bool], value: Any) -> bool:
    """False also for a value that cannot be compared, such as an array."""
    try:
        return bool(valid(value))
    except Exception:
        return False


def _frozen(value: Any) -> bool:
    return bool(value.__dataclass_params__.frozen)


def _hint(kind: str, attribute: str) -> str:
    if attribute == "version":
        return "Add the field `version: int = 1`."
    return f"See bbh_bench.api.{kind.capitalize()}.{attribute}."
