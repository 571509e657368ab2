"""What a method changes of its process is as before after the stage."""

import gc
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from bbh_bench.running.settings import ProcessSettings, TorchSettings, settings_restored
from bbh_bench.running.stages import Stages


def handler(number, frame):
    raise AssertionError


CHANGES = {
    "numpy errors": lambda: np.seterr(all="raise"),
    "a filter of warnings": lambda: warnings.simplefilter("error"),
    "the list of filters": lambda: setattr(warnings, "filters", []),
    "how warnings are shown": lambda: setattr(warnings, "showwarning", print),
    "the current folder": lambda: os.chdir(Path.cwd().parent),
    "the recursion limit": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 77),
    "a new variable": lambda: os.environ.__setitem__("BBH_TEST", "1"),
    "a variable that is gone": lambda: os.environ.pop("PATH"),
    "standard output": lambda: setattr(sys, "stdout", None),
    "standard error": lambda: setattr(sys, "stderr", None),
    "garbage collection": lambda: (gc.disable(), gc.set_threshold(7)),
    "the handler of Ctrl-C": lambda: signal.signal(signal.SIGINT, handler),
    "the handler of SIGTERM": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "the default type": lambda: torch.set_default_dtype(torch.float64),
    "the default device": lambda: torch.set_default_device("meta"),
    "gradients": lambda: torch.set_grad_enabled(False),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "the precision of matrix products": lambda: torch.set_float32_matmul_precision("medium"),
    "cuDNN": lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_stage_changes_is_restored(change):
    before = TorchSettings.current(), ProcessSettings.current()
    with settings_restored():
        change()
        changed = TorchSettings.current(), ProcessSettings.current()
    assert changed != before
    assert (TorchSettings.current(), ProcessSettings.current()) == before
    assert warnings.filters is before[1].filters


def test_settings_are_restored_after_an_exception_too(cpu):
    def change_and_fail():
        with Stages(0, cpu)("fit"):
            sys.setrecursionlimit(limit + 1)
            raise RuntimeError

    limit = sys.getrecursionlimit()
    with pytest.raises(RuntimeError):
        change_and_fail()
    assert sys.getrecursionlimit() == limit


def test_a_filter_of_warnings_that_was_restored_has_its_effect():
    def shown():
        with pytest.warns(UserWarning, match="once more"):
            warnings.warn("once more", UserWarning, stacklevel=1)

    shown()
    with settings_restored():
        warnings.simplefilter("ignore")
        warnings.warn("not shown", UserWarning, stacklevel=1)
    shown()


def test_a_folder_that_was_deleted_is_no_error(tmp_path):
    before = Path.cwd()
    gone = tmp_path / "gone"
    gone.mkdir()
    try:
        os.chdir(gone)
        with settings_restored():
            gone.rmdir()
            os.chdir(before)
        assert Path.cwd() == before
    finally:
        os.chdir(before)
