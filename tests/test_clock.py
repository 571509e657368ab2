"""The clock of a fit: processor time, pauses, and parts in several processes."""

import os
import time

import pytest

from bbh_bench.running.clock import FitClock, Part, processor_seconds


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_it_counts_processor_time_and_not_waiting(cpu):
    clock = FitClock(cpu)
    clock.start()
    time.sleep(0.1)
    work(0.02)
    clock.stop()
    work(0.1)
    (part,) = clock.parts()
    assert part.seconds >= 0.12
    assert 0.02 <= part.processor_seconds < 0.08


def test_it_stands_still_in_a_pause(cpu):
    clock = FitClock(cpu)
    with clock.paused():
        pass
    assert not clock.running
    clock.start()
    with clock.paused():
        work(0.05)
        assert not clock.running
    assert clock.running
    clock.stop()
    assert clock.parts()[0].processor_seconds < 0.04


def test_a_restored_fit_has_the_parts_of_earlier_processes_and_its_own_from_now_on(cpu):
    earlier = [Part(10.0, 9.0, [0.1]), Part(20.0, 18.0, [0.2, 0.3])]
    clock = FitClock(cpu)
    clock.reference.append(0.5)
    clock.start()
    work(0.05)
    clock.restore(earlier)
    work(0.01)
    clock.stop()
    parts = clock.parts()
    assert parts[:2] == earlier
    assert 0.01 <= parts[2].processor_seconds < 0.05
    assert parts[2].reference == [0.5]  # the reference workload was timed before the fit read its earlier state


def test_parts_can_be_read_while_it_runs(cpu):
    clock = FitClock(cpu)
    clock.start()
    work(0.01)
    first = clock.parts()[0].processor_seconds
    work(0.01)
    assert clock.parts()[0].processor_seconds >= first + 0.01


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_that_have_ended_count(cpu):
    before = processor_seconds(cpu)
    child = os.fork()
    if child == 0:
        work(0.1)
        os._exit(0)
    os.waitpid(child, 0)
    assert processor_seconds(cpu) - before > 0.09
