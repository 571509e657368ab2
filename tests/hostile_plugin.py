"""Methods that do what a method must not do. Each fits a line as ``Straight`` does, and then does one thing."""

import ctypes
import os
import random
import signal
import sys
import threading
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from line_plugin import fit


class NoException(BaseException):
    """Not an ``Exception``."""


class Unprintable(Exception):
    """Its text cannot be shown."""

    def __str__(self):
        raise RuntimeError("no text")


def raise_base_exception():
    raise NoException("not an Exception")


def raise_generator_exit():
    raise GeneratorExit("leave")


def raise_unprintable():
    raise Unprintable


def leave_number_errors_on():
    np.seterr(all="raise")
    warnings.simplefilter("error")


def replace_torch():
    torch.Tensor.mean = lambda self, *arguments, **named: torch.zeros(())


def replace_time():
    time.perf_counter = lambda: 0.0


def replace_suite():
    sys.modules["bbh_bench.running.runner"].now = lambda: "the past"


def draw_in_a_thread():
    def draw():
        while True:
            torch.rand(1)
            random.random()

    threading.Thread(target=draw, daemon=True).start()


def leave_a_thread():
    threading.Thread(target=time.sleep, args=(3600,)).start()


def change_folder_and_limits():
    os.chdir("/")
    sys.setrecursionlimit(100_000)
    os.environ["OMP_NUM_THREADS"] = "13"
    os.environ.pop("PATH", None)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)


def close_output():
    sys.stdout.close()
    sys.stderr = None


def close_descriptors():
    os.close(1)
    os.close(2)


def interrupt_itself():
    os.kill(os.getpid(), signal.SIGINT)


def fork():
    """Both processes go on, and both would answer."""
    os.fork()


def kill_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def allocate():
    blocks = []
    while len(blocks) < 10_000:
        blocks.append(torch.ones(2**26 // 4))  # 64 MiB


ACTS = {
    "base-exception": raise_base_exception,
    "generator-exit": raise_generator_exit,
    "unprintable": raise_unprintable,
    "exit": lambda: os._exit(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "hang": lambda: time.sleep(3600),
    "allocate": allocate,
    "number-errors": leave_number_errors_on,
    "replace-torch": replace_torch,
    "replace-time": replace_time,
    "replace-suite": replace_suite,
    "drawing-thread": draw_in_a_thread,
    "thread": leave_a_thread,
    "settings": change_folder_and_limits,
    "close-output": close_output,
    "close-descriptors": close_descriptors,
    "interrupt": interrupt_itself,
    "fork": fork,
    "kill-parent": kill_parent,
}


@dataclass(frozen=True)
class Hostile:
    """Does what its name says."""

    name: str
    version: int = 1

    def fit(self, problem):
        posterior = fit(problem)
        ACTS[self.name]()
        return posterior
