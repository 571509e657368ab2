"""Digests, downloads that fail, subsets, and the split of the built-in tasks."""

import gzip
import http.server
import io
import shutil
import tarfile
import threading
from collections import deque

import pytest
import torch

from bbh_bench.data import RETRIES, DataFile, TarArchive, data_folder, sealed, sha256, shuffled, stratified, unpack
from bbh_bench.errors import ContractError, DataError
from bbh_bench.tasks import digits5, mnist

CONTENT = b"forty-two bytes of an imaginary data set.."
PACKED = gzip.compress(CONTENT)


class Server(http.server.ThreadingHTTPServer):
    """Sends ``/images.gz``; all other paths are not found. The first answers are those of ``answers``."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers = deque()
        self.packed = PACKED
        self.encoding = None
        self.requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its server says."""

    def do_GET(self):
        self.server.requests += 1
        answer = self.server.answers.popleft() if self.server.answers else "complete"
        if answer == "busy" or self.path != "/images.gz":
            self.send_error(503 if answer == "busy" else 404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.packed)))
        if self.server.encoding:
            self.send_header("Content-Encoding", self.server.encoding)
        self.end_headers()
        self.wfile.write(self.server.packed if answer == "complete" else self.server.packed[:20])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine. Waits between attempts are skipped."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield running
        running.shutdown()


def images(server):
    return DataFile("set/raw/images", sha256(CONTENT), f"{server.url}/images.gz")


def test_a_missing_file_is_downloaded_unpacked_and_checked(server, tmp_path):
    assert images(server).read(tmp_path).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "set/raw").iterdir()] == ["images"]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    images(server).read(tmp_path)
    assert server.requests == 1


def test_the_data_folder_is_created_for_a_download(server, tmp_path):
    assert images(server).read(tmp_path / "cache/data").read_bytes() == CONTENT


def test_a_dropped_connection_and_a_busy_server_are_tried_again(server, tmp_path):
    server.answers.extend(["half", "busy"])
    assert images(server).read(tmp_path).read_bytes() == CONTENT
    assert server.requests == 3


def test_a_file_that_the_server_unpacks_itself_is_accepted(server, tmp_path):
    server.encoding = "gzip"  # the client then unpacks what it receives
    assert images(server).read(tmp_path).read_bytes() == CONTENT


def test_a_failed_download_says_which_file_from_where_and_where_to_put_it(server, tmp_path):
    file = DataFile("set/raw/other", sha256(CONTENT), f"{server.url}/other.gz")
    with pytest.raises(DataError) as caught:
        file.read(tmp_path)
    for part in (str(tmp_path / "set/raw/other"), f"{server.url}/other.gz", "404", "--data", "BBH_BENCH_DATA"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert server.requests == 1 + RETRIES


def test_without_a_network_the_error_is_the_same(server, tmp_path):
    with pytest.raises(DataError, match=r"cannot be downloaded .*by hand, or name a folder"):
        DataFile("set/raw/images", sha256(CONTENT), "http://127.0.0.1:9/images.gz").read(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (PACKED[:-12], "its gzip data are damaged"),
        (PACKED[:14] + b"\xff\xff" + PACKED[16:], "its gzip data are damaged"),
        (gzip.compress(b"another file"), "another content"),
        (b"<html>no</html>", "another content"),
    ],
    ids=["truncated", "damaged", "another file", "a page"],
)
def test_a_download_that_is_truncated_or_wrong_is_not_placed(server, tmp_path, packed, reason):
    server.packed = packed
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        images(server).read(tmp_path)
    assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == []


PARTS = {"batches/one": b"first part", "batches/two": b"second part"}


def packed_parts(parts, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, content in ({"batches/readme": b"not needed", "../outside": b"not wanted"} | parts).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def archive(server):
    url = f"{server.url}/images.gz"
    return TarArchive(url, tuple(DataFile(name, sha256(content), url) for name, content in PARTS.items()))


@pytest.mark.parametrize("mode", ["w:gz", "w"], ids=["packed", "unpacked by the server"])
def test_the_missing_files_of_an_archive_are_downloaded_together(server, tmp_path, mode):
    server.packed = packed_parts(PARTS, mode)
    paths = archive(server).read(tmp_path / "data")
    assert [path.read_bytes() for path in paths] == list(PARTS.values())
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["batches", "data", "one", "two"]
    archive(server).read(tmp_path / "data")
    assert server.requests == 1


def test_files_that_are_there_are_not_replaced_by_those_of_an_archive(server, tmp_path):
    (tmp_path / "batches").mkdir()
    (tmp_path / "batches/one").write_bytes(b"changed")
    server.packed = packed_parts(PARTS)
    with pytest.raises(DataError, match=r"one' \(7 bytes\) is truncated or changed"):
        archive(server).read(tmp_path)
    assert (tmp_path / "batches/one").read_bytes() == b"changed"
    assert (tmp_path / "batches/two").read_bytes() == PARTS["batches/two"]


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (packed_parts({"batches/one": b"first part"}), "lacks a file"),
        (packed_parts(PARTS | {"batches/two": b"another"}), "another content"),
        (packed_parts(PARTS)[:-20], "its gzip data are damaged"),
        (b"<html>no</html>", "its tar archive is damaged"),
    ],
    ids=["a file lacks", "another file", "truncated", "a page"],
)
def test_an_archive_that_is_not_the_right_one_is_not_placed(server, tmp_path, packed, reason):
    server.packed = packed
    with pytest.raises(DataError) as caught:
        archive(server).read(tmp_path)
    for part in (reason, "batches/one", f"{server.url}/images.gz", "by hand", "--data", "BBH_BENCH_DATA"):
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_unpacking():
    assert unpack(PACKED) == unpack(CONTENT) == CONTENT


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
    with pytest.raises(DataError, match="named by --data, does not exist"):
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
def test_stratified_keeps_the_share_of_each_class_to_within_one_example(n):
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[shuffled(100, seed=3)]
    chosen = stratified(labels, n)
    assert len(chosen.unique()) == n
    counts = labels[chosen].bincount(minlength=3)
    assert (counts - n * torch.tensor([0.5, 0.3, 0.2])).abs().max() <= 1


def test_stratified_subsets_are_pinned():
    labels = torch.arange(20) % 2
    assert stratified(labels, 6).tolist() == stratified(labels, 6).tolist() == [1, 8, 10, 17, 18, 19]
    assert stratified(labels, 20).tolist() == list(range(20))


def test_a_smaller_stratified_subset_is_part_of_a_larger_one():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[shuffled(100, seed=3)]
    assert set(stratified(labels, 20).tolist()) < set(stratified(labels, 50).tolist())


def test_digits5_is_split_without_overlap_and_stratified(tmp_path):
    data = digits5.Digits5().load(tmp_path)
    parts = [data.train, data.validation, data.test]
    assert [len(y) for _, y in parts] == [540, 91, 270]
    assert len(data.ood["digits5-9"]) == 1797 - 901
    pixels = torch.cat([x for x, _ in parts]).flatten(1)
    assert len(pixels.unique(dim=0)) == 901  # all images of scikit-learn's set differ
    shares = torch.stack([y.bincount(minlength=5) / len(y) for _, y in parts])
    assert (shares - shares.mean(0)).abs().max() < 0.02
    assert pixels.min() == 0
    assert pixels.max() == 1


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
    assert {name: len(x) for name, x in loaded.ood.items()} == {
        "notmnist": 10_000,
        "fashionmnist": 2_000,
        "kmnist": 2_000,
    }
    assert (loaded.ood["notmnist"].amax((1, 2, 3)) <= 1).all()


def test_mnist_does_without_the_optional_ood_sets(data, tmp_path):
    for name in ("MNIST", "notMNIST"):
        shutil.copytree(data / name, tmp_path / name)
    assert list(mnist.Mnist().load(tmp_path).ood) == ["notmnist"]


def test_a_truncated_mnist_file_is_refused(data, tmp_path):
    shutil.copytree(data / "MNIST", tmp_path / "MNIST")
    file = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        mnist.Mnist().load(tmp_path)
