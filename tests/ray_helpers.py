"""Runs of cells on a Ray cluster, and a driver that can be killed: ``python ray_helpers.py ADDRESS FOLDER``."""

import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

from helpers import QUICK, TINY, context

from bbh_bench.plugins import load_plugins
from bbh_bench.records.store import Store
from bbh_bench.running.plan import plan
from bbh_bench.running.progress import Silent
from bbh_bench.running.ray_cluster import RayOptions, ray_cluster
from bbh_bench.running.worker import WorkerSettings

LINE = Path(__file__).with_name("line_plugin.py")
BEATING = Path(__file__).with_name("beating_plugin.py")


class Queue:
    """The cells of one run, which shares them with no other."""

    waiting = False

    def __init__(self, cells):
        self.cells = deque(cells)

    def __len__(self):
        return len(self.cells)

    def take(self):
        return self.cells.popleft() if self.cells else None

    def put_back(self, cell):
        self.cells.appendleft(cell)


class Recorder(Silent):
    """An observer that writes down what cells do, and calls ``started`` when one begins."""

    def __init__(self, started=lambda cell: None):
        self.begun, self.stages, self.lines = [], [], []
        self.started = started

    def cell_started(self, cell):
        self.begun.append(str(cell))
        self.started(cell)

    def stage(self, cell, name):
        self.stages.append((str(cell), name))

    def printed(self, cell, text):
        self.lines.append((str(cell), text))


def from_plugin(*names, seeds=(0,)):
    """Cells of the line, by names of methods of the plugin file, whose module the nodes cannot import."""
    return plan(load_plugins(external=False, files=[LINE]), ["line"], list(names), seeds)


def on_cluster(cells, options, observer=None, files=(LINE,)):
    """What the executor yields, as it comes."""
    settings = WorkerSettings(context(), Path(), 1, files)
    return ray_cluster(context(), Queue(cells), settings, options, observer or Silent())


def main(address, folder):
    """Store the records of two cells, unless they are there; the second one ends when there is a file ``go``."""
    plugins, store = load_plugins(external=False, files=[BEATING]), Store(Path(folder, "runs"))
    methods = [QUICK, replace(plugins.methods["beating"], folder=folder)]
    cells = [cell for cell in plan(plugins, [TINY], methods, [0]) if store.get(cell.path) is None]
    for cell, result in on_cluster(cells, RayOptions(address), files=(BEATING,)):
        store.put(result.record, result.arrays)
        print(cell, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
