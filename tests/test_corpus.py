"""The corrupt files that ``corpus/README.md`` describes: each is refused with its name and a remedy, and runs no code."""

import re
from pathlib import Path

import numpy as np
import pooch
import pytest
from record_factory import record
from write_watch import outside, written

from bbh_bench import cli
from bbh_bench.data import DataFile, sha256
from bbh_bench.errors import DataError, RecordError
from bbh_bench.records.store import Store
from bbh_bench.tasks.mnist import TRAIN_IMAGES

CORPUS = Path(__file__).with_name("corpus")
REMEDY = re.compile(r"Restore it|delete it|Run the cell again|Upgrade it|Move it elsewhere|move it there")


def files(kind, pattern="*"):
    found = sorted(CORPUS.joinpath(kind).glob(pattern))
    return [pytest.param(path, id=path.name) for path in found]


@pytest.fixture(autouse=True)
def runs_no_code(tmp_path, monkeypatch):
    """Code in a file of the corpus makes a folder in the current one. Nothing else may be written outside, either."""
    monkeypatch.chdir(tmp_path)
    with written() as paths:
        yield
    assert not Path("code-was-run").exists()
    assert outside(paths, tmp_path) == []


@pytest.fixture
def store(tmp_path):
    """Two sound records and the place of a third."""
    store = Store(tmp_path / "runs")
    for seed in range(3):
        store.put(record("m", seed, 0.1 + seed / 100), {"x": np.arange(3)})
    return store


def test_the_readme_names_every_file_and_no_other():
    named = re.findall(r"^\| `([^`]+)` \| .+ \|$", CORPUS.joinpath("README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in CORPUS.glob("*/*"))


@pytest.mark.parametrize("file", files("records"))
def test_a_corrupt_record_is_refused_with_its_name_and_a_remedy(file, store, capsys):
    path = store.root / record("m", 2).path
    path.write_bytes(file.read_bytes())
    records, (sentence,) = store.readable()
    assert [each.seed for each in records] == [0, 1]
    assert str(path) in sentence
    assert REMEDY.search(sentence)
    assert sentence.isprintable()
    assert cli.main(["status", "--records", str(store.root)]) == 0
    assert "1 unreadable" in " ".join(capsys.readouterr().out.split())
    assert path.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("file", files("arrays"))
def test_corrupt_arrays_are_refused_with_their_record_and_a_remedy(file, store):
    (each, *_) = store.records()
    named = store.put_packed(each, file.read_bytes())
    with pytest.raises(RecordError) as refused:
        store.arrays(named)
    assert str(store.root / named.path) in str(refused.value)
    assert REMEDY.search(str(refused.value))
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("file", files("data", "*-ubyte"))
def test_a_corrupt_data_file_is_refused_with_its_name_and_a_remedy(file, tmp_path):
    path = tmp_path / TRAIN_IMAGES.path
    path.parent.mkdir(parents=True)
    path.write_bytes(file.read_bytes())
    with pytest.raises(DataError, match="is truncated or changed") as refused:
        TRAIN_IMAGES.read(tmp_path)
    assert str(path) in str(refused.value)
    assert "Delete it, then run again to download it" in str(refused.value)


@pytest.mark.parametrize("file", files("data", "*.gz"))
def test_a_corrupt_download_is_refused_and_leaves_nothing(file, tmp_path, monkeypatch):
    def downloader(progressbar, chunk_size):
        return lambda url, target, caller: Path(target).write_bytes(file.read_bytes())

    monkeypatch.setattr(pooch, "HTTPDownloader", downloader)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    wanted = DataFile("set/images", sha256(b"other"), "https://example.org/images.gz")
    with pytest.raises(DataError, match=r"https://example\.org/images\.gz cannot be downloaded") as refused:
        wanted.read(tmp_path)
    assert str(tmp_path / "set/images") in str(refused.value)
    assert "by hand, or name a folder that has it" in str(refused.value)
    assert list(tmp_path.rglob("*")) == []
