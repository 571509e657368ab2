"""Freed memory stays in the process during training."""

import resource
import sys

import pytest
import torch

from bbh_bench.inference.memory import freed_memory_kept

PAGES = 6 * 2**22 // resource.getpagesize()
"""Of the tensors that ``step`` allocates and frees, six of 4 MiB."""


def step():
    return [torch.ones(2**20) for _ in range(6)]


def new_pages(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux", reason="only the C library of Linux has the parameter")
def test_a_step_gets_the_pages_of_the_step_before_it():
    """Not so without it: twenty steps get new pages twenty times. What else is in memory may move a step once or twice."""
    for _ in range(2):
        with freed_memory_kept():
            step()
            assert new_pages(20) < 5 * PAGES
