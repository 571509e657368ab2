"""The tutorial, followed literally: from an empty folder and a new environment to a published row."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from bbh_bench.records.store import Store

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text())
OF_THE_SUITE = ("bbh_bench", "_bbh_bench", "_editable_", "__editable__")


def script() -> str:
    """All of the page in one shell: commands as they are, and files written where their first line says."""
    parts = ["set -eu"]
    for language, text in BLOCKS:
        if language == "console":
            parts.append(text)
        elif language == "python":
            name = text.partition("\n")[0].removeprefix("# ")
            parts.append(f"cat > {name} <<'END OF THE FILE'\n{text}END OF THE FILE\n")
    return "\n".join(parts)


def libraries(folder: Path) -> Path:
    """Links to the installed packages, without the suite and its plugins: what ``pip install`` would download."""
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(OF_THE_SUITE):
            (folder / path.name).symlink_to(path)
    return folder


def wheel(folder: Path) -> Path:
    """A folder with a wheel of the suite as it is here, built from a commit: rows of uncommitted code cannot be published."""
    copy = folder / "suite"
    shutil.copytree(ROOT / "bbh_bench", copy / "bbh_bench", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    git = ["git", "-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "the suite"]):
        subprocess.run([*git, *command], check=True, cwd=copy)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder / "wheels")]
    subprocess.run(build, check=True, cwd=copy, capture_output=True)
    return folder / "wheels"


def environment(tmp_path: Path) -> dict[str, str]:
    """That of a reader. pip finds the suite in a folder of wheels, and needs no network."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("BBH_BENCH_", "PIP_"))}
    return own | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(libraries(tmp_path / "libraries")),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": str(wheel(tmp_path)),
        "PIP_NO_BUILD_ISOLATION": "0",  # 0 means that there is no isolation
        "PIP_NO_INDEX": "1",
    }


def test_the_tutorial_ends_with_a_published_row(tmp_path):
    pytest.importorskip("hatchling")
    pytest.importorskip("editables")
    folder = tmp_path / "empty"
    folder.mkdir()
    done = subprocess.run(
        ["bash", "-c", script()],
        check=False,
        cwd=folder,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    shown = done.stdout.splitlines()
    assert "bbh-bench" in next(line for line in shown if line.startswith("Successfully installed"))
    promised = [line for language, text in BLOCKS if language == "text" for line in text.splitlines()]
    assert len(promised) == 3
    assert [line for line in promised if line not in shown] == []
    board = (folder / "leaderboard" / "LEADERBOARD.md").read_text()
    assert re.search(r"^\| \S+ snapshots +\|", board, re.MULTILINE)
    records = list(Store(folder / "leaderboard").records())
    assert sorted((record.method.name, record.seed) for record in records) == [
        (name, seed) for name in ("map", "snapshots") for seed in (0, 1, 2)
    ]
    (package,) = {record.method.package.name for record in records if record.method.name == "snapshots"}
    assert package == "bbh-bench-snapshots"


def test_nothing_of_the_page_is_left_out():
    assert {language for language, _ in BLOCKS} == {"console", "python", "text"}
    assert "pip install bbh-bench\n" in script()
    assert "bbh-bench publish" in script()
