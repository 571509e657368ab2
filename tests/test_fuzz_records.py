"""Any content of a record file, or of a file of arrays, is read or refused by name; what is read can be shown."""

import io
import json
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from fuzz_json import VALUES, as_text, broken_bytes
from fuzz_records import STORED_ARRAYS, contents, valid_records
from fuzz_settings import examples
from hypothesis import event, given
from hypothesis import strategies as st
from record_factory import record

from bbh_bench import cli
from bbh_bench.errors import RecordError
from bbh_bench.leaderboard import pages
from bbh_bench.leaderboard.frame import load_leaderboard
from bbh_bench.records.limits import decoded
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store


@pytest.fixture(scope="module")
def folder():
    """A store with two sound records and the place of a third."""
    with TemporaryDirectory() as root:
        store = Store(Path(root))
        for seed in range(3):
            store.put(record("m", seed, 0.1 + seed / 100), {"x": np.arange(3)})
        yield store


THIRD = record("m", 2).path


@examples(60)
@given(content=contents())
def test_any_content_of_a_record_is_refused_by_name_or_can_be_shown(folder, content):
    path = folder.root / THIRD
    path.write_bytes(content)
    records, refused = folder.readable()
    assert [each.seed for each in records][:2] == [0, 1]
    assert len(records) + len(refused) == 3
    event("read" if len(records) == 3 else "refused")
    for sentence in refused:
        assert str(path) in sentence
        assert sentence.isprintable()
    if len(records) == 3:
        for page in pages(records).values():
            page.encode()
        assert Record.read(path) == records[2]
        msgspec.json.decode(records[2].to_json())


@examples(12)
@given(content=contents())
def test_commands_that_read_one_record_refuse_it_by_name_or_show_it(folder, content, capsys):
    path = folder.root / THIRD
    path.write_bytes(content)
    other = str(folder.root / record("m", 0).path)
    for arguments in (["show", str(path)], ["diff", other, str(path)], ["status", "--records", str(folder.root)]):
        code = cli.main(arguments)
        captured = capsys.readouterr()
        assert code in (0, 1, 2)
        if code == 2:
            assert captured.err.startswith("bbh-bench: ")
            assert str(path) in captured.err
            assert captured.err.count("\n") == 1


@examples(6)
@given(content=contents())
def test_commands_that_read_a_folder_refuse_one_record_by_name(folder, content, capsys):
    path = folder.root / THIRD
    path.write_bytes(content)
    sound = len(folder.readable()[0]) == 3
    for arguments in (["verify"], ["rescore"]):
        code = cli.main([*arguments, "--records", str(folder.root)])
        captured = capsys.readouterr()
        assert code in (0, 1, 2)
        assert sound or str(path) in captured.err
    assert (
        sound or path.read_bytes() == content
    )  # what can be read is rescored, and written in the form of other records


@examples(30)
@given(each=valid_records(), arrays=STORED_ARRAYS)
def test_what_is_written_is_read_again(each, arrays):
    with TemporaryDirectory() as root:
        store = Store(Path(root))
        stored = store.put(each, arrays)
        (again,) = store.records()
        assert again == stored
        assert msgspec.structs.replace(again, predictions=each.predictions) == each
        found = store.arrays(again)
        assert sorted(found) == sorted(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            assert found[name].tobytes() == array.tobytes()
        (row, *_) = load_leaderboard(root).query("score == 'test/nll'").value
        assert row == each.scores["test/nll"]
        assert pages([again])


def packed():
    content = io.BytesIO()
    np.savez_compressed(content, a=np.linspace(0, 1, 5), b=np.arange(4).reshape(2, 2))
    return content.getvalue()


@examples(150)
@given(content=broken_bytes(packed()) | st.binary(max_size=40))
def test_broken_arrays_are_refused_by_name_or_are_arrays_of_numbers(content):
    with TemporaryDirectory() as root:
        store = Store(Path(root))
        named = store.put_packed(record(), content)
        with refused_for(store.root / named.path):
            arrays = store.arrays(named)
            assert all(array.dtype.kind in "biufcU" for array in arrays.values())
            event("read")


@contextmanager
def refused_for(path):
    """What is refused here names this file."""
    try:
        yield
    except RecordError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the message does not name {path}: {error}") from error
        event("refused")


@examples(150)
@given(value=VALUES, data=st.data())
def test_a_key_that_stands_twice_is_refused_wherever_and_however_it_is_written(value, data):
    """Keys and texts may have colons, which ``decoded`` counts, also as escapes; ``json`` is the oracle."""
    text = as_text({"a:": value, "b": {"c": ":"}})
    objects = [at + 1 for at, character in enumerate(text) if character == "{"]
    at = data.draw(st.sampled_from(objects))
    added = data.draw(
        st.sampled_from(['"c": 1, ', '"a:" : [":"], ', r'"a\u003A": 1, ', '"b":{}, ', r'"\u0062": "::", '])
    )
    content = (text[:at] + added + text[at:]).replace(", }", "}").encode()
    repeated = []

    def pairs(found):
        repeated.extend(key for key, times in Counter(key for key, _ in found).items() if times > 1)
        return dict(found)

    try:
        expected = json.loads(content, object_pairs_hook=pairs, parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError):
        return  # no JSON
    if repeated:
        with pytest.raises(ValueError, match="stands twice in one of its objects"):
            decoded(content)
    else:
        assert decoded(content) == expected
