"""Records name the commit of the suite, also where it is installed; only code that can be looked up is published."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from msgspec.structs import replace
from record_factory import PROVENANCE, record

from bbh_bench.publishing.plausible import origin_faults
from bbh_bench.running import commits
from bbh_bench.running.commits import built_state, exists, git_state

ROOT = Path(__file__).parents[1]
HEAD = git_state(commits.PACKAGE)[0]
in_a_clone = pytest.mark.skipif(HEAD is None, reason="these tests do not run in a clone")


def faults(**changes):
    return " ".join(origin_faults(record(provenance=replace(PROVENANCE, **changes))))


def test_what_cannot_be_looked_up_is_refused():
    assert "uncommitted changes" in faults(dirty=True)
    assert "is not known" in faults(commit=None)
    assert "has no commit 'the latest'" in faults(commit="the latest")


@in_a_clone
def test_a_commit_must_be_in_the_repository():
    assert exists(HEAD) in (True, None)  # None: a shallow clone
    assert faults(commit=HEAD) == ""
    if exists(HEAD):
        assert exists("ab" * 20) is False
        assert "has no commit 'abababababab'" in faults(commit="ab" * 20)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("ab" * 20 + "\n", ("ab" * 20, False, None)),
        ("ab" * 20 + " dirty\n", ("ab" * 20, True, None)),
        ("main", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_what_a_built_package_says(tmp_path, text, state):
    file = tmp_path / "build_commit.txt"
    if text is not None:
        file.write_text(text)
    assert built_state(file) == state


def test_a_wheel_says_of_which_commit_it_was_built(tmp_path):
    """Built from a clone of a small repository with the suite's build settings."""
    pytest.importorskip("hatchling")
    clone = tmp_path / "clone"
    (clone / "bbh_bench").mkdir(parents=True)
    (clone / "bbh_bench/__init__.py").write_text("")
    for name in ("hatch_build.py", "pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        (clone / name).write_bytes((ROOT / name).read_bytes())
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=clone, check=True, env=os.environ | who)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True).stdout
    for change, expected in (("", head), ("x = 1\n", head.strip() + " dirty\n")):
        (clone / "bbh_bench/__init__.py").write_text(change)
        build = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            str(tmp_path),
            ".",
        ]
        subprocess.run(build, cwd=clone, check=True)
        (wheel,) = tmp_path.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            assert archive.read("bbh_bench/build_commit.txt").decode() == expected
        wheel.unlink()
