"""Arrays that cells share through a folder: computed once, and again where a file is not what it should be."""

import numpy as np
import pytest

from bbh_bench.errors import BenchWarning
from bbh_bench.running.shared import SharedArrays

ARRAYS = {"a/0": np.arange(6, dtype=np.float32).reshape(2, 3).T, "file": np.array([1, 2], dtype=np.uint8)}


def never():
    raise AssertionError("it was computed again")


def same(one, two):
    return one.keys() == two.keys() and all(
        np.array_equal(one[name], two[name]) and one[name].dtype == two[name].dtype for name in one
    )


def test_another_cell_reads_what_the_first_one_computed(tmp_path):
    first = SharedArrays(tmp_path / "new", {"task": 1}).get("key", lambda: ARRAYS)
    second = SharedArrays(tmp_path / "new", {"task": 1}).get("key", never)
    assert same(first, ARRAYS)
    assert same(second, ARRAYS)
    assert first["a/0"].strides == second["a/0"].strides  # sums over both have the same bits


@pytest.mark.parametrize("folder", [True, False])
def test_another_key_or_task_has_other_arrays(tmp_path, folder):
    place = tmp_path if folder else None
    shared = SharedArrays(place, {"task": 1})
    shared.get("key", lambda: ARRAYS)
    other = {"x": np.zeros(1)}
    assert same(shared.get("other", lambda: other), other)
    assert same(SharedArrays(place, {"task": 2}).get("key", lambda: other), other)
    assert same(shared.get("key", never), ARRAYS)


@pytest.mark.parametrize("content", [b"", b"PK nothing", None])
def test_a_damaged_file_or_one_of_another_key_is_computed_again(tmp_path, content):
    shared = SharedArrays(tmp_path, {})
    shared.get("key", lambda: ARRAYS)
    (path,) = tmp_path.glob("*.npz")
    if content is None:
        shared.get("other", lambda: {"x": np.zeros(1)})
        (foreign,) = set(tmp_path.glob("*.npz")) - {path}
        content = foreign.read_bytes()
    path.write_bytes(content)
    assert same(shared.get("key", lambda: ARRAYS), ARRAYS)
    assert same(shared.get("key", never), ARRAYS)


def test_without_room_in_the_folder_each_cell_computes(tmp_path):
    (tmp_path / "a-file").write_text("")
    with pytest.warns(BenchWarning, match="cannot be written"):
        assert same(SharedArrays(tmp_path / "a-file", {}).get("key", lambda: ARRAYS), ARRAYS)
