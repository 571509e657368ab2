"""What the suite itself costs: in a cell, and before the first line of help."""

import subprocess
import sys
import time
from pathlib import Path

import torch
from conftest import note

from bbh_bench.plugins import plugins
from bbh_bench.running.plan import Cell
from bbh_bench.running.progress import Progress
from bbh_bench.running.provenance import provenance
from bbh_bench.running.runner import Bench, run_cell, warm_up
from bbh_bench.tasks import digits5


def test_share_of_a_digits5_cell_that_is_neither_fit_nor_predict_nor_attack(benchmark):
    catalogue = plugins(external=False).catalogue()
    bench = Bench(torch.device("cpu"), tuple(catalogue.metrics.things()), provenance(torch.device("cpu"), set()))
    loaded = digits5.TASK.load(Path())
    warm_up(bench, [loaded])
    cell = Cell(digits5.TASK, catalogue.methods["map"], "bbh-bench", "", 0)  # the cheapest method: the largest share
    with Progress("overhead") as progress:
        record, _ = benchmark.pedantic(run_cell, args=(bench, cell, loaded, progress), rounds=3)
    assert record.status == "finished"
    note(benchmark, record.cost["overhead/seconds"] / record.cost["total/seconds"], goal=0.05)


def test_seconds_to_help(benchmark):
    def help_page():
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bbh_bench.cli", "--help"], check=True, capture_output=True)
        return time.perf_counter() - start

    note(benchmark, benchmark.pedantic(help_page, rounds=5, warmup_rounds=1), goal=0.5)
