"""Which values of a hyperparameter a search may try: what ``Method.search_space`` consists of."""

import math
from dataclasses import dataclass
from typing import TypeAlias

DIGITS = 3
"""Significant digits of a drawn number. More would suggest a precision that no search has."""


@dataclass(frozen=True)
class Uniform:
    """A number between ``low`` and ``high``, all equally likely."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The value below which a share in [0, 1) of the distribution lies."""
        return _rounded(self.low + share * (self.high - self.low))


@dataclass(frozen=True)
class LogUniform:
    """A positive number between ``low`` and ``high``, its logarithm uniformly distributed: for rates and scales."""

    low: float
    high: float

    def at(self, share: float) -> float:
        """The value below which a share in [0, 1) of the distribution lies."""
        return _rounded(math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))


@dataclass(frozen=True)
class OneOf:
    """One of several values, all equally likely."""

    values: tuple[float | int | str | bool | None, ...]

    def at(self, share: float) -> float | int | str | bool | None:
        """The value at a share in [0, 1) of the list."""
        return self.values[int(share * len(self.values))]


Choices: TypeAlias = Uniform | LogUniform | OneOf
"""The values that a search may try of one hyperparameter."""


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
