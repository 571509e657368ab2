"""Data files: read, checked against their digests, downloaded if they are missing; and subsets of data sets."""

import gzip
import hashlib
import io
import os
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from bbh_bench.errors import ContractError, DataError

RETRIES = 3
"""After a download that failed, with waits of 1, 2 and 3 seconds."""

_sealed: ContextVar[str] = ContextVar("sealed", default="")


@contextmanager
def sealed(user: str) -> Iterator[None]:
    """Within this context ``user``, such as a method, cannot load a data set: it has its ``Problem`` and needs no test data."""
    token = _sealed.set(user)
    try:
        yield
    finally:
        _sealed.reset(token)


def check_open(name: str) -> None:
    """Every loader calls it with the name of its data set. Raises ``ContractError`` within ``sealed``."""
    if _sealed.get():
        raise ContractError(f"{_sealed.get()} asked for the data set '{name}'; use the data of the Problem.")


def data_folder(option: str | None = None) -> Path:
    """The folder of ``--data``, else of the variable ``BBH_BENCH_DATA``, else one in the user's cache.

    Raises ``DataError`` if the option or the variable names a folder that does not exist.
    """
    path = option or os.environ.get("BBH_BENCH_DATA")
    if path:
        if not Path(path).is_dir():
            source = "--data" if option else "the variable BBH_BENCH_DATA"
            raise DataError(f"The data folder '{path}', named by {source}, does not exist; create it or name another.")
        return Path(path)
    from platformdirs import user_cache_path

    return user_cache_path("bbh_bench") / "data"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, in torchvision's folder layout, with the digest of its unpacked bytes."""

    path: str
    """Relative to the data folder."""
    sha256: str
    url: str
    """Address of the file, packed with gzip."""

    def read(self, folder: Path) -> Path:
        """The path of the file in the data folder. It is downloaded if it is missing, and its digest is checked.

        Raises ``DataError``, which names the file, its address and the remedy.
        """
        check_open(self.path)
        target = folder / self.path
        if not target.is_file():
            self._download(folder)
        state = target.stat()
        actual = _digest_of(target, (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino))
        if actual != self.sha256:
            raise DataError(
                f"The data file '{target}' ({state.st_size:,} bytes) is truncated or changed: its SHA-256 is "
                f"{actual[:12]}... and should be {self.sha256[:12]}... Delete it, then run again to download it, or "
                f"unpack {self.url} there by hand."
            )
        return target

    def present(self, folder: Path) -> bool:
        """Whether the data folder has the file. Its content is not checked."""
        return (folder / self.path).is_file()

    def _download(self, folder: Path) -> None:
        target = folder / self.path
        try:
            _download(self.url, folder, lambda packed: {self.path: self.checked(unpack(packed))})
        except (OSError, ValueError) as error:
            raise DataError(
                f"The data file '{target}' is missing and {self.url} cannot be downloaded ({error}). Unpack that file to "
                f"'{target}' by hand, or name a folder that has it with --data or BBH_BENCH_DATA."
            ) from error

    def checked(self, content: bytes) -> bytes:
        """The content itself. Raises ``ValueError`` if its digest is not that of the file."""
        if sha256(content) != self.sha256:
            raise ValueError(f"the file there has another content: its SHA-256 is {sha256(content)[:12]}...")
        return content


@dataclass(frozen=True)
class TarArchive:
    """Files of a data set that are downloaded together, in one tar archive packed with gzip."""

    url: str
    files: tuple[DataFile, ...]
    """Their ``path`` is also the name in the archive."""

    def read(self, folder: Path) -> list[Path]:
        """The paths of all files in the data folder. Missing ones are downloaded, and the digest of each is checked.

        Raises ``DataError``, which names the file, the address of the archive and the remedy.
        """
        missing = [file for file in self.files if not file.present(folder)]
        if missing:
            check_open(missing[0].path)
            try:
                _download(self.url, folder, lambda packed: _members(packed, missing))
            except (OSError, ValueError) as error:
                raise DataError(
                    f"The data file '{folder / missing[0].path}' is missing and {self.url} cannot be downloaded ({error}). "
                    f"Unpack that archive in '{folder}' by hand, or name a folder that has its files with --data or "
                    "BBH_BENCH_DATA."
                ) from error
        return [file.read(folder) for file in self.files]


def _members(archive: bytes, files: Sequence[DataFile]) -> dict[str, bytes]:
    """The checked contents of some files of a tar archive, by path. Raises ``ValueError``."""
    try:
        with tarfile.open(fileobj=io.BytesIO(unpack(archive))) as tar:
            contents = {file: tar.extractfile(file.path) for file in files}
            return {
                file.path: file.checked(content.read()) for file, content in contents.items() if content is not None
            }
    except (tarfile.TarError, KeyError) as error:
        raise ValueError(f"its tar archive is damaged or lacks a file: {error}") from error


def _download(url: str, folder: Path, unpacked: Callable[[bytes], Mapping[str, bytes]]) -> None:
    """Download into a temporary folder beside the data, then move each file to its place in one step.

    ``unpacked`` maps what is at ``url`` to the contents of files, by their path. If it raises ``ValueError``, the download is
    tried again, as after errors of the connection. Raises ``OSError`` or ``ValueError``.
    """
    import pooch
    from pooch import HTTPDownloader
    from requests import HTTPError

    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".download-") as scratch:

        def fetch(url: str, output_file: str, caller: object) -> None:
            """One attempt, called by pooch."""
            try:
                HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=2**16)(url, output_file, caller)
            except HTTPError as error:
                if error.response is not None:
                    error.response.close()  # it holds the connection
                raise
            for path, content in unpacked(Path(output_file).read_bytes()).items():
                file = Path(scratch, "unpacked", path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)

        downloads = pooch.create(
            path=scratch, base_url="", registry={"packed": None}, urls={"packed": url}, retry_if_failed=RETRIES
        )
        downloads.fetch("packed", downloader=fetch)
        for file in [file for file in Path(scratch, "unpacked").rglob("*") if file.is_file()]:
            target = folder / file.relative_to(Path(scratch, "unpacked"))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)


def unpack(content: bytes) -> bytes:
    """Unpack gzip data. Other data are returned as they are: some servers unpack what they send.

    Raises ``ValueError`` for truncated or damaged gzip data.
    """
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"its gzip data are damaged: {error}") from error


def sha256(content: bytes) -> str:
    """The SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@lru_cache(maxsize=64)
def _digest_of(path: Path, version: tuple[int, ...]) -> str:
    """SHA-256 of a file, computed once per process and ``version`` of the file: its size, times and number."""
    return sha256(path.read_bytes())


def digest(arrays: Sequence[np.ndarray]) -> str:
    """SHA-256 of the bytes of all arrays, in order."""
    return sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays))


def read_idx_images(path: Path) -> Tensor:
    """Images ``[N, 1, H, W]`` of an IDX file, float32, scaled to [0, 1]."""
    from torchvision.datasets.mnist import read_image_file

    images: Tensor = read_image_file(str(path))
    return images.unsqueeze(1).float().div_(255)


def read_idx_labels(path: Path) -> Tensor:
    """Labels ``[N]`` of an IDX file, int64."""
    from torchvision.datasets.mnist import read_label_file

    labels: Tensor = read_label_file(str(path))
    return labels.long()


def shuffled(n: int, seed: int = 0) -> Tensor:
    """A random permutation ``[n]`` that no new release of a library changes: NumPy's legacy generator is frozen."""
    return torch.from_numpy(np.random.RandomState(seed).permutation(n))


def stratified(labels: Tensor, n: int, seed: int = 0) -> Tensor:
    """Sorted indices of n examples, in which each class has its share to within one example; all if there are at most n.

    With the same labels and seed, a smaller n gives a subset of what a larger n gives.
    """
    if n >= len(labels):
        return torch.arange(len(labels))
    order = shuffled(len(labels), seed)
    classes = labels[order].unique().tolist()
    # Interleave the classes in proportion: example j of a class with m members gets the position (j + 1/2) / m.
    position = torch.empty(len(order), dtype=torch.float64)
    for c in classes:
        members = (labels[order] == c).nonzero().squeeze(1)
        position[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[position.argsort(stable=True)[:n]].sort().values
