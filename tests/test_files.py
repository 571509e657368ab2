"""Files that replace others as a whole, and temporary files that an interrupted write left."""

import os
import re
import time
from contextlib import suppress

import pytest

from bbh_bench.records import files
from bbh_bench.records.files import Together, atomically, clear_temporary, write_atomically

DEAD = 2**30
"""A process id that no process has: it is above the limit of every system."""


class Killed(BaseException):
    """Ends a write as SIGKILL would."""


def interrupted(monkeypatch, folder, process):
    """A temporary file in ``folder`` as ``process`` leaves it if it is killed while it writes."""
    with monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: process)
        patch.setattr("pathlib.Path.unlink", lambda path, missing_ok=False: None)
        with suppress(Killed), atomically(folder / "seed0.json") as file:
            file.write(b"half")
            raise Killed
    (left,) = folder.glob(".seed0.json.*.tmp")
    return left


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", ["os.fsync", "os.replace"])
def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, step, error):
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(step, fail)
    with pytest.raises(type(error)):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_names_the_file_that_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(OSError, match=re.escape(f"No such file or directory: '{tmp_path / 'no' / 'file'}'")):
        write_atomically(tmp_path / "no" / "file", b"")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{tmp_path / 'file'}'")):
        write_atomically(tmp_path / "file", b"")


def test_files_are_replaced_together_or_not_at_all(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    with Together() as both:
        both.add(first, b"1")
        both.add(second, b"2")
        assert not first.exists()
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    with suppress(FileNotFoundError), Together() as both:
        both.add(first, b"3")
        both.add(tmp_path / "no" / "c", b"4")
        pytest.fail("a file was written to a folder that does not exist")
    assert first.read_bytes() == b"1"
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_temporary_files_of_dead_processes_are_deleted_and_those_of_living_ones_stay(tmp_path, monkeypatch):
    living = interrupted(monkeypatch, tmp_path, os.getpid()).rename(tmp_path / "elsewhere")
    dead = interrupted(monkeypatch, tmp_path, DEAD)
    living = living.rename(tmp_path / dead.name.replace(str(DEAD), str(os.getpid())))
    assert clear_temporary(tmp_path) == [dead]
    assert list(tmp_path.iterdir()) == [living]


def test_temporary_files_of_another_host_go_by_their_age(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("platform.node", lambda: "another")
        left = interrupted(monkeypatch, tmp_path, DEAD)
    (tmp_path / ".seed1.npz.abcd_123").touch()  # as version 0.1 named them
    (tmp_path / ".probe.abcd_123").touch()
    keep = [tmp_path / name for name in (".gitignore", ".notes.txt.abcd_123", "seed0.json", ".seed0.json.swp")]
    for path in keep:
        path.touch()
    assert clear_temporary(tmp_path) == []
    later = time.time() + files.STALE_SECONDS + 60
    monkeypatch.setattr("time.time", lambda: later)
    assert left in clear_temporary(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(keep)
