"""Cost relative to the reference workload, and the memory that a cell takes."""

import time

import pytest
import torch

from bbh_bench.running.cost import PeakMemory, costs, reference_steps
from bbh_bench.running.posterior_cache import Fit
from bbh_bench.running.stages import Stages
from bbh_bench.testing import small_problem

MIB = 2**20


@pytest.mark.skipif(torch.cuda.is_available(), reason="measures the process's memory")
def test_peak_memory_is_what_was_taken_since_and_forgets_what_was_before(cpu):
    big = torch.ones(60 * MIB)  # 240 MiB, before
    del big
    memory = PeakMemory(cpu)
    part = torch.ones(20 * MIB)  # 80 MiB, since
    del part
    assert 75 * MIB < memory.bytes() < 130 * MIB


def test_costs_are_ratios_to_the_reference(cpu):
    problem = small_problem(epochs=2)  # six steps
    stages = Stages(0, cpu)
    with stages("fit"):
        time.sleep(0.06)
    with stages("predict", images=500):
        time.sleep(0.01)
    with stages("attack/a", images=10):
        time.sleep(0.01)
    with stages("evaluate/a", images=10):
        time.sleep(0.02)
    fit = Fit(None, stages.seconds["fit"], [0.01], 0, None)
    cost = costs(stages, [0.004, 0.005, 0.006, 5.0, 0.001], problem, fit, parameters=7)
    assert cost["reference/step_seconds"] == 0.005
    assert cost["fit/relative"] == pytest.approx(stages.seconds["fit"] / 0.06)
    assert cost["predict/seconds_per_1000"] == pytest.approx(2 * stages.seconds["predict"])
    assert cost["predict/steps_per_1000"] == pytest.approx(400 * stages.seconds["predict"])
    assert cost["attack/seconds"] == pytest.approx(stages.seconds["attack/a"] + stages.seconds["evaluate/a"])
    assert cost["attack/relative"] == pytest.approx(cost["attack/seconds"] / 0.03)
    assert cost["parameters"] == 7
    assert "parameters" not in costs(stages, [0.005], problem, fit, parameters=None)


def test_reference_steps_are_timed_one_by_one():
    seconds = reference_steps(small_problem(), steps=4)
    assert len(seconds) == 4
    assert min(seconds) > 0
