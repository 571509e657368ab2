"""What the suite itself costs: in a cell, and before the first line of help."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from conftest import note
from helpers import NoProgress, context, planned

from bbh_bench.running.runner import collection_frozen, run_cell
from bbh_bench.running.warmup import warm_up
from bbh_bench.tasks import digits5


def test_share_of_a_digits5_cell_that_is_neither_fit_nor_predict_nor_attack(benchmark, tmp_path):
    """Of a cell that finds the surrogate of its seed, as all cells but the first."""
    bench = replace(context(), scratch=tmp_path)
    warm_up(bench.device)
    cell = planned(digits5.TASK, "map")  # the cheapest method: the largest share
    with collection_frozen():
        result = benchmark.pedantic(
            run_cell, args=(bench, cell, lambda: digits5.TASK.load(Path()), NoProgress()), rounds=3
        )
    assert result.record.finished
    cost = result.record.cost
    note(benchmark, cost["overhead/seconds"] / cost["total/seconds"], goal=0.05)


def test_seconds_to_help(benchmark):
    def help_page():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bbh_bench", "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    note(benchmark, benchmark.pedantic(help_page, rounds=5, warmup_rounds=1), goal=0.3)
