"""The registry: every way in which a plugin can be broken is reported with its distribution and the remedy."""

import importlib
import sys
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace

import pytest

from bbh_bench import hookimpl, plugins
from bbh_bench.attacks.algorithms import Boundary, Fgsm, Transfer
from bbh_bench.errors import UnknownName
from bbh_bench.evaluation.metrics import bbh_metrics
from bbh_bench.methods.map import Map
from bbh_bench.tasks import digits5


def module(**functions) -> ModuleType:
    """A plugin module with these functions."""
    made = ModuleType("a_plugin")
    for name, function in functions.items():
        function.__name__ = name
        setattr(made, name, function)
    return made


def catalogue_with(*loads):
    """The built-in plugins and those that ``loads`` return, of distributions other-0, other-1..."""
    found = plugins.plugins(external=False)
    for k, load in enumerate(loads):
        found.add(f"other-{k}", load)
    return found.catalogue()


def methods(*things):
    return lambda: module(bbh_methods=hookimpl(lambda: list(things)))


def test_built_ins_come_through_the_same_hooks(builtin):
    assert {"map", "ensemble", "dropout"} <= set(builtin.methods)
    assert {"digits5", "mnist", "mnist-short"} <= set(builtin.tasks)
    assert "fgsm" in set(builtin.attacks)
    assert builtin.problems == ()
    for shelf in (builtin.methods, builtin.tasks, builtin.attacks, builtin.metrics):
        assert all(entry.distribution == "bbh-bench" and entry.line for entry in shelf.entries.values())


def test_a_plugin_adds_its_method_and_its_distribution_is_known():
    catalogue = catalogue_with(methods(Map(name="mine")))
    assert catalogue.problems == ()
    assert catalogue.methods.entry("mine").distribution == "other-0"


def raising():
    raise ImportError("no module named 'jax'")


def misspelt():
    return module(bbh_method=hookimpl(lambda: [Map(name="mine")]))


def unmarked():
    return module(bbh_methods=lambda: [Map(name="mine")])


def quitting():
    raise SystemExit(1)


def half_way():
    yield Map(name="mine")
    raise RuntimeError("gave up")


def failing_hook():
    def bbh_methods():
        raise RuntimeError("no licence")

    return module(bbh_methods=hookimpl(bbh_methods))


ERROR = bbh_metrics()[0]


class NoDataclass:
    name = "mine"

    def fit(self, problem):
        raise AssertionError


@dataclass
class Thawed:
    name: str = "mine"

    def fit(self, problem):
        raise AssertionError


@dataclass(frozen=True)
class NoFit:
    name: str = "mine"


@pytest.mark.parametrize(
    ("load", "parts"),
    [
        (raising, ["can't be loaded", "ImportError", "jax", "pip uninstall other-0"]),
        (misspelt, ["bbh_method'", "bbh_methods"]),
        (unmarked, ["bbh_methods()", "isn't marked", "@bbh_bench.hookimpl"]),
        (failing_hook, ["RuntimeError", "no licence"]),
        (quitting, ["can't be loaded", "SystemExit"]),
        (lambda: module(bbh_methods=hookimpl(half_way)), ["RuntimeError", "gave up"]),
        (
            lambda: module(bbh_methods=hookimpl(lambda: [Map(name="map", lr=9.0)], trylast=True)),
            ["'other-0'", "brings 'map'"],
        ),
        (lambda: module(bbh_methods=hookimpl(lambda: None)), ["returned None", "return a list"]),
        (methods(NoDataclass()), ["frozen dataclass"]),
        (methods(Thawed()), ["frozen dataclass"]),
        (methods(Map), ["frozen dataclass"]),
        (methods(NoFit()), ["'mine'", "no valid `fit`", "bbh_bench.api.Method.fit"]),
        (methods(Map(name="My Method")), ["'My Method'", "lower-case"]),
        (methods(Map(name="../up")), ["'../up'", "lower-case"]),
        (methods(Map(name="map")), ["brings 'map'", "'bbh-bench' already uses", "another `name`"]),
        (lambda: module(bbh_attacks=hookimpl(lambda: [Fgsm(name="a", norm="l0")])), ["no valid `norm`"]),
        (lambda: module(bbh_attacks=hookimpl(lambda: [Fgsm(name="a", epsilons=(0.2, 0.1))])), ["no valid `epsilons`"]),
        (lambda: module(bbh_attacks=hookimpl(lambda: [Boundary(name="a", access="grey")])), ["no valid `access`"]),
        (lambda: module(bbh_attacks=hookimpl(lambda: [Boundary(name="a", images=0)])), ["Terms.images"]),
        (lambda: module(bbh_attacks=hookimpl(lambda: [Transfer(name="a", surrogate="map")])), ["Terms.surrogate"]),
        (
            lambda: module(bbh_tasks=hookimpl(lambda: [replace(digits5.TASK, name="a", version="1")])),
            ["no valid `version`"],
        ),
        (
            lambda: module(bbh_metrics=hookimpl(lambda: [replace(ERROR, name="a", scope="all")])),
            ["no valid `scope`"],
        ),
    ],
)
def test_a_broken_plugin_is_reported_and_the_rest_works(load, parts):
    catalogue = catalogue_with(load, methods(Map(name="good")))
    (problem,) = catalogue.problems
    assert "'other-0'" in problem
    for part in parts:
        assert part in problem
    assert {"map", "ensemble", "dropout", "good"} <= set(catalogue.methods)
    assert catalogue.methods["map"] == Map()


def test_two_plugins_with_one_name_are_both_named():
    catalogue = catalogue_with(methods(Map(name="mine", lr=1.0)), methods(Map(name="mine", lr=2.0), Map(name="more")))
    (problem,) = catalogue.problems
    assert "'other-1'" in problem
    assert "'other-0'" in problem
    assert catalogue.methods["mine"] == Map(name="mine", lr=1.0)
    assert "more" in set(catalogue.methods)  # the rest of that plugin stays


def test_entry_points_are_loaded_by_distribution(monkeypatch):
    good = SimpleNamespace(load=methods(Map(name="good")), dist=SimpleNamespace(name="a-stranger"), value="good")
    bad = SimpleNamespace(load=raising, dist=SimpleNamespace(name="a-wreck"), value="bad")
    monkeypatch.setattr(plugins, "entry_points", lambda group: [bad, good] if group == "bbh_bench" else [])
    catalogue = plugins.plugins().catalogue()
    assert catalogue.methods.entry("good").distribution == "a-stranger"
    assert "a-wreck" in catalogue.problems[0]


@pytest.mark.parametrize(("name", "nearest"), [("bhb-map", "map"), ("ensembel", "ensemble"), ("drop-out", "dropout")])
def test_an_unknown_name_suggests_the_nearest(builtin, name, nearest):
    with pytest.raises(UnknownName, match=rf"No method named '{name}'\. Did you mean '{nearest}'\?"):
        builtin.methods[name]


def test_importing_the_package_imports_neither_torch_nor_a_plugin(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("bbh_bench", "torch")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module("bbh_bench.cli").parser()
    assert "torch" not in sys.modules
    assert not [name for name in sys.modules if name.startswith(("bbh_bench.methods", "bbh_bench.tasks"))]


def test_public_names_are_fetched_when_used():
    package = importlib.import_module("bbh_bench")
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert package.__version__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense
