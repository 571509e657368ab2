"""The cells that a run still has to start, while other runs work on the same folder."""

import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from bbh_bench.errors import RecordError
from bbh_bench.records.store import Store
from bbh_bench.running.claims import Claims
from bbh_bench.running.queue import CellQueue


@dataclass(frozen=True)
class Numbered:
    """A cell, as far as a queue looks at it."""

    seed: int

    @property
    def path(self):
        return Path(f"line/v1/straight/seed{self.seed}.json")


CELLS = [Numbered(seed) for seed in range(3)]


class Folder:
    """A records folder that several runs share. ``done``: cells with a record. ``now``: seconds."""

    def __init__(self, root):
        self.root = root
        self.done = set()
        self.now = 0.0
        self.asked = 0

    def queue(self, cells=CELLS, elsewhere=None):
        """``elsewhere``: a list to which cells are added that other runs have finished."""
        tell = (elsewhere if elsewhere is not None else []).append
        return CellQueue(cells, Store(self.root), Claims(self.root), self.unfinished, tell, clock=lambda: self.now)

    def unfinished(self, cell):
        self.asked += 1
        return cell not in self.done

    def claimed(self):
        return [claim.path for claim in Claims(self.root).all()]


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def test_without_a_store_it_is_a_plain_queue():
    queue = CellQueue(CELLS, None, None, unfinished=None)
    assert len(queue) == 3
    assert [queue.take() for _ in range(4)] == [*CELLS, None]
    assert (len(queue), queue.waiting) == (0, False)
    queue.put_back(CELLS[1])
    queue.release(CELLS[0])
    assert queue.take() == CELLS[1]


def test_a_cell_is_claimed_when_it_is_taken_and_until_it_is_released(folder):
    queue = folder.queue()
    assert queue.take() == CELLS[0]
    assert folder.claimed() == [CELLS[0].path]
    queue.release(CELLS[0])
    assert folder.claimed() == []


def test_two_runs_share_the_cells(folder):
    finished_by_first, finished_by_second = [], []
    first, second = folder.queue(elsewhere=finished_by_second), folder.queue(elsewhere=finished_by_first)
    assert [first.take(), second.take(), first.take()] == CELLS
    assert first.take() is None
    assert second.take() is None
    assert (len(first), first.waiting) == (1, True)
    assert (len(second), second.waiting) == (2, True)
    for cell in CELLS:
        folder.done.add(cell)
        first.release(cell)
        second.release(cell)
    folder.now = 1.0
    assert first.take() is None
    assert second.take() is None
    assert finished_by_second == [CELLS[1]]
    assert finished_by_first == [CELLS[0], CELLS[2]]
    assert (len(first), first.waiting, len(second), second.waiting) == (0, False, 0, False)
    assert folder.claimed() == []


def test_a_cell_that_another_run_gave_up_is_taken_later(folder):
    first, second = folder.queue(CELLS[:1]), folder.queue(CELLS[:1])
    first.take()
    assert second.take() is None
    first.release(CELLS[0])  # without a record
    assert second.take() is None  # it looks once a second only
    folder.now = 0.9
    assert second.take() is None
    folder.now = 1.0
    assert second.take() == CELLS[0]
    assert not second.waiting


def test_a_cell_that_was_finished_since_the_run_was_planned_is_skipped(folder):
    finished = []
    queue = folder.queue(elsewhere=finished)
    folder.done.add(CELLS[0])
    assert queue.take() == CELLS[1]
    assert finished == [CELLS[0]]
    assert folder.claimed() == [CELLS[1].path]
    assert len(queue) == 1


def test_a_cell_that_is_put_back_comes_first_and_stays_claimed(folder):
    queue = folder.queue()
    queue.take()
    queue.put_back(CELLS[0])
    assert folder.claimed() == [CELLS[0].path]
    assert len(queue) == 3
    assert [queue.take(), queue.take()] == CELLS[:2]


def test_looking_at_cells_of_other_runs_reads_no_record_while_they_run(folder):
    first, second = folder.queue(), folder.queue()
    for _ in CELLS:
        first.take()
    folder.asked = 0
    for folder.now in (0.0, 1.0, 2.0, 3.0):
        assert second.take() is None
    assert folder.asked == 0


def test_a_record_that_cannot_be_read_is_an_error_and_its_cell_is_not_claimed(folder):
    def damaged(cell):
        raise RecordError("damaged")

    queue = CellQueue(CELLS, Store(folder.root), Claims(folder.root), damaged)
    with pytest.raises(RecordError, match="damaged"):
        queue.take()
    assert folder.claimed() == []


def test_runs_at_the_same_time_run_each_cell_once(folder):
    cells = [Numbered(seed) for seed in range(40)]
    ran = []

    def run():
        queue = folder.queue(cells)
        while (cell := queue.take()) is not None:
            ran.append(cell)
            folder.done.add(cell)
            queue.release(cell)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(cell.seed for cell in ran) == list(range(40))
    assert folder.claimed() == []
