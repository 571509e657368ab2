"""Cost relative to the reference workload, and the memory that a cell takes."""

import random
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from bbh_bench.running.clock import FitClock, Part
from bbh_bench.running.cost import costs, fit_costs
from bbh_bench.running.memory import PeakMemory
from bbh_bench.running.reference import InterleavedProgress, Reference, Step
from bbh_bench.running.stages import Stages, seed_everything
from bbh_bench.testing import small_problem

MIB = 2**20
needs_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="measures the process's memory")


@needs_cpu
def test_peak_memory_is_what_was_taken_since_and_forgets_what_was_before(cpu):
    big = torch.ones(60 * MIB)  # 240 MiB, before
    del big
    memory = PeakMemory(cpu)
    part = torch.ones(20 * MIB)  # 80 MiB, since
    del part
    assert 75 * MIB < memory.bytes() < 130 * MIB


@needs_cpu
def test_what_is_excluded_does_not_count_whether_it_stays_in_use_or_not(cpu):
    memory = PeakMemory(cpu)
    small = torch.ones(5 * MIB)  # 20 MiB
    with memory.excluded():
        stays, goes = torch.ones(60 * MIB), torch.ones(60 * MIB)
        del goes
    assert 15 * MIB < memory.bytes() < 60 * MIB
    more = torch.ones(20 * MIB)  # 80 MiB
    assert 95 * MIB < memory.bytes() < 140 * MIB
    assert small.sum() + stays.sum() + more.sum() > 0


@needs_cpu
def test_the_memory_of_a_surrogate_is_not_the_methods(cpu):
    memory = PeakMemory(cpu)
    stages = Stages(0, cpu, memory=memory)
    with stages("surrogate/transfer"):
        torch.ones(60 * MIB)
    assert memory.bytes() < 60 * MIB
    with stages("attack/fgsm"):
        torch.ones(60 * MIB)
    assert memory.bytes() > 200 * MIB


def test_costs_are_ratios_of_processor_times(cpu):
    stages = Stages(0, cpu)
    stages.record("predict", 3.0, 2.0, images=500)
    stages.record("attack/a", 5.0, 4.0)
    stages.record("evaluate/a", 1.0, 0.5)
    parts = [Part(2.0, 1.8, [0.3])]
    cost = costs(stages, [Step(0.6, 0.5), Step(0.6, 0.5)], 6, parts, parameters=7)
    assert cost["reference/step_seconds"] == pytest.approx(0.6)
    assert cost["reference/step_processor_seconds"] == 0.5
    assert cost["fit/relative"] == pytest.approx(1)
    assert cost["predict/seconds_per_1000"] == 6
    assert cost["predict/processor_seconds_per_1000"] == 4
    assert cost["predict/steps_per_1000"] == 8
    assert (cost["attack/seconds"], cost["attack/processor_seconds"]) == (6, 4.5)
    assert cost["attack/relative"] == 1.5
    assert cost["stage/attack/a/seconds"] == 5
    assert cost["parameters"] == 7
    assert "parameters" not in costs(stages, [Step(0.6, 0.5)], 6, parts, parameters=None)


def test_each_part_of_a_fit_is_compared_with_the_reference_of_its_own_machine():
    cost = fit_costs([Part(2.0, 1.0, [0.1]), Part(30.0, 20.0, [1.0, 1.0])], steps=10)
    assert cost["fit/seconds"] == 32
    assert cost["fit/processor_seconds"] == 21
    assert cost["fit/relative"] == pytest.approx(1 + 2)
    assert cost["fit/part/1/seconds"] == 30
    assert cost["fit/part/1/processor_seconds"] == 20
    assert cost["fit/part/1/step_seconds"] == 1


def test_load_that_changes_during_a_fit_slows_the_reference_too():
    """Half of the time each step takes 1.0, and half of it 1.2, of both workloads. The ratio stays within 1 % of 2."""
    steps = 55  # 30 in the first half of 60, 25 in the second
    assert fit_costs([Part(0.0, 60 * 2, [1.0, 1.0, 1.2, 1.2])], steps)["fit/relative"] == pytest.approx(2, rel=0.01)


@pytest.fixture
def reference():
    seed_everything(0, "reference")
    return Reference(small_problem())


def test_a_block_changes_no_random_number_and_no_setting(reference):
    def numbers():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    seed_everything(5)
    expected = numbers()
    seed_everything(5)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        with torch.inference_mode():
            step = reference.block()
            assert not torch.is_grad_enabled()
            assert torch.get_default_device().type == "meta"
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert numbers() == expected
    assert step.seconds > 0
    assert step.processor_seconds > 0


def test_a_reference_does_not_depend_on_what_a_method_does_with_its_data():
    problem = small_problem()
    reference = Reference(problem)
    problem.x.resize_(0)
    assert reference.block().seconds > 0


def test_blocks_are_interleaved_with_the_fit_and_do_not_count(cpu, reference):
    clock, reported = FitClock(cpu), []
    progress = InterleavedProgress(reference, clock, lambda *values: reported.append(values))
    progress(0.1, 5.0)
    assert clock.reference == []  # the clock stands still
    clock.start()
    reference.due = 0.0
    progress(0.2, 4.0)
    assert len(clock.reference) == 1
    progress(0.3, 3.0)
    assert len(clock.reference) == 1  # not due yet
    clock.stop()
    assert reported == [(0.1, 5.0), (0.2, 4.0), (0.3, 3.0)]
    (part,) = clock.parts()
    assert part.processor_seconds < clock.reference[0] * 4  # a block has five steps


def test_a_thread_of_the_method_runs_no_block(cpu, reference):
    clock = FitClock(cpu)
    progress = InterleavedProgress(reference, clock, lambda *values: None)
    clock.start()
    reference.due = 0.0
    thread = threading.Thread(target=progress, args=(0.1, 1.0))
    thread.start()
    thread.join()
    assert clock.reference == []


def test_blocks_take_at_most_two_per_cent(reference):
    start = time.perf_counter()
    reference.block()
    duration = time.perf_counter() - start
    assert reference.due - start > 40 * duration


def test_the_reference_is_the_same_with_a_method_that_trains_in_another_precision():
    problem = small_problem()
    reference = Reference(problem)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reference.block()
        assert torch.is_autocast_enabled("cpu")
    assert Reference(replace(problem, batch_size=60)).block().seconds > 0
