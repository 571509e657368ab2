"""The board of ten thousand records: rendered, and rendered again after one new record."""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conftest import note

from bbh_bench.records.record import Record

TASKS, METHODS, SEEDS = 5, 100, 20
PUBLISHED = Path(__file__).parents[2] / "leaderboard/digits5/v3/bbh/seed0.json"
replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A folder with the records, which have no arrays, as where only these were fetched."""
    base, rng = Record.read(PUBLISHED), np.random.default_rng(0)
    out = tmp_path_factory.mktemp("board")
    for k, m, seed in np.ndindex(TASKS, METHODS, SEEDS):
        task = replace(base.task, name=f"task{k}", fingerprint=f"{k:016x}")
        factor = float(rng.normal(1 + m / 200, 0.05))
        scores = {name: value * factor for name, value in base.scores.items()}
        arrays = replace(base.predictions, file=f"seed{seed}.npz")
        method = replace(base.method, name=f"method{m}")
        record = replace(base, task=task, method=method, seed=seed, scores=scores, predictions=arrays)
        path = out / record.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.to_json())
    yield out
    shutil.rmtree(out)


def report(folder):
    """Seconds of ``bbh-bench report``."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "bbh_bench", "report", "--records", folder]
    compiled = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }  # as when installed
    subprocess.run(command, check=True, capture_output=True, env=compiled)
    return time.perf_counter() - start


def test_seconds_of_a_board_of_ten_thousand_records(benchmark, board):
    note(benchmark, benchmark.pedantic(report, (board,), rounds=1), goal=20)
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 2**10
    assert memory < 1.5e9


def test_seconds_after_one_new_record(benchmark, board):
    old = board / f"task2/v3/method70/seed{SEEDS - 1}.json"
    new = replace(
        Record.read(old), seed=SEEDS, predictions=replace(Record.read(old).predictions, file=f"seed{SEEDS}.npz")
    )
    (board / new.path).write_text(new.to_json())
    note(benchmark, benchmark.pedantic(report, (board,), rounds=1), goal=3)
    page = next(board.glob("site/tasks/task2-*.html")).read_text()
    assert f"method70-seed{SEEDS}.html" in page
