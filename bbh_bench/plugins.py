"""Loads plugins, built-in and third-party, into registries of methods, tasks, attacks and metrics.

A plugin that does not work is left out and reported with its package, file, line and the remedy. The others are not affected.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from inspect import getdoc, getmembers, isfunction
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import pluggy

from bbh_bench import hookspecs
from bbh_bench.api import Attack, Method, Metric, Task
from bbh_bench.contracts import check_object, shown
from bbh_bench.errors import BenchError, ContractError, Terminated, UnknownName, location, one_line, text
from bbh_bench.records.identity import describe

BUILT_IN = ("bbh_bench.methods", "bbh_bench.tasks", "bbh_bench.attacks", "bbh_bench.evaluation.metrics")
PACKAGE = "bbh-bench"
LIFECYCLE = ("bbh_run_started", "bbh_cell_started", "bbh_cell_progress", "bbh_cell_finished", "bbh_run_finished")
"""Hooks that are called while a run goes on."""

MOST_OBJECTS = 10_000
"""That one hook may return: some iterators have no end."""
LONGEST_NAME, LONGEST_REASON = 200, 1000
"""Characters of a package's name, and of an exception's message, in a report."""

REMOVE = "Install the package again, or remove it."

T = TypeVar("T")


class NoFile(BenchError):
    """``--plugin`` names a file that does not exist."""


@dataclass(frozen=True)
class Registered(Generic[T]):
    """A method, task, attack or metric, and the package (or plugin file) that provides it."""

    value: T
    package: str
    description: str
    """One line."""


@dataclass(frozen=True)
class Listener:
    """A plugin's implementation of a lifecycle hook."""

    package: str
    plugin: str
    """Name under which the plugin is registered."""
    hook: str
    function: Callable[..., object]
    arguments: tuple[str, ...]
    """Those that the function names."""


def description(kind: str, value: Any) -> str:
    """One line: a task's title, the description of an attack or metric, the first line of the docstring of a method's class.

    Raises ``ContractError`` if a record could not store it.
    """
    field = "title" if kind == "task" else "description"
    if kind == "task":
        line = value.describe().title
    elif kind == "method":
        line = (getdoc(type(value)) or "").partition("\n")[0]
    else:
        line = value.description
    try:
        return str(describe({field: line})[field])
    except ContractError as error:
        raise ContractError(f"'{value.name}' {error}") from error


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The objects of one kind, by name, in the order of registration."""

    kind: str
    entries: Mapping[str, Registered[T]]

    def __getitem__(self, name: str) -> T:
        """Raises ``UnknownName`` with the most similar known name."""
        return self.registered(name).value

    def registered(self, name: str) -> Registered[T]:
        """The object with its package. Raises ``UnknownName``."""
        if name not in self.entries:
            raise UnknownName(self.kind, name, self.entries)
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def values(self) -> list[T]:
        """All objects."""
        return [entry.value for entry in self.entries.values()]


@dataclass(frozen=True)
class Plugins:
    """Everything that can be run, and one paragraph for each plugin, or object of a plugin, that was left out."""

    methods: Registry[Method]
    tasks: Registry[Task]
    attacks: Registry[Attack]
    metrics: Registry[Metric]
    problems: tuple[str, ...]
    listeners: tuple[Listener, ...] = ()
    """What wants to be told what a run does."""

    @property
    def registries(self) -> tuple[Registry[Any], ...]:
        """All four."""
        return self.methods, self.tasks, self.attacks, self.metrics


def load_plugins(external: bool = True, files: Sequence[Path] = ()) -> Plugins:
    """Load the built-in plugins, the installed ones if ``external``, and modules from ``files``.

    Nothing is kept between calls. Raises ``BenchError`` for a file that does not exist or does not work: it was named on
    purpose.
    """
    loader = PluginLoader()
    for module in BUILT_IN:
        loader.add(PACKAGE, module, lambda module=module: import_module(module))  # type: ignore[misc]
    if external:
        for point in installed(loader.problems):
            loader.add(_package(point), point.value.partition(":")[0].strip(), point.load)
    for file in files:
        problems = len(loader.problems)
        loader.add(file.name, module_name(file), lambda file=file: load_file(file))  # type: ignore[misc]
        if len(loader.problems) > problems:
            raise BenchError(loader.problems[-1])
    return loader.collect()


def installed(problems: list[str]) -> list[EntryPoint]:
    """The entry points of all packages. Adds a line to ``problems`` for a package whose entry points cannot be read."""
    try:
        return list(entry_points(group=hookspecs.PROJECT))
    except Exception:  # one package's file is damaged; which one, only the packages themselves tell
        points: dict[str, list[EntryPoint]] = {}
        for package in distributions():
            name = _name(package) or "without a name"
            try:
                points.setdefault(name, list(package.entry_points.select(group=hookspecs.PROJECT)))
            except Exception as error:
                problems.append(
                    _report(name, "", ContractError(f"its entry points cannot be read ({text(error)}). {REMOVE}"))
                )
        return [point for own in points.values() for point in own]


def _package(point: EntryPoint) -> str:
    """The name of the package that declares an entry point; what the entry point says if its package has no name."""
    name = _name(point.dist) if point.dist else None
    return one_line(name or f"{point.name} = {point.value}", LONGEST_NAME)


def _name(package: Distribution) -> str | None:
    try:
        return str(package.name) if package.name else None
    except Exception:  # its metadata cannot be read
        return None


def module_name(file: Path) -> str:
    """The name under which a plugin file is imported: it cannot hide a module of the same name."""
    return f"bbh_bench_plugin_{file.stem}"


def load_file(file: Path) -> ModuleType:
    """Import a plugin file. Raises ``BenchError`` if there is no such file, and what the module raises."""
    spec = spec_from_file_location(module_name(file), file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise NoFile(f"--plugin: there is no Python file '{file}'.")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickle look their module up
    spec.loader.exec_module(module)
    return module


class PluginLoader:
    """A pluggy manager that knows the package of each plugin and leaves out those that do not work."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.problems: list[str] = []

    def add(self, package: str, module: str, load: Callable[[], object]) -> None:
        """Register what ``load`` returns, or report why not. ``module`` names the code that it runs."""
        name = f"{package}:{len(self.manager.list_name_plugin())}"  # pluggy would skip a repeated name silently
        try:
            plugin = load()
            self.manager.register(plugin, name=name)
            self.manager.check_pending()
            _check_markers(plugin)
        except (KeyboardInterrupt, Terminated):
            raise
        except BaseException as error:  # a third party's module may raise anything at import
            if self.manager.has_plugin(name):
                self.manager.unregister(name=name)
            self.problems.append(_report(package, module, error))

    def collect(self) -> Plugins:
        """Call the hooks of every plugin. Objects that are misnamed, incomplete or use a taken name are left out."""
        problems = list(self.problems)
        return Plugins(
            Registry("method", self._collect("method", problems)),
            Registry("task", self._collect("task", problems)),
            Registry("attack", self._collect("attack", problems)),
            Registry("metric", self._collect("metric", problems)),
            tuple(problems),
            tuple(self._listeners()),
        )

    def _listeners(self) -> Iterator[Listener]:
        for hook in LIFECYCLE:
            for each in self._implementations(hook):
                package = each.plugin_name.rpartition(":")[0]
                yield Listener(package, each.plugin_name, hook, each.function, tuple(each.argnames))

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """In the order of registration, built-in ones first, whatever priority a hook asks for."""
        implementations: list[pluggy.HookImpl] = getattr(
            self.manager.hook, hook
        ).get_hookimpls()  # pluggy has no other way
        return sorted(implementations, key=lambda each: int(each.plugin_name.rpartition(":")[2]))

    def _collect(self, kind: str, problems: list[str]) -> dict[str, Registered[Any]]:
        entries: dict[str, Registered[Any]] = {}
        hook = f"bbh_{kind}s"
        for implementation in self._implementations(hook):
            package = implementation.plugin_name.rpartition(":")[0]
            module = str(getattr(implementation.function, "__module__", ""))
            try:
                values = _values(implementation.function())
            except (KeyboardInterrupt, Terminated):
                raise
            except BaseException as error:  # a third party's hook may raise anything
                problems.append(_report(package, module, error, hook))
                continue
            for value in values:
                try:
                    check_object(kind, value)
                    _check_unused(value.name, entries)
                    entries[value.name] = Registered(value, package, description(kind, value))
                except (KeyboardInterrupt, Terminated):
                    raise
                except BaseException as error:  # a property of its object may raise anything, too
                    problems.append(_report(package, module, error, hook))
        return entries


def _values(returned: object) -> list[Any]:
    """What a hook returned, as a list. Raises ``ContractError``, and what its iterator raises."""
    if not isinstance(returned, Iterable) or isinstance(returned, str | bytes | Mapping):
        raise ContractError(f"it returned {shown(returned)}; return a list.")
    values = list(islice(returned, MOST_OBJECTS + 1))
    if len(values) > MOST_OBJECTS:
        raise ContractError(f"it returned more than {MOST_OBJECTS:,} objects; return a list that ends.")
    return values


def _check_unused(name: str, entries: Mapping[str, Registered[Any]]) -> None:
    if name in entries:
        raise ContractError(
            f"the name '{name}' is already used by the package '{entries[name].package}', which keeps it; choose another "
            "`name`."
        )


def _report(package: str, module: str, error: BaseException, hook: str = "") -> str:
    """One line: package, hook, what is wrong, where, and the remedy."""
    return one_line(_paragraph(one_line(package, LONGEST_NAME), module, error, hook))


def _paragraph(package: str, module: str, error: BaseException, hook: str) -> str:
    who = f"The plugin '{package}'"
    if isinstance(error, ContractError):
        return f"{who} breaks its contract{f' in its hook {hook}()' if hook else ''}: {text(error)}"
    if isinstance(error, NoFile):
        return text(error)
    if isinstance(error, pluggy.PluginValidationError):
        known = ", ".join(name for name, _ in getmembers(hookspecs, isfunction) if name.startswith("bbh_"))
        return f"{who} is left out: {text(error)}. The hooks are: {known}."
    place = location(error, module.partition(".")[0])
    what = f"its hook {hook}() failed" if hook else "it cannot be imported"
    return (
        f"{who} is left out: {what} with {type(error).__name__}: {one_line(text(error), LONGEST_REASON)}"
        f"{f' ({place})' if place else ''}. "
        f"Fix it or remove it (`pip uninstall {package}`); everything else works."
    )


def _check_markers(plugin: object) -> None:
    for name, function in getmembers(plugin, isfunction):
        if name.startswith("bbh_") and not hasattr(function, f"{hookspecs.PROJECT}_impl"):
            raise ContractError(f"its function {name}() is not marked; put @bbh_bench.hookimpl above it.")
