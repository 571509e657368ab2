"""The records of a board that a user names: a folder, or a folder at a git revision (``HEAD~3:leaderboard``)."""

import subprocess
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from bbh_bench.cli.report import print_unreadable
from bbh_bench.errors import BenchError
from bbh_bench.records.record import Record
from bbh_bench.records.store import Store
from bbh_bench.running.commits import git, git_bytes


def board(text: str) -> Sequence[Record]:
    """The readable records; the others are named on standard error. Raises ``BenchError`` if there is no such board."""
    if Path(text).is_dir():
        return _records(Path(text))
    revision, colon, folder = text.partition(":")
    if not colon or not revision or revision.startswith("-"):
        raise BenchError(
            f"'{text}' is no folder of records. Name one, or a folder at a git revision, such as HEAD~1:leaderboard."
        )
    with TemporaryDirectory(prefix="bbh-bench-") as temporary:
        _extract(revision, folder, Path(temporary))
        return _records(Path(temporary) / folder)


def _records(folder: Path) -> Sequence[Record]:
    records, unreadable = Store(folder).some_readable()
    print_unreadable(unreadable)
    return records


def _extract(revision: str, folder: str, target: Path) -> None:
    """Write the records of a folder, by its path in the repository, to ``target``. Raises ``BenchError``."""
    try:
        top = Path(git(Path(), "rev-parse", "--show-toplevel").strip())
        commit = git(top, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
        packed = git_bytes(top, "archive", "--format=tar", commit, "--", f":(glob){folder.rstrip('/')}/*/**/*.json")
    except OSError as error:
        raise BenchError(f"'{revision}:{folder}' needs git, which cannot be run ({error.strerror}).") from error
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.decode(errors="replace").split())
        raise BenchError(
            f"git has no records at '{revision}:{folder}' ({reason}). Name a revision and a folder of the repository, such as "
            "HEAD~1:leaderboard."
        ) from error
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(target, filter="data")
