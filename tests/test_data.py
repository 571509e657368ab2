"""Digests, downloads that fail, subsets, and the split of the built-in tasks."""

import gzip
import http.server
import shutil
import threading

import pytest
import torch

from bbh_bench.data import DataFile, data_folder, sealed, sha256, shuffled, stratified
from bbh_bench.errors import ContractError, DataError
from bbh_bench.tasks import digits5, mnist

CONTENT = b"forty-two bytes of an imaginary data set.."


@pytest.fixture
def server(tmp_path):
    """A web server on this machine that has the packed file."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "images.gz").write_bytes(gzip.compress(CONTENT))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(served))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_missing_file_is_downloaded_unpacked_and_checked(server, tmp_path):
    file = DataFile("set/raw/images", sha256(CONTENT), f"{server}/images.gz")
    assert file.read(tmp_path).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "set/raw").iterdir()] == ["images"]


def test_a_failed_download_says_which_file_from_where_and_where_to_put_it(server, tmp_path):
    file = DataFile("set/raw/other", sha256(CONTENT), f"{server}/other.gz")
    with pytest.raises(DataError) as caught:
        file.read(tmp_path)
    for part in (str(tmp_path / "set/raw/other"), f"{server}/other.gz", "--data", "BBH_BENCH_DATA"):
        assert part in str(caught.value)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("packed", [gzip.compress(CONTENT)[:-12], gzip.compress(b"another file"), b"<html>no</html>"])
def test_a_download_that_is_cut_or_wrong_reaches_no_folder(server, tmp_path, packed):
    (tmp_path / "served/images.gz").write_bytes(packed)
    with pytest.raises(DataError, match="can't be fetched"):
        DataFile("set/raw/images", sha256(CONTENT), f"{server}/images.gz").read(tmp_path)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT.replace(b"t", b"d"), b""])
def test_a_truncated_or_changed_file_is_refused(content, tmp_path):
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(DataError, match="truncated or changed") as caught:
        DataFile("images", sha256(CONTENT), "http://127.0.0.1:9/images.gz").read(tmp_path)
    assert "Delete it" in str(caught.value)
    assert (tmp_path / "images").read_bytes() == content


def test_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("BBH_BENCH_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    (tmp_path / "other").mkdir()
    assert data_folder(str(tmp_path / "other")) == tmp_path / "other"
    with pytest.raises(DataError, match="named by --data, doesn't exist"):
        data_folder(str(tmp_path / "nowhere"))
    monkeypatch.setenv("BBH_BENCH_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="named by the variable BBH_BENCH_DATA"):
        data_folder()
    monkeypatch.delenv("BBH_BENCH_DATA")
    assert data_folder().parts[-2:] == ("bbh_bench", "data")


def test_data_sets_are_sealed_while_a_method_fits(tmp_path):
    with (
        sealed("method 'cheat'"),
        pytest.raises(ContractError, match="method 'cheat' asked for the data set 'digits5'"),
    ):
        digits5.TASK.load(tmp_path)
    digits5.TASK.load(tmp_path)


@pytest.mark.parametrize("n", [10, 37, 99])
def test_stratified_keeps_each_classs_share_to_within_one_example(n):
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[shuffled(100, seed=3)]
    chosen = stratified(labels, n)
    assert len(chosen.unique()) == n
    counts = labels[chosen].bincount(minlength=3)
    assert (counts - n * torch.tensor([0.5, 0.3, 0.2])).abs().max() <= 1


def test_stratified_subsets_are_pinned():
    labels = torch.arange(20) % 2
    assert stratified(labels, 6).tolist() == stratified(labels, 6).tolist() == [1, 8, 10, 17, 18, 19]
    assert stratified(labels, 20).tolist() == list(range(20))


def test_digits5_is_split_without_overlap_and_stratified(tmp_path):
    data = digits5.Digits5().load(tmp_path)
    parts = [data.train, data.validation, data.test]
    assert [len(y) for _, y in parts] == [540, 91, 270]
    assert len(data.outliers["digits5-9"]) == 1797 - 901
    images = torch.cat([x for x, _ in parts]).flatten(1)
    assert len(images.unique(dim=0)) == 901  # all images of scikit-learn's set differ
    shares = torch.stack([y.bincount(minlength=5) / len(y) for _, y in parts])
    assert (shares - shares.mean(0)).abs().max() < 0.02
    assert images.min() == 0
    assert images.max() == 1


def test_digits5_refuses_another_scikit_learn_set(tmp_path, monkeypatch):
    monkeypatch.setattr(digits5, "DIGEST", "0" * 64)
    with pytest.raises(DataError, match="load_digits"):
        digits5.Digits5().load(tmp_path)


def test_mnist_is_the_papers_split(data):
    loaded = mnist.Mnist().load(data)
    assert [len(loaded.train[1]), len(loaded.validation[1]), len(loaded.test[1])] == [55_000, 5_000, 10_000]
    assert loaded.train[0].shape == (55_000, 1, 28, 28)
    assert loaded.train[1][:5].tolist() == [7, 3, 4, 6, 1]  # after the 5,000 of TensorFlow's loader
    assert loaded.test[1][:5].tolist() == [7, 2, 1, 0, 4]
    assert {name: len(images) for name, images in loaded.outliers.items()} == {
        "notmnist": 10_000,
        "fashionmnist": 2_000,
        "kmnist": 2_000,
    }
    assert (loaded.outliers["notmnist"].amax((1, 2, 3)) <= 1).all()


def test_mnist_does_without_the_optional_outlier_sets(data, tmp_path):
    for name in ("MNIST", "notMNIST"):
        shutil.copytree(data / name, tmp_path / name)
    assert list(mnist.Mnist().load(tmp_path).outliers) == ["notmnist"]


def test_a_truncated_mnist_file_is_refused(data, tmp_path):
    shutil.copytree(data / "MNIST", tmp_path / "MNIST")
    images = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1000])
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        mnist.Mnist().load(tmp_path)
