"""What torch replaces of its own at first use is in place when the suite remembers its functions, on a GPU as on a CPU."""

import subprocess
import sys

import pytest

PROGRAM = """
import torch
from bbh_bench.running.guard import snapshot
from bbh_bench.running.warmup import warm_up

warm_up(torch.device("{device}"))
originals = snapshot()
weight = torch.nn.Parameter(torch.zeros(1))
optimiser = torch.optim.Adam([weight])
weight.square().sum().backward()
optimiser.step()
originals.check("the method")
assert not torch.cuda.is_initialized()
"""


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_first_optimiser_of_a_process_is_no_replacement(device):
    """Warming up for a GPU needs none, and does not use it: the process may still be forked."""
    subprocess.run([sys.executable, "-c", PROGRAM.format(device=device)], check=True)
