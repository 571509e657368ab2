"""``bbh-bench new``: the package works as it is written."""

import os
import subprocess
import sys

import pytest
from cli_helpers import refused

from bbh_bench import cli

KINDS = ["method", "task", "attack", "metric"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_installs_and_passes_its_tests(kind, tmp_path, capsys):
    """Installed without a network, as ``pip install`` does it; its tests find it through its entry point."""
    pytest.importorskip("hatchling")
    name = f"my_2nd-{kind}"
    assert cli.main(["new", kind, name, "--to", str(tmp_path)]) == 0
    package = tmp_path / f"bbh-bench-{name.replace('_', '-')}"
    assert f"cd {package}\npip install" in capsys.readouterr().out
    site = tmp_path / "site"
    install = ["install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site), str(package)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True)
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(test, check=False, cwd=package, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_has_the_style_of_the_suite(kind, tmp_path):
    pytest.importorskip("ruff")
    cli.main(["new", kind, "mine", "--to", str(tmp_path)])
    settings = ["--isolated", "--line-length", "128", "--select", "E,F,I,B,UP,D1"]
    for command in (["check", *settings, "--ignore", "D103", "."], ["format", "--check", *settings[:3], "."]):
        subprocess.run([sys.executable, "-m", "ruff", *command], check=True, cwd=tmp_path / "bbh-bench-mine")


def test_mistakes_are_named_and_nothing_is_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("../up", "Upper", "1st", "", "a" * 42, "x y", "$name"):
        refused(capsys, ["new", "method", "--", name], "is no name of a method")
    assert not list(tmp_path.iterdir())
    assert cli.main(["new", "method", "mine"]) == 0
    file = tmp_path / "bbh-bench-mine/bbh_bench_mine.py"
    file.write_text("changed")
    refused(capsys, ["new", "task", "mine"], "is there already")
    assert file.read_text() == "changed"
    (tmp_path / "file").touch()
    refused(capsys, ["new", "task", "other", "--to", "file"], "cannot be created", "--to")
