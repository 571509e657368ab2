"""What a cell costs: seconds, memory, and a yardstick that makes rows from different machines comparable.

The yardstick is one plain step of MAP training (the task's network, its batch size, Adam with PyTorch's defaults), timed by
the runner in the same process just before and just after the cell.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median

import torch

from bbh_bench.api import Problem
from bbh_bench.running.posterior_cache import Fitted
from bbh_bench.running.stages import Stages, synchronise

REFERENCE_STEPS = 15


def reference_steps(problem: Problem, steps: int = REFERENCE_STEPS) -> list[float]:
    """Seconds of each of ``steps`` plain MAP training steps, after three that warm up."""
    network = problem.network()
    optimiser = torch.optim.Adam(network.parameters())
    seconds = []
    for index in torch.randint(len(problem.x), (steps + 3, problem.batch_size), device=problem.x.device):
        x, y = problem.x[index], problem.y[index]
        synchronise(problem.x.device)
        start = time.perf_counter()
        optimiser.zero_grad()
        problem.likelihood(network(x), y).backward()
        optimiser.step()
        synchronise(problem.x.device)
        seconds.append(time.perf_counter() - start)
    return seconds[3:]


def costs(stages: Stages, reference: list[float], problem: Problem, fitted: Fitted) -> dict[str, float]:
    """The cost columns. Seconds, and beside them how many plain MAP fits (``fits``) or steps (``steps``) take as long.

    ``reference``: seconds of plain MAP steps around the evaluation; the fit, perhaps of another day, has its own.
    """
    step, then = median(reference), median(fitted.reference)
    attack = _sum(stages.seconds, "attack/") + _sum(stages.seconds, "judge/")
    per_thousand = 1000 * stages.seconds["predict"] / max(1, stages.images["predict"])
    return {
        "reference/step_seconds": step,
        "fit/seconds": fitted.seconds,
        "fit/fits": fitted.seconds / (then * problem.steps),
        "predict/seconds_per_1000": per_thousand,
        "predict/steps_per_1000": per_thousand / step,
        "attack/seconds": attack,
        "attack/fits": attack / (step * problem.steps),
        "parameters": fitted.posterior.parameters,
    } | {f"stage/{name}/seconds": seconds for name, seconds in stages.seconds.items()}


def _sum(seconds: Mapping[str, float], prefix: str) -> float:
    return sum(value for name, value in seconds.items() if name.startswith(prefix))


class PeakMemory:
    """The most memory taken since it was made, beyond what was in use then: the device's on a GPU, else the process's.

    Only Linux forgets an earlier peak; elsewhere a cell that takes less than one before it in the same run gets that one's.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
        else:
            _give_back()
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")
            self._before = _status("VmRSS") or 0

    def bytes(self) -> int:
        """The peak."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return max(0, (_status("VmHWM") or _lifetime_peak()) - self._before)


def _give_back() -> None:
    """Return freed memory to the system, where the C library can; the process would seem to need it still."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _status(name: str) -> int | None:
    """A figure of Linux's /proc/self/status, in bytes; None elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _lifetime_peak() -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
