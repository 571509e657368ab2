"""Notices a method that replaces what its cell is measured and scored with."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType

from bbh_bench.errors import ContractError

PACKAGE = "bbh_bench"
MODULES = (
    "gc",
    "hashlib",
    "math",
    "numpy",
    "numpy.linalg",
    "random",
    "sklearn.metrics",
    "time",
    "torch",
    "torch.autograd",
    "torch.cuda",
    "torch.linalg",
    "torch.nn.functional",
    "torch.random",
    "torch.special",
)
"""Beside the suite's own modules."""
CLASSES = (("torch", "Tensor"), ("torch.nn", "Module"), ("torch.optim", "Adam"))


@dataclass(frozen=True)
class Place:
    """A module or class in which callables are looked up, and those that it had."""

    name: str
    owner: ModuleType | type
    callables: Mapping[str, object]

    def replaced(self) -> Iterator[str]:
        """Names of callables that are other objects now, or gone; and of new ones that hide those of a base class."""
        now = vars(self.owner)
        yield from (name for name, original in self.callables.items() if now.get(name) is not original)
        for base in self.owner.__mro__[1:] if isinstance(self.owner, type) else ():
            own = now.keys() - self.callables.keys()
            yield from (name for name in own & vars(base).keys() if callable(now[name]))

    def restore(self, name: str) -> None:
        """Put the original back."""
        if name in self.callables:
            setattr(self.owner, name, self.callables[name])
        else:
            delattr(self.owner, name)


@dataclass(frozen=True)
class Originals:
    """Functions, classes and methods that the suite uses, as they were when ``snapshot`` was called."""

    places: tuple[Place, ...]

    def check(self, user: str) -> None:
        """Put back what was replaced, and raise ``ContractError`` if something was. ``user`` is who did it."""
        replaced = [(place, name) for place in self.places for name in dict.fromkeys(place.replaced())]
        for place, name in replaced:
            place.restore(name)
        if replaced:
            place, name = replaced[0]
            raise ContractError(
                f"{user} replaced {place.name}.{name}, which the suite measures and scores with. Use a function of your own."
            )


def snapshot() -> Originals:
    """What is there now. Take it after ``warmup.warm_up``: torch replaces some functions of its own at their first use."""
    return Originals(tuple(Place(name, owner, _callables(owner)) for name, owner in _owners()))


def _callables(owner: ModuleType | type) -> dict[str, object]:
    return {name: value for name, value in vars(owner).items() if callable(value)}


def _owners() -> Iterator[tuple[str, ModuleType | type]]:
    for place in MODULES:
        if place in sys.modules:
            yield place, sys.modules[place]
    for place, kind in CLASSES:
        if place in sys.modules:
            yield f"{place}.{kind}", vars(sys.modules[place])[kind]
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == PACKAGE:
            yield name, module
            for key, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == name:
                    yield f"{name}.{key}", value
