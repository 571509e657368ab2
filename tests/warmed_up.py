"""Preloaded by the server of ``test_survival``: what it forks starts in milliseconds."""

import torch

from bbh_bench import cli  # noqa: F401
from bbh_bench.plugins import load_plugins
from bbh_bench.running.warmup import warm_up

torch.set_num_threads(1)  # a process that has several threads cannot be forked
load_plugins(external=False)
warm_up(torch.device("cpu"))
