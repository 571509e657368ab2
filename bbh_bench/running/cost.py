"""What a cell costs: seconds, memory, and cost relative to a reference workload, which can be compared across machines.

The reference workload is plain MAP training: the task's network, its batch size, Adam with PyTorch's defaults. The runner times
some of its steps in the same process just before and just after the fit and the evaluation.
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
from bbh_bench.running.posterior_cache import Fit
from bbh_bench.running.stages import Stages, synchronise

REFERENCE_STEPS = 15


def reference_steps(problem: Problem, steps: int = REFERENCE_STEPS) -> list[float]:
    """Seconds of each of ``steps`` steps of the reference workload, after three steps that are not timed."""
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


def costs(
    stages: Stages, reference: list[float], problem: Problem, fit: Fit, parameters: int | None
) -> dict[str, float]:
    """The cost columns: seconds, and cost relative to the reference workload.

    ``relative`` is in units of the task's whole budget of plain MAP steps (MAP = 1), ``steps`` in units of one such step.
    ``reference``: seconds of steps around the evaluation. The fit, which may come from the cache, has timings of its own.
    """
    step, step_at_fit = median(reference), median(fit.reference)
    attack = _sum(stages.seconds, "attack/") + _sum(stages.seconds, "evaluate/")
    per_thousand = 1000 * stages.seconds["predict"] / max(1, stages.images["predict"])
    columns = {
        "reference/step_seconds": step,
        "fit/seconds": fit.seconds,
        "fit/relative": fit.seconds / (step_at_fit * problem.steps),
        "predict/seconds_per_1000": per_thousand,
        "predict/steps_per_1000": per_thousand / step,
        "attack/seconds": attack,
        "attack/relative": attack / (step * problem.steps),
    }
    size = {} if parameters is None else {"parameters": parameters}
    return columns | size | {f"stage/{name}/seconds": seconds for name, seconds in stages.seconds.items()}


def _sum(seconds: Mapping[str, float], prefix: str) -> float:
    return sum(value for name, value in seconds.items() if name.startswith(prefix))


class PeakMemory:
    """Peak memory since its creation, beyond what was in use then: of the device on a GPU, else of the process.

    Only Linux can reset the peak. On other systems a cell gets the peak of an earlier cell of the same process if that was
    higher.
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
        """The peak so far."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return max(0, (_status("VmHWM") or _lifetime_peak()) - self._before)


def _give_back() -> None:
    """Return freed memory to the system, if the C library can: otherwise it would count as in use."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def _status(name: str) -> int | None:
    """A value of Linux's /proc/self/status, in bytes; None on other systems."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _lifetime_peak() -> int:
    import resource  # not on every system

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
