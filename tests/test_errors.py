"""Errors of third parties whose own message raises an error, and where they were raised."""

from dataclasses import dataclass

import pytest

from bbh_bench.contracts import check_object
from bbh_bench.errors import ContractError, location, text
from bbh_bench.methods.map import Map


class Mute(Exception):
    """Has no message that can be shown."""

    def __str__(self):
        raise RuntimeError("no message")


class NoRepr:
    def __repr__(self):
        raise RuntimeError("no repr")


@dataclass(frozen=True)
class WithAnything:
    """A method with one field."""

    value: object
    name: str = "mine"
    version: int = 1

    def fit(self, problem):
        raise NotImplementedError


def test_the_text_of_an_error_whose_str_raises_says_so():
    assert text(ValueError("wrong")) == "wrong"
    assert text(Mute()) == "its message cannot be shown: str() raised RuntimeError"


def test_the_location_of_an_error_needs_no_message():
    with pytest.raises(Mute) as caught:
        raise Mute
    assert location(caught.value, "test_errors").startswith("test_errors.py:")
    odd = SyntaxError("odd")
    odd.filename = 7
    assert location(odd, "test_errors") == ""


def test_an_object_whose_repr_raises_is_refused_like_any_other():
    with pytest.raises(
        ContractError, match=r"an object of the class 'NoRepr' \(its repr\(\) raises an error\) is not an inst"
    ):
        check_object("method", NoRepr())


@pytest.mark.parametrize("name", ["m" * 65, "m" * 10_000, 7, NoRepr()])
def test_a_name_that_is_too_long_is_refused_in_a_short_message(name):
    with pytest.raises(ContractError, match="up to 64 lower-case letters") as caught:
        check_object("method", Map(name=name))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("version", [-1, 10**9, pytest.param(10**5000, id="huge"), True])
def test_a_version_that_cannot_name_a_folder_is_refused(version):
    with pytest.raises(ContractError, match="no valid `version`; it must be an integer from 0 on, below 10"):
        check_object("method", WithAnything(value=0, version=version))
