"""Data sets as tensors: read, checked against their digests, and downloaded where they are missing."""

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError

import numpy as np
import torch
from torch import Tensor

from bbh_bench.errors import ContractError, DataError

_sealed: ContextVar[str] = ContextVar("sealed", default="")


@contextmanager
def sealed(why: str) -> Iterator[None]:
    """Refuse to open any data set inside: a method gets its ``Problem`` and no test data."""
    token = _sealed.set(why)
    try:
        yield
    finally:
        _sealed.reset(token)


def check_open(what: str) -> None:
    """Called by every loader. Raises ``ContractError`` inside ``sealed``."""
    if _sealed.get():
        raise ContractError(f"{_sealed.get()} asked for the data set '{what}'; use what the Problem holds.")


def data_folder(option: str | None = None) -> Path:
    """The folder of ``--data``, else of ``$BBH_BENCH_DATA``, else the user's cache.

    Raises ``DataError`` where a folder that is named doesn't exist.
    """
    named = option or os.environ.get("BBH_BENCH_DATA")
    if named:
        if not Path(named).is_dir():
            source = "--data" if option else "the variable BBH_BENCH_DATA"
            raise DataError(f"The data folder '{named}', named by {source}, doesn't exist; create it or name another.")
        return Path(named)
    from platformdirs import user_cache_path  # noqa: PLC0415  (most runs name the folder, or need none)

    return user_cache_path("bbh_bench") / "data"


@dataclass(frozen=True)
class DataFile:
    """One file of a data set, laid out as torchvision lays it out, with the digest of its unpacked bytes."""

    path: str
    sha256: str
    url: str
    """Where its gzip-packed form can be fetched."""

    def read(self, folder: Path) -> Path:
        """Make sure that the file is there, unchanged, and return its path. Raises ``DataError``."""
        check_open(self.path)
        target = folder / self.path
        if not target.is_file():
            self._download(target)
        found = sha256(target.read_bytes())
        if found != self.sha256:
            raise DataError(
                f"The data file '{target}' ({target.stat().st_size:,} bytes) is truncated or changed: its SHA-256 is "
                f"{found[:12]}... and should be {self.sha256[:12]}... Delete it, then run again to download it, or "
                f"unpack {self.url} there by hand."
            )
        return target

    def present(self, folder: Path) -> bool:
        """Whether the file is in the folder, right or wrong."""
        return (folder / self.path).is_file()

    def _download(self, target: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive  # noqa: PLC0415  (seconds to import)

        try:
            with TemporaryDirectory() as scratch:  # nothing half done reaches the folder
                download_and_extract_archive(self.url, scratch, filename=target.name + ".gz")
                if sha256((Path(scratch) / target.name).read_bytes()) != self.sha256:
                    raise OSError("what it gives is another file")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(scratch) / target.name, target)
        except (OSError, RuntimeError, EOFError, zlib.error) as error:
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection
            raise DataError(
                f"The data file '{target}' is missing and {self.url} can't be fetched ({error}). Unpack that file to "
                f"'{target}' by hand, or name a folder that has it with --data or BBH_BENCH_DATA."
            ) from error


def sha256(content: bytes) -> str:
    """The digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest(arrays: Sequence[np.ndarray]) -> str:
    """SHA-256 of the bytes of arrays, in order."""
    return sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays))


def read_idx_images(path: Path) -> Tensor:
    """Images of an IDX file ``[N, 1, H, W]``, scaled to [0, 1]."""
    from torchvision.datasets.mnist import read_image_file  # noqa: PLC0415

    images: Tensor = read_image_file(str(path))
    return images.unsqueeze(1).float() / 255


def read_idx_labels(path: Path) -> Tensor:
    """Labels of an IDX file ``[N]``."""
    from torchvision.datasets.mnist import read_label_file  # noqa: PLC0415

    labels: Tensor = read_label_file(str(path))
    return labels.long()


def shuffled(n: int, seed: int = 0) -> Tensor:
    """A permutation of n that no library's release changes: NumPy's legacy generator is frozen."""
    return torch.from_numpy(np.random.RandomState(seed).permutation(n))


def stratified(labels: Tensor, n: int, seed: int = 0) -> Tensor:
    """Sorted indices of n examples with each class's share kept to within one example. Fewer examples than n: all of them."""
    if n >= len(labels):
        return torch.arange(len(labels))
    order = shuffled(len(labels), seed)
    classes = labels[order].unique().tolist()
    # Interleave the classes in proportion: example j of a class with m members stands at (j + 1/2) / m.
    place = torch.empty(len(order), dtype=torch.float64)
    for c in classes:
        members = (labels[order] == c).nonzero().squeeze(1)
        place[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[place.argsort(stable=True)[:n]].sort().values
