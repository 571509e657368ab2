"""Loading of plugins: every way in which one can be broken is reported with its package, the place and the remedy."""

import importlib
import sys
from dataclasses import dataclass, replace
from types import ModuleType, SimpleNamespace

import pytest
from torch import nn

from bbh_bench import hookimpl, plugins
from bbh_bench.attacks.builtin import BOUNDARY, FGSM
from bbh_bench.errors import BenchError, UnknownName
from bbh_bench.evaluation.metrics import bbh_metrics
from bbh_bench.methods.map import Map
from bbh_bench.plugins import load_plugins
from bbh_bench.tasks import digits5


def module(**functions) -> ModuleType:
    """A plugin module with these functions."""
    plugin = ModuleType("a_plugin")
    for name, function in functions.items():
        function.__name__ = name
        setattr(plugin, name, function)
    return plugin


@pytest.fixture
def load(monkeypatch):
    """Loads the built-in plugins and those that the arguments return, of packages other-0, other-1..."""

    def plugins_with(*loads):
        points = [
            SimpleNamespace(load=load, dist=SimpleNamespace(name=f"other-{k}"), value="a_plugin", module=__name__)
            for k, load in enumerate(loads)
        ]
        monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "bbh_bench" else [])
        return load_plugins()

    return plugins_with


def methods(*values):
    return lambda: module(bbh_methods=hookimpl(lambda: list(values)))


def attacks(*values):
    return lambda: module(bbh_attacks=hookimpl(lambda: list(values)))


def test_built_ins_come_through_the_same_hooks(builtin):
    assert {"map", "ensemble", "dropout", "bbb", "mnf", "bbh", "bbh-sliced", "bbh-single"} == set(builtin.methods)
    assert set(builtin.tasks) == {
        *("digits5", "digits5-mlp", "toy", "mnist", "mnist-short", "mnist-corrupted", "cifar5", "cifar5-short")
    }
    assert "fgsm" in set(builtin.attacks)
    assert builtin.problems == ()
    for registry in builtin.registries:
        assert all(entry.package == "bbh-bench" and entry.description for entry in registry.entries.values())


def test_a_plugin_adds_its_method_and_its_package_is_known(load):
    loaded = load(methods(Map(name="mine")))
    assert loaded.problems == ()
    assert loaded.methods.registered("mine").package == "other-0"


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
class NotFrozen:
    name: str = "mine"
    version: int = 1

    def fit(self, problem):
        raise AssertionError


@dataclass(frozen=True)
class NoFit:
    name: str = "mine"
    version: int = 1


@dataclass(frozen=True)
class NoVersion:
    name: str = "mine"

    def fit(self, problem):
        raise AssertionError


@dataclass(frozen=True)
class WithActivation:
    """Its activation has no fields: two of them could not be told apart."""

    activation: object
    name: str = "mine"
    version: int = 1

    def fit(self, problem):
        raise AssertionError


@pytest.mark.parametrize(
    ("broken", "parts"),
    [
        (raising, ["cannot be imported", "ImportError", "jax", "test_plugins.py:", "pip uninstall other-0"]),
        (misspelt, ["bbh_method'", "bbh_methods"]),
        (unmarked, ["bbh_methods()", "is not marked", "@bbh_bench.hookimpl"]),
        (failing_hook, ["hook bbh_methods() failed", "RuntimeError", "no licence", "test_plugins.py:"]),
        (quitting, ["cannot be imported", "SystemExit"]),
        (lambda: module(bbh_methods=hookimpl(half_way)), ["RuntimeError", "gave up"]),
        (
            lambda: module(bbh_methods=hookimpl(lambda: [Map(name="map", lr=9.0)], trylast=True)),
            ["'other-0'", "the name 'map' is already used by the package 'bbh-bench', which keeps it"],
        ),
        (lambda: module(bbh_methods=hookimpl(lambda: None)), ["returned None", "return a list"]),
        (methods(NoDataclass()), ["frozen dataclass"]),
        (methods(NotFrozen()), ["frozen dataclass"]),
        (methods(Map), ["frozen dataclass"]),
        (methods(NoFit()), ["'mine'", "no valid `fit`", "bbh_bench.api.Method.fit"]),
        (methods(NoVersion()), ["'mine'", "no valid `version`", "`version: int = 1`"]),
        (methods(Map(name="My Method")), ["'My Method'", "lower-case"]),
        (methods(Map(name="../up")), ["'../up'", "lower-case"]),
        (methods(Map(name="m" * 65)), ["up to 64"]),
        (methods(Map(name="endless", lr=float("inf"))), ["'endless'", "the field value inf", "use None instead"]),
        (methods(WithActivation(nn.ReLU())), ["'mine'", "type ReLU", "frozen dataclass made of these"]),
        (methods(WithActivation(lambda x: x)), ["'mine'", "type function"]),
        (attacks(replace(FGSM, name="a", norm="l0")), ["no valid `norm`", "'linf' or 'l2'"]),
        (attacks(replace(FGSM, name="a", epsilons=(0.2, 0.1))), ["no valid `epsilons`", "increasing"]),
        (attacks(replace(FGSM, name="a", samples=0)), ["no valid `samples`"]),
        (attacks(replace(BOUNDARY, name="a", access="grey")), ["no valid `access`"]),
        (attacks(replace(BOUNDARY, name="a", images=0)), ["no valid `images`"]),
        (attacks(replace(BOUNDARY, name="a", algorithm=len)), ["no valid `algorithm`"]),
        (attacks(replace(BOUNDARY, name="a", surrogate="map")), ["no valid `surrogate`"]),
        (attacks(FGSM.algorithm), ["is not a bbh_bench.Attack", "algorithm=..."]),
        (
            lambda: module(bbh_tasks=hookimpl(lambda: [replace(digits5.TASK, name="a", version="1")])),
            ["no valid `version`"],
        ),
        (
            lambda: module(bbh_metrics=hookimpl(lambda: [replace(ERROR, name="a", scope="all")])),
            ["no valid `scope`", "'labelled', 'inputs' or 'ood'"],
        ),
    ],
)
def test_a_broken_plugin_is_reported_and_the_rest_works(load, broken, parts):
    loaded = load(broken, methods(Map(name="good")))
    (problem,) = loaded.problems
    assert "'other-0'" in problem
    for part in parts:
        assert part in problem
    assert {"map", "ensemble", "dropout", "good"} <= set(loaded.methods)
    assert loaded.methods["map"] == Map()


def test_two_plugins_with_one_name_are_both_named_and_the_first_keeps_it(load):
    loaded = load(methods(Map(name="mine", lr=1.0)), methods(Map(name="mine", lr=2.0), Map(name="more")))
    (problem,) = loaded.problems
    assert "'other-1'" in problem
    assert "'other-0'" in problem
    assert loaded.methods["mine"] == Map(name="mine", lr=1.0)
    assert "more" in set(loaded.methods)  # the rest of that plugin stays


@pytest.mark.parametrize(("name", "nearest"), [("bhb-map", "map"), ("ensembel", "ensemble"), ("drop-out", "dropout")])
def test_an_unknown_name_suggests_the_nearest(builtin, name, nearest):
    with pytest.raises(UnknownName, match=rf"No method named '{name}'\. Did you mean '{nearest}'\?"):
        builtin.methods[name]


FILE = """
from dataclasses import dataclass
from bbh_bench import hookimpl
from bbh_bench.methods.map import Map

@hookimpl
def bbh_methods():
    return [Map(name="from-file")]
"""


def test_a_plugin_file_needs_no_package(tmp_path):
    file = tmp_path / "blur.py"
    file.write_text(FILE)
    loaded = load_plugins(external=False, files=[file])
    assert loaded.methods.registered("from-file").package == "blur.py"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no Python file"),
        ("import nothing_of_this_name\n", r"'blur\.py'.*ModuleNotFoundError.*\(blur\.py:1\)"),
        ("x = 1\ny = = 2\n", r"SyntaxError.*\(blur\.py:2\)"),
    ],
)
def test_a_plugin_file_that_does_not_work_ends_the_command(tmp_path, content, complaint):
    """It was named on purpose: going on without it would help nobody."""
    file = tmp_path / "blur.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(BenchError, match=complaint):
        load_plugins(external=False, files=[file])


def test_importing_the_package_imports_neither_torch_nor_a_plugin(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("bbh_bench", "torch")]:
        monkeypatch.delitem(sys.modules, name)
    importlib.import_module("bbh_bench.cli").parser()
    assert "torch" not in sys.modules
    assert not [name for name in sys.modules if name.startswith(("bbh_bench.methods", "bbh_bench.tasks"))]


def test_public_names_are_imported_when_used():
    package = importlib.import_module("bbh_bench")
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert package.__version__
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense
