"""MAP and dropout steps, and batches, against the plain way."""

import time
from dataclasses import replace
from statistics import median

import pytest
import torch
import torch.nn.functional as F
from conftest import note
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bbh_bench.api import Categorical, Problem
from bbh_bench.methods.bbb import Bbb
from bbh_bench.methods.bbh import SINGLE, SLICED, Bbh
from bbh_bench.methods.dropout import Dropout, live_dropout
from bbh_bench.methods.ensemble import Ensemble
from bbh_bench.methods.map import Map
from bbh_bench.methods.mnf import Mnf
from bbh_bench.running.reference import Reference
from bbh_bench.tasks.networks import lenet

STEPS = 5
BATCH = 128


@pytest.fixture
def problem():
    torch.manual_seed(0)
    x, y = torch.rand(STEPS * BATCH, 1, 28, 28), torch.randint(10, (STEPS * BATCH,))
    return Problem(x, y, lenet, Categorical(10), epochs=1, batch_size=BATCH)


def plain_lenet():
    """The textbook's order and PyTorch's memory layout."""
    return nn.Sequential(
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10)),
    )


class Images(Dataset):
    """As torchvision's MNIST: one image at a time, from bytes through transforms."""

    def __init__(self, x):
        self.x = (x * 255).byte()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.0, 1.0)])

    def __len__(self):
        return len(self.x)

    def __getitem__(self, k):
        return self.transform(self.x[k, 0].numpy()), 0


def test_batches_against_a_data_loader(problem, compare):
    loader = DataLoader(Images(problem.x), batch_size=BATCH, shuffle=True)
    compare(lambda: list(problem.batches()), lambda: list(loader), goal=1 / 40)


def test_live_dropout_against_torchs(compare):
    x = torch.rand(100, 20, 24, 24).to(memory_format=torch.channels_last).requires_grad_()
    compare(lambda: live_dropout(x, 0.5).sum().backward(), lambda: F.dropout(x, 0.5).sum().backward(), goal=0.4)


def seconds_a_step(method, problem):
    """Of training alone, without what a fit does first: from the first report of progress to the last."""
    reports = []
    method.fit(replace(problem, progress=lambda share, loss: reports.append((share, time.process_time()))))
    (first, start), (last, end) = reports[0], reports[-1]
    return (end - start) / ((last - first) * problem.steps)


@pytest.mark.filterwarnings("ignore:method 'bbh")  # random labels cannot be learned
@pytest.mark.parametrize(
    ("method", "goal"),
    [
        (Map(), 0.55),
        (Ensemble(), 3.0),
        (Dropout(), 0.8),
        (Bbb(), 0.72),
        (Bbb(name="bbb with five samples", likelihood_samples=5), 3.2),
        (Mnf(), 2.2),
        (SINGLE, 5.0),
        (SLICED, 5.0),
        (Bbh(), 11.0),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_step_against_a_plain_step(problem, benchmark, method, goal):
    """Of each method with its defaults. A step of an ensemble is one of every member."""
    problem = replace(problem, epochs=4)
    reference = Reference(replace(problem, network=plain_lenet))
    ratios = []
    for _ in range(3):
        before = reference.block().processor_seconds
        ours = seconds_a_step(method, problem)
        ratios.append(ours / ((before + reference.block().processor_seconds) / 2))
    benchmark.pedantic(lambda: None)
    row = f"training step of {method.name}"
    note(benchmark, median(ratios), goal, f"[{min(ratios):.3g} - {max(ratios):.3g}]", row, "a plain MAP step")
