"""A fit that is stopped goes on from its checkpoint, to the same bits."""

import math
import os
import random
import subprocess
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import QUICK, TINY, planned
from torch import nn

from bbh_bench.api import Problem
from bbh_bench.errors import BenchWarning
from bbh_bench.inference.training import minimise
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import LAYER_WISE, SINGLE, SLICED
from bbh_bench.methods.dropout import Dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.methods.mnf import Mnf
from bbh_bench.running.checkpoint import CheckpointFolder, Checkpoints, random_state, restore_random_state
from bbh_bench.running.clock import FitClock
from bbh_bench.running.stages import seed_everything
from bbh_bench.testing import small_problem

METHODS = [
    Map(),
    Ensemble(members=3),
    Dropout(),
    Bbb(),
    Mnf(),
    LAYER_WISE,
    SLICED,
    SINGLE,
    replace(SLICED, name="discriminated", kl="discriminator"),
]


class Killed(BaseException):
    """What ends a fit in these tests."""


@pytest.fixture
def clock(cpu):
    clock = FitClock(cpu)
    clock.start()
    return clock


def checkpoints(folder, clock, every=0.0, key="a fit"):
    """Which save after every step, however long that takes."""
    return Checkpoints(folder, {"key": key}, every, clock, share=math.inf)


def outputs(posterior, x):
    seed_everything(0, "predict")
    return posterior.sample(8)(x).detach()


def fit(method, problem, folder=None, clock=None, stop_after=None, every=0.0):
    """Fit from the start, with checkpoints; killed after a number of batches over all loops."""
    seed_everything(0, "fit")
    taken = 0
    if folder is not None:
        saved = checkpoints(folder, clock, every)
        problem = replace(problem, checkpoint=saved.open, network=saved.tracked(problem.network))

    def counting(outputs, targets, likelihood=problem.likelihood):
        nonlocal taken
        taken += 1
        if stop_after is not None and taken > stop_after:
            raise Killed
        return likelihood(outputs, targets)

    return method.fit(replace(problem, likelihood=counting)), taken


@pytest.mark.filterwarnings("ignore:.*has not learned:bbh_bench.errors.BenchWarning")  # the fits are short
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_fit_that_is_killed_three_times_gives_the_posterior_of_an_undisturbed_one(method, tmp_path, clock):
    problem = small_problem(epochs=10)
    expected, whole = fit(method, problem)
    calls = 0
    for stop_after in (whole // 4, whole // 3, whole // 3):
        with pytest.raises(Killed):
            fit(method, problem, tmp_path, clock, stop_after)
        calls += stop_after
    resumed, rest = fit(method, problem, tmp_path, clock)
    assert outputs(resumed, problem.x).equal(outputs(expected, problem.x))
    assert 0 < rest < whole - calls + whole // 10 + 10  # it did not start again


def normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@dataclass(frozen=True)
class OwnLoop:
    """A method with a loop of its own, as ``docs/plugins.md`` describes it, and a running average as its own state."""

    name: str = "own-loop"
    version: int = 1

    def fit(self, problem):
        network, batches = problem.network(), problem.batches()
        optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        average = torch.optim.swa_utils.AveragedModel(network)
        state = {"network": network, "optimiser": optimiser, "batches": batches, "average": average}
        with problem.checkpoint(state) as save_if_due:
            for x, y in batches:
                optimiser.zero_grad()
                problem.likelihood(network(x + 0.1 * torch.randn_like(x)), y).backward()
                optimiser.step()
                average.update_parameters(network)
                save_if_due()
        return OneNetwork(average.eval())


class OneNetwork:
    def __init__(self, network):
        self.network = network

    def sample(self, n):
        return lambda x: self.network(x).unsqueeze(0)


@pytest.mark.parametrize("method", [Map(), Ensemble(members=2), OwnLoop()], ids=lambda method: method.name)
def test_running_averages_of_normalisation_layers_and_loops_of_ones_own_are_restored(method, tmp_path, clock):
    problem = replace(small_problem(epochs=8), network=normalised)
    expected, whole = fit(method, problem)
    with pytest.raises(Killed):
        fit(method, problem, tmp_path, clock, stop_after=whole * 2 // 3)
    resumed, rest = fit(method, problem, tmp_path, clock)
    assert outputs(resumed, problem.x).equal(outputs(expected, problem.x))
    assert rest == whole - whole * 2 // 3


def test_a_loop_that_is_complete_takes_no_step(tmp_path, clock):
    problem = small_problem(epochs=4)
    expected, whole = fit(Map(), problem, tmp_path, clock)
    again, steps = fit(Map(), problem, tmp_path, clock)
    assert (whole, steps) == (12, 0)
    assert outputs(again, problem.x).equal(outputs(expected, problem.x))


def test_the_time_of_a_stopped_part_counts_up_to_its_last_checkpoint(tmp_path, cpu, clock):
    problem = small_problem(epochs=4)
    clock.reference.append(0.5)
    with pytest.raises(Killed):
        fit(Map(), problem, tmp_path, clock, stop_after=6)
    until_stopped = clock.parts()[0].seconds
    later = FitClock(cpu)
    later.start()
    fit(Map(), problem, tmp_path, later)
    first, second = later.parts()
    assert 0 < first.seconds <= until_stopped
    assert first.reference == [0.5]
    assert second.seconds > 0
    assert second.reference == []


def test_every_generator_is_restored():
    torch.set_default_dtype(torch.float32)
    seed_everything(7)
    state = random_state()

    def numbers():
        return (
            torch.rand(3).tolist(),
            np.random.rand(3).tolist(),
            random.random(),
            random.gauss(0, 1),
            np.random.randn(),
        )

    first = numbers()
    assert numbers() != first
    restore_random_state(state)
    assert numbers() == first


def interrupted(folder, clock):
    """A fit that was stopped after half of its steps; and its problem."""
    problem = small_problem(epochs=4)
    with pytest.raises(Killed):
        fit(Map(), problem, folder, clock, stop_after=6)
    return problem


def test_a_damaged_checkpoint_is_ignored_with_a_warning(tmp_path, clock):
    problem = interrupted(tmp_path, clock)
    file = tmp_path / "loop0.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.warns(BenchWarning, match="loop0.pt' is ignored"):
        _, steps = fit(Map(), problem, tmp_path, clock)
    assert steps == 12


def test_a_checkpoint_that_holds_an_object_runs_no_code(tmp_path, clock):
    problem = interrupted(tmp_path, clock)
    torch.save(Evil(str(tmp_path / "executed")), tmp_path / "loop0.pt")
    with pytest.warns(BenchWarning, match="is ignored"):
        fit(Map(), problem, tmp_path, clock)
    assert not (tmp_path / "executed").exists()


@dataclass
class Evil:
    """Creates a file when it is unpickled."""

    path: str

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_of_another_fit_is_ignored(tmp_path, clock):
    problem = interrupted(tmp_path, clock)
    other = checkpoints(tmp_path, clock, key="another fit")
    with pytest.warns(BenchWarning, match="it is of another fit or version"):
        Map().fit(replace(problem, checkpoint=other.open))


def test_a_full_disk_costs_the_checkpoints_and_not_the_fit(tmp_path, clock, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    problem = small_problem(epochs=4)
    expected, _ = fit(Map(), problem)
    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(BenchWarning, match="checkpoints cannot be written .*No space left on device") as caught:
        posterior, _ = fit(Map(), problem, tmp_path, clock)
    assert len(caught) == 1
    assert list(tmp_path.iterdir()) == []
    assert outputs(posterior, problem.x).equal(outputs(expected, problem.x))


def test_without_room_for_two_files_the_old_one_goes_first(tmp_path, clock, monkeypatch):
    problem = interrupted(tmp_path, clock)
    size = (tmp_path / "loop0.pt").stat().st_size
    seen = []

    def small(folder):
        seen.append(len(list(tmp_path.iterdir())))
        return SimpleNamespace(free=size // 2)

    monkeypatch.setattr("shutil.disk_usage", small)
    _, steps = fit(Map(), problem, tmp_path, clock)
    assert steps == 6
    assert max(seen) == 1  # never a second file beside the one that was there
    assert [path.name for path in tmp_path.iterdir()] == ["loop0.pt"]


def test_what_a_killed_save_left_is_deleted_when_the_fit_goes_on(tmp_path, cpu, clock):
    """Else a small disk would hold two checkpoints of a large fit."""
    folder, cell = CheckpointFolder(tmp_path), planned(TINY, QUICK)
    saved = folder.open(cell, "2.0", cpu, clock).folder
    saved.mkdir()
    killed = "import sys, os; from pathlib import Path; from bbh_bench.records.files import atomically\n"
    killed += "with atomically(Path(sys.argv[1], 'loop0.pt')): os._exit(1)"
    subprocess.run([sys.executable, "-c", killed, str(saved)], check=False)
    assert len(list(saved.iterdir())) == 1
    folder.open(cell, "2.0", cpu, clock)
    assert list(saved.iterdir()) == []


def test_saves_are_few(tmp_path, clock):
    problem = small_problem(epochs=4)
    fit(Map(), problem, tmp_path, clock, every=3600)
    (file,) = tmp_path.iterdir()  # the one at the end of the loop
    assert torch.load(file, weights_only=True)["state"]["batches"]["step"] == 12
    Checkpoints(tmp_path / "other", {}, 0.0, clock)
    seldom = Checkpoints(tmp_path / "other", {}, 0.0, clock)  # which may take two per cent of the time
    Map().fit(replace(problem, checkpoint=seldom.open))
    assert not (tmp_path / "other").exists()


def test_an_optimiser_without_a_state_starts_again(tmp_path, clock):
    class Descent:
        def __init__(self, weights):
            self.weights = list(weights)

        def zero_grad(self):
            for weight in self.weights:
                weight.grad = None

        @torch.no_grad()
        def step(self):
            for weight in self.weights:
                weight.sub_(0.01 * weight.grad)

    network = small_problem().network()
    problem: Problem = replace(small_problem(epochs=2), checkpoint=checkpoints(tmp_path, clock).open)
    minimise(problem, Descent(network.parameters()), lambda x, y, step: problem.likelihood(network(x), y))
    assert list(tmp_path.iterdir()) == []
