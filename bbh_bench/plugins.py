"""Finds plugins, built-in and installed, and makes one catalogue of what they bring.

A plugin that is broken is left out and reported with its distribution and the remedy; it never takes the rest down.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from importlib.metadata import entry_points
from inspect import getdoc, getmembers, isfunction
from typing import Any, Generic, TypeVar

import pluggy

from bbh_bench import hookspecs
from bbh_bench.api import Attack, Method, Metric, Task
from bbh_bench.errors import ContractError, UnknownName

BUILT_IN = ("bbh_bench.methods", "bbh_bench.tasks", "bbh_bench.attacks.algorithms", "bbh_bench.evaluation.metrics")
DISTRIBUTION = "bbh-bench"
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """A registered object and the distribution that brought it."""

    thing: T
    distribution: str

    @property
    def line(self) -> str:
        """One line that says what it is: its own ``line`` or ``title``, else the first line of its class's docstring."""
        own = getattr(self.thing, "line", None) or getattr(self.thing, "title", None)
        return str(own or (getdoc(type(self.thing)) or "").partition("\n")[0])


@dataclass(frozen=True)
class Shelf(Generic[T]):
    """The registered things of one kind, by name."""

    kind: str
    entries: Mapping[str, Entry[T]]

    def __getitem__(self, name: str) -> T:
        """Raises ``UnknownName`` with the nearest known name."""
        return self.entry(name).thing

    def entry(self, name: str) -> Entry[T]:
        """The thing and its distribution. Raises ``UnknownName``."""
        if name not in self.entries:
            raise UnknownName(self.kind, name, self.entries)
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def things(self) -> list[T]:
        """All things, in the order of registration."""
        return [entry.thing for entry in self.entries.values()]


@dataclass(frozen=True)
class Catalogue:
    """Everything that can be run, and the plugins that could not be used (one paragraph each)."""

    methods: Shelf[Method]
    tasks: Shelf[Task]
    attacks: Shelf[Attack]
    metrics: Shelf[Metric]
    problems: tuple[str, ...]


class Plugins:
    """A pluggy manager that knows each plugin's distribution and keeps the broken ones out."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.problems: list[str] = []

    def add(self, distribution: str, load: Callable[[], object]) -> None:
        """Register what ``load`` returns, or report why not."""
        name = f"{distribution}:{len(self.manager.list_name_plugin())}"  # pluggy skips a repeated name in silence
        try:
            plugin = load()
            self.manager.register(plugin, name=name)
            self.manager.check_pending()
            _check_markers(plugin)
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything at import
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            self.problems.append(_report(distribution, error))

    def catalogue(self) -> Catalogue:
        """Ask every plugin for its things, and refuse those that are misnamed, repeated or incomplete."""
        problems = list(self.problems)
        return Catalogue(
            Shelf("method", self._collect("bbh_methods", problems)),
            Shelf("task", self._collect("bbh_tasks", problems)),
            Shelf("attack", self._collect("bbh_attacks", problems)),
            Shelf("metric", self._collect("bbh_metrics", problems)),
            tuple(problems),
        )

    def _collect(self, hook: str, problems: list[str]) -> dict[str, Entry[Any]]:
        found: dict[str, Entry[Any]] = {}
        implementations = getattr(self.manager.hook, hook).get_hookimpls()
        implementations.sort(
            key=lambda each: int(each.plugin_name.partition(":")[2])
        )  # built-ins first, whatever a hook asks
        for implementation in implementations:
            distribution = implementation.plugin_name.partition(":")[0]
            try:
                returned = implementation.function()
                if not isinstance(returned, Iterable):
                    raise ContractError(f"its hook {hook}() returned {returned!r}; return a list.")
                things = list(returned)
            except (Exception, SystemExit) as error:  # a stranger's hook may raise anything
                problems.append(_report(distribution, error))
                continue
            for thing in things:
                try:
                    _check_thing(hook, thing, found)
                    found[thing.name] = Entry(thing, distribution)
                except Exception as error:  # as may a property of its object
                    problems.append(_report(distribution, error))
        return found


def plugins(external: bool = True) -> Plugins:
    """A fresh manager with the built-in plugins and, unless told otherwise, the installed ones."""
    found = Plugins()
    for module in BUILT_IN:
        found.add(DISTRIBUTION, lambda module=module: import_module(module))  # type: ignore[misc]
    if external:
        for point in entry_points(group=hookspecs.PROJECT):
            found.add(point.dist.name if point.dist else point.value, point.load)
    return found


def _report(distribution: str, error: BaseException) -> str:
    if isinstance(error, ContractError):
        return f"The plugin of distribution '{distribution}' breaks its contract: {error}"
    if isinstance(error, pluggy.PluginValidationError):
        known = ", ".join(name for name, _ in getmembers(hookspecs, isfunction) if name.startswith("bbh_"))
        return f"The plugin of distribution '{distribution}' is left out: {error}. The hooks are: {known}."
    return (
        f"The plugin of distribution '{distribution}' can't be loaded: {type(error).__name__}: {error}. "
        f"Mend or remove it (`pip uninstall {distribution}`); everything else works."
    )


def _check_markers(plugin: object) -> None:
    for name, function in getmembers(plugin, isfunction):
        if name.startswith("bbh_") and not hasattr(function, f"{hookspecs.PROJECT}_impl"):
            raise ContractError(f"its function {name}() isn't marked; put @bbh_bench.hookimpl above it.")


_PROMISES: dict[str, dict[str, Callable[[Any], bool]]] = {
    "bbh_methods": {"fit": callable},
    "bbh_tasks": {
        "version": lambda v: isinstance(v, int),
        "threads": lambda v: v is None or (isinstance(v, int) and v > 0),
        "title": lambda v: isinstance(v, str),
        "headline": lambda v: isinstance(v, str),
        "specification": callable,
        "load": callable,
        "score": callable,
    },
    "bbh_attacks": {
        "version": lambda v: isinstance(v, int),
        "norm": lambda v: v in ("linf", "l2"),
        "epsilons": lambda v: len(v) > 0 and list(v) == sorted(v) and v[0] >= 0,
        "draws": lambda v: v >= 1,
        "foolbox": callable,
    },
    "bbh_metrics": {
        "scope": lambda v: v in ("labelled", "inputs", "outliers"),
        "better": lambda v: v in ("lower", "higher", "neither"),
        "line": lambda v: isinstance(v, str),
        "compute": callable,
    },
}


_TERMS: dict[str, Callable[[Any], bool]] = {
    "access": lambda v: v in ("white", "black", "transfer"),
    "images": lambda v: v is None or (isinstance(v, int) and v > 0),
    "minimises": lambda v: isinstance(v, bool),
    "surrogate": lambda v: v is None or callable(getattr(v, "fit", None)),
}


def _frozen(thing: Any) -> bool:
    return bool(thing.__dataclass_params__.frozen)


def _check_thing(hook: str, thing: Any, found: Mapping[str, Entry[Any]]) -> None:
    """What can be seen without running it; ``bbh_bench.testing`` sees the rest."""
    name = getattr(thing, "name", None)
    if isinstance(thing, type) or not is_dataclass(thing) or not _frozen(thing):
        raise ContractError(
            f"its hook {hook}() brings {thing!r}; bring an instance of a frozen dataclass, whose fields are recorded."
        )
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ContractError(
            f"its hook {hook}() brings the name {name!r}; names are lower-case letters, digits, hyphens and underscores."
        )
    for attribute, promise in _PROMISES[hook].items():
        if not hasattr(thing, attribute) or not promise(getattr(thing, attribute)):
            raise ContractError(
                f"'{name}' of its hook {hook}() has no valid `{attribute}`; see bbh_bench.api.{_noun(hook)}.{attribute}."
            )
    for attribute, allowed in _TERMS.items() if hook == "bbh_attacks" else ():
        if hasattr(thing, attribute) and not allowed(getattr(thing, attribute)):
            raise ContractError(f"'{name}' has no valid `{attribute}`; see bbh_bench.api.Terms.{attribute}.")
    if name in found:
        raise ContractError(
            f"its hook {hook}() brings '{name}', a name that the distribution '{found[name].distribution}' already uses; "
            "give it another `name`."
        )


def _noun(hook: str) -> str:
    return hook.removeprefix("bbh_").removesuffix("s").capitalize()
