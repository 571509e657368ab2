"""Which hyperparameters each trial of a search uses. They depend on the search's seed and on nothing else that is random."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from bbh_bench.api import Choices, LogUniform, Method, OneOf, Searchable, Uniform
from bbh_bench.errors import BenchError, ContractError, text

Values = dict[str, Any]
"""Hyperparameters by name. ``base.lr`` is the field ``lr`` of the dataclass in the field ``base``."""


def search_space(method: Method) -> Mapping[str, Choices]:
    """The method's search space. Raises ``BenchError`` if it has none, and ``ContractError`` if it is not valid."""
    if not isinstance(method, Searchable):
        raise BenchError(
            f"Method '{method.name}' has no search space. Give it a function search_space(), which returns the values that may "
            "be tried by the name of the field: see bbh_bench.api.Searchable."
        )
    try:
        space = dict(method.search_space())
    except Exception as error:  # a third party's function may raise anything
        raise ContractError(
            f"search_space() of method '{method.name}' raised {type(error).__name__}: {text(error)}."
        ) from error
    for name, choices in space.items():
        _check(method, name, choices)
    return space


def _check(method: Method, name: str, choices: object) -> None:
    where = f"The search space of method '{method.name}' names '{name}'"
    if not _has_field(method, name):
        raise ContractError(f"{where}, which is none of its fields.")
    if isinstance(choices, OneOf) and choices.values:
        return
    numbers = isinstance(choices, Uniform | LogUniform) and choices.low <= choices.high
    if not numbers or (isinstance(choices, LogUniform) and choices.low <= 0):
        raise ContractError(
            f"{where} with {choices!r}. Use Uniform(low, high), LogUniform(low, high) with 0 < low, or OneOf((...)) with at "
            "least one value."
        )


def _has_field(owner: object, name: str) -> bool:
    first, _, rest = name.partition(".")
    if not is_dataclass(owner) or first not in {field.name for field in fields(owner)}:
        return False
    return not rest or _has_field(getattr(owner, first), rest)


def draw(space: Mapping[str, Choices], trial: int, search_seed: int) -> Values:
    """The values of a trial from 1 on.

    Each value depends on the search's seed, the trial and the name only, so that more trials, or one more hyperparameter,
    change none, and two methods get the same share of the range of a hyperparameter that both have.
    """
    return {name: choices.at(_share(search_seed, trial, name)) for name, choices in space.items()}


def _share(*parts: object) -> float:
    """A number in [0, 1) from the hash of ``parts``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def values_of(method: Method, space: Mapping[str, Choices]) -> Values:
    """The method's own values of what the space names: trial 0."""
    return {name: _value(method, name) for name in space}


def _value(owner: object, name: str) -> Any:
    first, _, rest = name.partition(".")
    value = getattr(owner, first)
    return _value(value, rest) if rest else value


def with_values(owner: Any, values: Mapping[str, Any]) -> Any:
    """The same dataclass with other values of its fields, or of the fields of its fields."""
    for name, value in values.items():
        first, _, rest = name.partition(".")
        owner = replace(owner, **{first: with_values(getattr(owner, first), {rest: value}) if rest else value})
    return owner
