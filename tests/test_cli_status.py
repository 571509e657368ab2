"""``bbh-bench status``: what is finished, running and failed in a records folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import record_factory
from cli_helpers import refused
from msgspec.structs import replace as changed

from bbh_bench import cli
from bbh_bench.records.store import Store
from bbh_bench.running.claim import claim_file, decoded
from bbh_bench.running.claims import Claims

ARRAYS = {"a": np.zeros(1)}


def put(root, method="m", seed=0, seconds=90.0):
    """Store a finished record."""
    record = record_factory.record(method, seed)
    Store(root).put(changed(record, cost=record.cost | {"total/seconds": seconds}), ARRAYS)


@pytest.fixture
def root(tmp_path):
    """Two finished cells, a failed one, a running one and a stale claim, of one task."""
    put(tmp_path, seed=0, seconds=60.0)
    put(tmp_path, seed=1, seconds=120.0)
    Store(tmp_path).put(record_factory.failed("blur", 0), {})
    claims = Claims(tmp_path)
    for seed in (2, 3):
        claims.acquire(Path(f"t/v1/m/seed{seed}.json"))
    claims.update(Path("t/v1/m/seed2.json"), "fit", 0.25, 1.5)
    claims.renew()
    file = claim_file(tmp_path, Path("t/v1/m/seed3.json"), 1)
    content = decoded(file.read_bytes())
    file.write_bytes(
        changed(content, process=changed(content.process, machine="elsewhere", host="far", pid=7)).encode()
    )
    os.utime(file, (1e9, 1e9))
    return tmp_path


def status(capsys, root, *options):
    assert cli.main(["status", "--records", str(root), *options]) == 0
    return capsys.readouterr().out


def section(text, title):
    """The lines of the part of a page that begins with ``title``, without that line."""
    part = next(part for part in text.split("\n\n") if part.startswith(title))
    return part.rstrip().splitlines()[1:]


def test_what_is_finished_running_failed_and_stale(capsys, root, monkeypatch):
    monkeypatch.chdir(root.parent)
    text = status(capsys, root.name)
    assert text.startswith(f"{root.name}: 2 finished, 1 running, 1 failed, 1 claimed by runs that ended\n")
    table = [re.split(r"\s{2,}", line) for line in section(text, "task")]
    assert table == [["t v1", "blur", "1"], ["t v1", "m", "2", "1", "1", "1.50"]]
    (running,) = section(text, "running")
    assert (
        re.match(rf"t v1 m seed2 .* {os.getpid()} +fit +25 % +1\.5 +\d\d-\d\d \d\d:\d\d +\d+ s$", running) is not None
    )
    (failed,) = section(text, "Failed")
    assert failed == "t v1 blur seed0: FAILED: Diverged: the loss (net.py:7)."
    stale = " ".join(section(text, "Stale claims"))
    assert re.match(r"t v1 m seed3: starting, on far \(process 7\), last heartbeat \d+\.\d days ago", stale)


def test_the_same_for_programs(capsys, root):
    answer = json.loads(status(capsys, root, "--json"))
    assert answer["records"] == str(root)
    assert answer["totals"] == {"finished": 2, "running": 1, "failed": 1, "stale": 1, "unreadable": 0}
    blur, m = answer["methods"]
    assert (blur["method"], blur["failed"], blur["mean_minutes"]) == ("blur", 1, None)
    assert m == {
        "task": "t",
        "version": 1,
        "method": "m",
        "finished": 2,
        "running": 1,
        "failed": 0,
        "stale": 1,
        "mean_minutes": 1.5,
    }
    (running,) = answer["running"]
    assert (running["cell"], running["pid"], running["stage"]) == ("t/v1/m/seed2.json", os.getpid(), "fit")
    assert (running["fraction"], running["loss"]) == (0.25, 1.5)
    assert 0 <= running["heartbeat_seconds"] < 60
    assert answer["stale"][0]["host"] == "far"
    assert answer["failed"] == [{"cell": "t/v1/blur/seed0.json", "why": "FAILED: Diverged: the loss (net.py:7)."}]


def test_a_failed_cell_that_is_running_again_is_running(capsys, root):
    Claims(root).acquire(Path("t/v1/blur/seed0.json"))
    answer = json.loads(status(capsys, root, "--json"))
    assert (answer["totals"]["running"], answer["failed"]) == (2, [])


def test_an_unreadable_record_does_not_hide_the_others(capsys, root):
    (root / "t/v1/m/seed8.json").write_text("{}")
    (root / "t/v1/m/seed9.json").write_bytes((root / "t/v1/m/seed0.json").read_bytes())
    text = status(capsys, root)
    assert "2 finished, 1 running, 1 failed, 1 claimed by runs that ended, 2 unreadable" in " ".join(text.split())
    unreadable = " ".join(" ".join(section(text, "Unreadable")).split())
    assert "seed8.json' is not a record" in unreadable
    assert "says that it is 't/v1/m/seed0.json'" in unreadable


def test_a_page_is_at_most_a_hundred_columns_wide(capsys, tmp_path):
    long = "m" * 150
    put(tmp_path, long)
    Store(tmp_path).put(record_factory.failed(long, 1, message="why " * 100), {})
    claims = Claims(tmp_path)
    path = Path(f"t/v1/{long}/seed2.json")
    claims.acquire(path)
    claims.update(path, "s" * 200, 0.123, 123456.789)
    claims.renew()
    lines = status(capsys, tmp_path).splitlines()
    assert 60 < max(map(len, lines)) <= 100
    assert any(line.startswith("t v1") and "mmm..." in line for line in lines)


def test_an_empty_folder_has_no_cells(capsys, tmp_path):
    page = " ".join(status(capsys, tmp_path).split())  # the name of the folder may need a line of its own
    assert page.endswith("0 finished, 0 running, 0 failed")


def test_a_missing_folder_is_a_mistake(capsys, tmp_path):
    refused(capsys, ["status", "--records", str(tmp_path / "nothing")], "There is no folder", "--records")


def test_reading_writes_nothing(capsys, root):
    def state():
        return {path: path.lstat().st_mtime_ns for path in [root, *root.rglob("*")]}

    before = state()
    status(capsys, root)
    status(capsys, root, "--json")
    assert state() == before


def test_status_imports_neither_torch_nor_a_plugin(root):
    code = "import sys; from bbh_bench.cli import main; main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    arguments = [sys.executable, "-c", code, "status", "--records", str(root)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=300)
    assert "Failed" in done.stdout
    loaded = set(done.stderr.split())
    assert "bbh_bench.running.claim" in loaded
    assert not loaded & {"torch", "torchvision", "foolbox", "pandas", "bbh_bench.plugins"}
