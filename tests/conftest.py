"""Fixtures that several test modules use."""

import os
from pathlib import Path

import pytest
import torch

from bbh_bench.api import Metric
from bbh_bench.plugins import Plugins, load_plugins

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # the tests run in several processes: more threads than cores wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data sets; tests that need it are skipped without it."""
    folder = os.environ.get("BBH_BENCH_DATA")
    if not folder or not Path(folder, "MNIST").is_dir():
        pytest.skip("no data folder with MNIST: set BBH_BENCH_DATA")
    return Path(folder).resolve()  # some tests change the working folder


@pytest.fixture
def builtin() -> Plugins:
    """The built-in plugins only."""
    return load_plugins(external=False)


@pytest.fixture
def metrics(builtin: Plugins) -> list[Metric]:
    return builtin.metrics.values()


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small networks gain nothing from a second thread, and wait for it on a busy machine."""
    torch.set_num_threads(1)
