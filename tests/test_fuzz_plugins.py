"""Whatever a package declares and its hooks return: it is registered, or refused in one line that names the package."""

import sys
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import pytest
from fuzz_json import TEXTS
from fuzz_settings import examples
from helpers import TINY
from hypothesis import given
from hypothesis import strategies as st
from write_watch import outside, written

from bbh_bench import hookimpl, plugins
from bbh_bench.attacks.builtin import FGSM
from bbh_bench.contracts import NAME
from bbh_bench.errors import Terminated
from bbh_bench.evaluation.metrics import bbh_metrics
from bbh_bench.methods.map import Map
from bbh_bench.plugins import PluginLoader
from bbh_bench.running.plan import plan

KINDS = {"method": Map(), "task": TINY, "attack": FGSM, "metric": bbh_metrics()[0]}


class Odd(BaseException):
    """No ``Exception``, and without a text."""

    def __str__(self):
        raise SystemExit("no text")


def raises(*arguments):
    raise Odd


class NoEquality:
    __eq__ = __hash__ = raises


class NoText:
    __repr__ = __str__ = raises


class NoAttributes:
    __getattribute__ = raises


class NoIteration:
    __iter__ = raises


@dataclass(frozen=True, eq=False)
class Incomparable(Map):
    """A sound method, but for its comparison."""

    __eq__ = __hash__ = raises


VALUES = st.one_of(
    st.sampled_from([None, 0, {}, {"a": 1}, [], [[Map()]], (), Map, Odd, raises, len, NoText, sys]),
    *map(st.builds, (NoEquality, NoText, NoAttributes, NoIteration)),
    TEXTS,
)
NAMES = st.one_of(
    TEXTS,
    st.sampled_from(["a/b", "a\\b", "a\nb", "ä", "\x1b[31m", "m" * 65, "\ud800", None, 3]),
    st.builds(NoEquality),
)


@st.composite
def objects(draw, kind):
    """Something, or a sound object of the kind of which one field is something else."""
    sound = KINDS[kind]
    if draw(st.integers(0, 3)) == 0:
        return draw(VALUES)
    field = draw(st.sampled_from(["name", "name", *sound.__dataclass_fields__]))
    return replace(sound, **{field: draw(NAMES if field == "name" else VALUES)})


@st.composite
def results(draw, kind):
    """What a hook returns."""
    if draw(st.integers(0, 4)) == 0:
        return draw(VALUES | st.builds(count))
    return draw(st.lists(objects(kind), max_size=3))


def loaded(package, hook, function):
    """A plugin with one hook, without the built-in ones."""
    module = ModuleType("a_plugin")
    function.__name__ = hook
    setattr(module, hook, hookimpl(function))
    loader = PluginLoader()
    loader.add(package, "a_plugin", lambda: module)
    return loader.collect()


def assert_one_line(problem, package=""):
    assert problem.isprintable()
    assert package in problem
    assert len(problem) < 2100


@pytest.mark.parametrize("kind", KINDS)
@examples(40)
@given(data=st.data())
def test_what_a_hook_returns_is_registered_or_refused_in_one_line(kind, data):
    result = data.draw(results(kind))
    with written() as paths:
        found = loaded("other", f"bbh_{kind}s", lambda: result)
    assert paths == []
    for problem in found.problems:
        assert_one_line(problem, "The plugin 'other'")
    entries = {registry.kind: registry.entries for registry in found.registries}
    assert all(NAME.fullmatch(name) for name in entries[kind])
    if type(result) is list:
        assert len(entries[kind]) + len(found.problems) == len(result)
    elif type(result) is not tuple:
        assert len(found.problems) == 1


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, Odd, type("Quiet", (BaseException,), {})])
def test_whatever_a_plugin_raises_is_reported_and_the_next_one_loads(error):
    def hook():
        raise error

    loader = PluginLoader()
    loader.add("at-import", "a_plugin", hook)
    (problem,) = loader.problems
    assert_one_line(problem, f"'at-import' is left out: it cannot be imported with {error.__name__}")
    (problem,) = loaded("in-hook", "bbh_methods", hook).problems
    assert_one_line(problem, f"'in-hook' is left out: its hook bbh_methods() failed with {error.__name__}")


@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
def test_an_interruption_while_plugins_load_ends_the_command(error):
    def hook():
        raise error

    with pytest.raises(error):
        PluginLoader().add("at-import", "a_plugin", hook)
    with pytest.raises(error):
        loaded("in-hook", "bbh_methods", hook)


def test_a_method_that_cannot_be_compared_can_be_named_twice():
    found = loaded("other", "bbh_methods", lambda: [Incomparable(name="odd")])
    tasks = replace(found.tasks, entries=loaded("other", "bbh_tasks", lambda: [TINY]).tasks.entries)
    assert len(plan(replace(found, tasks=tasks), ["tiny"], ["odd", "odd"], [0])) == 1


MODULE = """
from bbh_bench import hookimpl
from bbh_bench.methods.map import Map

@hookimpl
def bbh_methods():
    return [Map(name="found")]
"""
POINTS = st.sampled_from(
    [
        "a_fuzzed_plugin",
        "a_fuzzed_plugin:missing",
        "a_fuzzed_plugin:hookimpl",
        "no.such",
        "",
        ":",
        "a b",
        "..",
        "../x:y",
        "os:path",
    ]
)
LINES = st.one_of(
    st.tuples(TEXTS, POINTS | TEXTS).map(" = ".join),
    st.sampled_from(
        ["junk", "=", "[", "[]", "[bbh_bench", "# comment", "[other]", "x = a_fuzzed_plugin [extra]", "x ="]
    ),
)


@examples(40)
@given(name=NAMES.filter(lambda name: isinstance(name, str)) | st.none(), lines=st.lists(LINES, max_size=4))
def test_any_metadata_of_a_package_are_loaded_or_refused_in_one_line(name, lines):
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        metadata = Path(folder, "a_fuzzed_plugin-1.0.dist-info")
        metadata.mkdir()
        named = "" if name is None else f"Name: {name}\n"
        metadata.joinpath("METADATA").write_bytes(
            f"Metadata-Version: 2.1\n{named}Version: 1\n".encode(errors="replace")
        )
        text = "\n".join(["[bbh_bench]", *lines])
        metadata.joinpath("entry_points.txt").write_bytes(text.encode(errors="replace"))
        Path(folder, "a_fuzzed_plugin.py").write_text(MODULE)
        patch.setattr(sys, "path", [folder, *sys.path])
        patch.setattr(plugins, "BUILT_IN", ())
        patch.delitem(sys.modules, "a_fuzzed_plugin", raising=False)
        with written() as paths:
            found = plugins.load_plugins()
        sys.modules.pop("a_fuzzed_plugin", None)
        assert outside(paths, folder) == []
        for problem in found.problems:
            assert_one_line(problem)


def test_a_package_whose_entry_points_cannot_be_read_is_named_and_the_others_load(tmp_path, monkeypatch):
    for package, text in {"broken": "[bbh_bench]\njunk\n", "sound": "[bbh_bench]\nx = a_sound_plugin\n"}.items():
        metadata = tmp_path / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(text)
    (tmp_path / "a_sound_plugin.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = plugins.load_plugins()
    sys.modules.pop("a_sound_plugin")
    (problem,) = [each for each in found.problems if "'broken'" in each]
    assert "its entry points cannot be read" in problem
    assert found.methods.registered("found").package == "sound"
