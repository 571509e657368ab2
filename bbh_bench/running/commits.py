"""Of which commit a piece of code is: from its clone, from pip, or from the file that a built package has."""

import hashlib
import json
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
BUILT = PACKAGE / "build_commit.txt"
"""Written when the package is built (``hatch_build.py``)."""

State = tuple[str | None, bool | None, str | None]
"""Commit, whether there were uncommitted changes, SHA-256 of these."""


def suite_state() -> State:
    """Of the suite: the clone that it runs from; if it is installed, what it was installed or built from."""
    state = git_state(PACKAGE)
    if state[0] is not None:
        return state
    commit = installed_commit("bbh-bench")
    return (commit, False, None) if commit else built_state(BUILT)


def git_state(folder: Path, file: str = "__init__.py") -> State:
    """The state of the clone in which ``folder`` lies. All None unless ``file`` in ``folder`` is tracked there."""
    try:
        if not _tracks(folder, file):
            return None, None, None
        commit, status = git(folder, "rev-parse", "HEAD").strip(), git(folder, "status", "--porcelain")
        if not status:
            return commit, False, None
        changes = status + git(folder, "diff", "HEAD")
        return commit, True, hashlib.sha256(changes.encode()).hexdigest()
    except (OSError, subprocess.CalledProcessError):
        return None, None, None


def installed_commit(name: str) -> str | None:
    """The commit of ``pip install git+...`` (PEP 610)."""
    try:
        text = distribution(name).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    commit = json.loads(text).get("vcs_info", {}).get("commit_id") if text else None
    return str(commit) if commit else None


def built_state(file: Path) -> State:
    """What the file of a built package says. All None without it."""
    try:
        match = re.fullmatch(r"([0-9a-f]{40,64})( dirty)?\s*", file.read_text())
    except (OSError, UnicodeDecodeError):
        return None, None, None
    return (match[1], bool(match[2]), None) if match else (None, None, None)


@cache
def exists(commit: str) -> bool | None:
    """Whether the suite's own repository has a commit. None if that is not known: there is no clone, or not all of it."""
    try:
        if not _tracks(PACKAGE) or git(PACKAGE, "rev-parse", "--is-shallow-repository").strip() != "false":
            return None
    except (OSError, subprocess.CalledProcessError):
        return None
    try:
        git(PACKAGE, "cat-file", "-e", f"{commit}^{{commit}}")
    except subprocess.CalledProcessError:
        return False
    return True


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints. Raises ``OSError`` if there is no git, and ``CalledProcessError`` if it fails."""
    return git_bytes(folder, *arguments).decode(errors="replace")


def git_bytes(folder: Path, *arguments: str) -> bytes:
    """As ``git``, for what is no text."""
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True).stdout


def _tracks(folder: Path, file: str = "__init__.py") -> bool:
    """Whether a clone has this file of the folder: the folder may lie inside a repository of another project."""
    return git(folder, "ls-files", file).strip() == file
