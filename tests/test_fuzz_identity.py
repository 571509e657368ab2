"""Fields of methods and tasks: what is allowed is recorded, read again and told apart; what is not is refused by name."""

import json
from dataclasses import dataclass, make_dataclass, replace
from enum import Enum, IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from fuzz_settings import examples
from helpers import TINY
from hypothesis import given
from hypothesis import strategies as st
from record_factory import record

from bbh_bench.api import task_fingerprint
from bbh_bench.contracts import check_object
from bbh_bench.errors import ContractError
from bbh_bench.methods.map import Map
from bbh_bench.plugins import load_plugins
from bbh_bench.records.identity import describe, fingerprint, hyperparameters
from bbh_bench.records.limits import DEEPEST_SETTINGS, LARGEST_SETTINGS
from bbh_bench.records.store import Store
from bbh_bench.running.plan import plan


@dataclass(frozen=True)
class WithField:
    """A method whose only hyperparameter is any value."""

    value: object
    name: str = "with-field"
    version: int = 1

    def fit(self, problem):
        raise AssertionError


class Kind(Enum):
    SOFT = "soft"


class Level(IntEnum):
    HIGH = 3


class Text(str):
    """Shown as something else than it holds."""

    def __str__(self):
        return "\ud800"


class Number(int):
    """As ``Text``."""

    def __int__(self):
        return -1

    def __str__(self):
        return "many"


KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**299), 10**299) | st.integers(-3, 3),
    st.floats(allow_nan=False, allow_infinity=False),
    KEYS | st.just("x" * 4000),
)
SUBCLASSES = st.one_of(
    st.floats(-1e100, 1e100).map(np.float64),
    KEYS.map(np.str_),
    KEYS.map(Text),
    st.integers(-3, 2**70).map(Number),
    st.sampled_from([Kind.SOFT, Level.HIGH]),
)
FIELDS = st.text("abcdefg", min_size=1, max_size=3).map(lambda name: f"x_{name}")


def groups(inner):
    """Values that contain values: sequences, mappings and dataclasses with and without a name."""
    named = st.dictionaries(FIELDS, inner, max_size=3)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(st.integers(-3, 3) | st.sampled_from([None, Kind.SOFT, np.str_("k")]), inner, max_size=2),
        named.map(lambda fields: make_dataclass("Part", fields, frozen=True)(**fields)),
        named.map(lambda fields: make_dataclass("Base", ["name", *fields], frozen=True)(name="b", **fields)),
    )


ALLOWED = st.recursive(PLAIN | SUBCLASSES, groups, max_leaves=8)
FORBIDDEN = st.sampled_from(
    [
        (float("nan"), "the field value nan"),
        (float("inf"), "the field value inf"),
        (np.float64("-inf"), "the field value -inf"),
        (np.int64(3), "of type int64"),
        (np.float32(3), "of type float32"),
        (np.bool_(True), "of type bool"),
        (np.arange(2), "of type ndarray"),
        ({1, 2}, "of type set"),
        (b"bytes", "of type bytes"),
        (1j, "of type complex"),
        (object(), "of type object"),
        (len, "of type builtin_function_or_method"),
        (WithField, "of type type"),
        ("x" * 4001, "4,001 characters"),
        ({"x" * 4001: 1}, "4,001 characters"),
        ("a\udfff", "half of a surrogate pair"),
        ({"\ud800": 1}, "half of a surrogate pair"),
        (10**4400, "more than 300 digits"),
        ({-(10**4400): 1}, "more than 300 digits"),
        ({1: 2, "1": 3}, 'two keys that are both "1" in JSON'),
        ({None: 2, "None": 3}, 'two keys that are both "None" in JSON'),
        ({(1, 2): 3}, "a key of type tuple"),
    ]
)


@pytest.fixture(scope="module")
def plugins():
    return load_plugins(external=False)


def stored_and_read(settings):
    """What a reader finds in the hyperparameters of a record that was written with these."""
    base = record("with-field")
    changed = msgspec.structs.replace(base, method=msgspec.structs.replace(base.method, hyperparameters=settings))
    with TemporaryDirectory() as folder:
        Store(Path(folder)).put(changed, {"x": np.arange(2)})
        (again,) = Store(Path(folder)).records()
    return again.method.hyperparameters


@examples(60)
@given(value=ALLOWED)
def test_an_allowed_field_is_recorded_and_read_again(value):
    method = WithField(value)
    check_object("method", method)
    settings = hyperparameters(method)
    again = stored_and_read(settings)
    assert typed(again) == typed(settings)
    assert fingerprint(again) == fingerprint(settings)


@examples(60)
@given(value=ALLOWED, data=st.data())
def test_a_fingerprint_does_not_depend_on_the_order_of_a_mapping(value, data):
    def shuffled(part):
        if isinstance(part, dict):
            return {key: shuffled(part[key]) for key in data.draw(st.permutations(list(part)))}
        return [shuffled(each) for each in part] if isinstance(part, list) else part

    described = describe({"value": value})
    assert fingerprint(shuffled(described)) == fingerprint(described)
    assert describe(described) == described


@examples(60)
@given(first=ALLOWED, second=ALLOWED)
def test_two_values_have_one_fingerprint_only_if_they_are_one_value_in_json(first, second):
    """The oracle: Python's own comparison of JSON values, with types, since 1 equals 1.0 and True there."""
    described = [describe({"value": each}) for each in (first, second)]
    same = typed(described[0]) == typed(described[1])
    assert (fingerprint(described[0]) == fingerprint(described[1])) == same


def typed(value):
    """A JSON value in which each number stands beside its type and sign."""
    if isinstance(value, dict):
        return {key: typed(part) for key, part in value.items()}
    if isinstance(value, list):
        return [typed(part) for part in value]
    return type(value).__name__, repr(value)


@examples(60)
@given(forbidden=FORBIDDEN, wrap=st.lists(st.sampled_from(["list", "mapping", "dataclass"]), max_size=3))
def test_a_field_that_a_record_cannot_store_is_refused_with_the_method_the_field_and_the_reason(forbidden, wrap):
    value, reason = forbidden
    place = ""
    for kind in wrap:
        value, place = {
            "list": ([1, value], f".1{place}"),
            "mapping": ({"a": value}, f".a{place}"),
            "dataclass": (WithField(value), f".value{place}"),
        }[kind]
    with pytest.raises(ContractError) as refused:
        check_object("method", WithField(value))
    message = str(refused.value)
    assert message.startswith("'with-field' ")
    assert reason in message
    assert f"in the field 'value{place}'" in message
    assert message.isprintable()


def test_settings_that_are_nested_too_deep_or_contain_themselves_are_refused():
    endless = []
    endless.append(endless)
    deep = 0
    for _ in range(DEEPEST_SETTINGS):
        deep = (deep,)
    for value in (endless, deep):
        with pytest.raises(
            ContractError, match=r"'with-field' is nested in more than 18 levels in the field 'value\.0\."
        ):
            check_object("method", WithField(value))
    check_object("method", WithField(deep[0]))
    settings = hyperparameters(WithField(deep[0]))
    assert stored_and_read(settings) == settings


def test_settings_that_would_fill_a_record_are_refused():
    with pytest.raises(ContractError, match=r"the fields of 'with-field' take .* bytes as JSON; a record has at most"):
        check_object("method", WithField(["x" * 4000] * (LARGEST_SETTINGS // 4000)))


@examples(15)
@given(
    samples=st.integers(1, 10**6),
    epochs=st.integers(1, 10**6),
    title=st.text(max_size=10),
    other=st.integers(1, 10**6),
)
def test_the_fingerprint_of_a_task_follows_its_settings_and_not_its_title(samples, epochs, title, other):
    task = replace(TINY, samples=samples, epochs=epochs)
    assert task_fingerprint(replace(task, title=title)) == task_fingerprint(task)
    assert (task_fingerprint(replace(task, epochs=other)) == task_fingerprint(task)) == (other == epochs)
    json.dumps(describe(task.describe().fit), allow_nan=False)


@examples(8)
@given(forbidden=FORBIDDEN, field=st.sampled_from(["title", "epochs", "headline"]))
def test_a_task_that_a_record_cannot_store_is_refused_before_it_runs(plugins, forbidden, field):
    with pytest.raises(ContractError) as refused:
        plan(plugins, [replace(TINY, **{field: forbidden[0]})], [Map()], [0])
    assert "tiny" in str(refused.value)
    assert field in str(refused.value)


def test_a_task_may_have_texts_of_a_subclass(plugins):
    (cell,) = plan(plugins, [replace(TINY, title=np.str_("t"), epochs=np.float64(3))], [Map()], [0])
    assert type(cell.task_description.title) is str
