"""Damaged and hostile files among records: each is named with its reason, and the rest of the board is rendered."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from record_factory import record

from bbh_bench import cli
from bbh_bench.errors import RecordError
from bbh_bench.leaderboard import FILE
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store

ARRAYS = {"x": np.arange(3)}


@pytest.fixture
def store(tmp_path):
    """Two sound records, and a third to be damaged."""
    store = Store(tmp_path / "runs")
    for seed in range(3):
        store.put(record("m", seed, 0.1 + seed / 100), ARRAYS)
    return store


def damaged(store, change):
    """Change the JSON of the third record."""
    path = store.root / record("m", 2).path
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def nested(levels):
    value = 0
    for _ in range(levels):
        value = [value]
    return value


def put(*path, value):
    def change(content):
        part = content
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value

    return change


DAMAGED = {
    "a line break in an unknown name": (put("\n", value=1), r"unknown field `\\n`"),
    "an unknown name without end": (put("x" * 10_000, value=1), r"x{400}\.\.\. ?\)"),
    "an enormous integer": (put("cost", "parameters", value=10**400), "(parameters|number|cost|out of range)"),
    "an infinite number": (put("scores", "test/nll", value=float("inf")), "."),
    "half of a surrogate pair": (put("provenance", "command", value="run \ud800"), "."),
    "a very long text": (put("provenance", "command", value="x" * 10_000), "10,000 characters"),
    "null in a curve": (put("curves", "attack/a", "accuracy", value=[None, 0.1]), "."),
    "text in a curve": (put("curves", "attack/a", "accuracy", value=["a", 0.1]), "."),
    "an attack without a name": (put("task", "attacks", value=[{"version": 1}]), "lacks or changes: name"),
    "an attack of another shape": (put("task", "attacks", value=[[1]]), "."),
    "epsilons that are text": (put("task", "attacks", 0, "epsilons", value="0.1"), "lacks or changes: epsilons"),
    "a surrogate without a name": (put("task", "attacks", 0, "surrogate", value={}), "lacks or changes: surrogate"),
    "deep nesting": (put("method", "hyperparameters", value={"a": nested(500)}), "nested"),
    "an unknown field": (put("more", value=1), "."),
    "another place": (put("task", "name", value="u"), "says that it is"),
    "a newer schema": (put("schema", value=99), "schema 99"),
    "columns of different lengths": (put("curves", "attack/a", "accuracy", value=[0.1]), "different lengths"),
    "a path that leaves the folder": (put("predictions", "file", value="../../x.npz"), "must be in"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_record_is_named_and_the_others_are_rendered(store, damage, capsys):
    change, reason = DAMAGED[damage]
    path = damaged(store, change)
    with pytest.raises(RecordError, match=reason):
        store.records()
    records, (sentence,) = store.readable()
    assert [each.seed for each in records] == [0, 1]
    assert str(path) in sentence
    assert cli.main(["report", "--records", str(store.root)]) == 1
    captured = capsys.readouterr()
    assert f"left out: {sentence}" in captured.err
    assert "Provisional, with their numbers of seeds: m (2)." in (store.root / FILE).read_text()
    assert cli.main(["verify", "--records", str(store.root)]) == 1
    assert str(path) in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("name", ["seed2.json", "seed2.npz"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link"])
def test_pipes_devices_and_links_are_not_read(store, tmp_path, name, kind):
    path = (store.root / record("m", 2).path).with_name(name)
    content = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        (tmp_path / "outside").write_bytes(content)
        path.symlink_to(tmp_path / "outside")
    with pytest.raises(RecordError, match=r"a link, a device or a pipe"):
        [store.arrays(each) for each in store.records()]


def test_a_record_at_another_depth_is_not_lost_unseen(store):
    path = store.root / record("m", 2).path
    deeper = path.parent / "more" / path.name
    deeper.parent.mkdir()
    path.rename(deeper)
    _, (sentence,) = store.readable()
    assert "move it there" in sentence


def packed(*members, compression=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return content.getvalue()


def array(value):
    content = io.BytesIO()
    np.lib.format.write_array(content, np.asarray(value), allow_pickle=True)
    return content.getvalue()


def claims_a_tebibyte():
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (2**37,)})
    return content.getvalue() + b"\0" * 64


def with_header(header):
    """A member of an archive whose array describes itself by this text."""
    text = header.encode("latin1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return packed(("x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)))


def described(descr, shape="(1,)"):
    return with_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


HOSTILE = {
    "a header that does not end": (lambda: with_header("{'descr': '<f8', ("), "header of 'x.npy' cannot be read"),
    "a header without a type": (lambda: described("('<f8',)"), "header of 'x.npy' cannot be read"),
    "a header that is no mapping": (lambda: with_header("{[]: 1}"), "header of 'x.npy' cannot be read"),
    "a header that is nested": (lambda: with_header("-" * 9000 + "1"), "cannot be (read|unpacked)"),
    "texts without characters": (lambda: described("'<U0'", f"({2**40},)"), "claims more values than it has"),
    "a negative shape": (lambda: described("'<f8'", "(-1,)"), "cannot be unpacked"),
    "no values of a large shape": (lambda: described("'<f8'", f"(0, {2**62}, 8)"), "cannot be unpacked"),
    "a claim of 1 TiB": (lambda: packed(("x.npy", claims_a_tebibyte())), "claims more values than it has"),
    "a bomb": (lambda: packed(("x.npy", bytes(2**30 + 1))), "its arrays have more than"),
    "an unknown compression": (
        lambda: packed(("x.npy", array([1.0])), compression=zipfile.ZIP_LZMA),
        "unknown compression",
    ),
    "objects": (lambda: packed(("x.npy", array(np.array([{}], dtype=object)))), "none of numbers"),
    "structures": (lambda: packed(("x.npy", array(np.zeros(2, dtype=[("a", "f4")])))), "none of numbers"),
    "no archive": (lambda: array([1.0]), "cannot be unpacked"),
    "half an archive": (lambda: packed(("x.npy", array([1.0])))[:40], "cannot be unpacked"),
    "text in place of an array": (lambda: packed(("x.npy", b"hello")), "cannot be unpacked"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_arrays_that_would_fill_the_memory_or_run_code_are_refused(store, kind):
    content, reason = HOSTILE[kind]
    (each, *_) = store.records()
    named = store.put_packed(each, content())
    with pytest.raises(RecordError, match=reason):
        store.arrays(named)
    assert not Record.read(store.root / named.path).warnings
