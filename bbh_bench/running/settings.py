"""Settings of the process and of torch that a method may change. They are restored, so that other stages do not see them."""

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import torch

SIGNALS = (signal.SIGINT, signal.SIGTERM)
Handler = Any  # what signal.getsignal returns: a function, a number, or None for a handler that was not set by Python


@dataclass(frozen=True)
class TorchSettings:
    """Global settings of torch."""

    dtype: torch.dtype
    device: torch.device
    gradients: bool
    deterministic: tuple[bool, bool]
    """Whether deterministic algorithms are required, and whether a violation is only a warning."""
    threads: int
    precision: str
    """Of matrix products in float32."""
    cudnn: tuple[bool, bool, bool]
    """Whether cuDNN is used, searches for the fastest algorithm, and uses deterministic algorithms only."""

    @staticmethod
    def current() -> "TorchSettings":
        """Those of now."""
        cudnn = torch.backends.cudnn
        return TorchSettings(
            dtype=torch.get_default_dtype(),
            device=torch.get_default_device(),
            gradients=torch.is_grad_enabled(),
            deterministic=(
                torch.are_deterministic_algorithms_enabled(),
                torch.is_deterministic_algorithms_warn_only_enabled(),
            ),
            threads=torch.get_num_threads(),
            precision=torch.get_float32_matmul_precision(),
            cudnn=(cudnn.enabled, cudnn.benchmark, cudnn.deterministic),
        )

    def restore(self) -> None:
        """Set those that differ now."""
        now = TorchSettings.current()
        if now.dtype != self.dtype:
            torch.set_default_dtype(self.dtype)
        if now.device != self.device:
            torch.set_default_device(None if self.device.type == "cpu" else self.device)  # None: no context is active
        if now.gradients != self.gradients:
            torch.set_grad_enabled(self.gradients)
        if now.deterministic != self.deterministic:
            torch.use_deterministic_algorithms(self.deterministic[0], warn_only=self.deterministic[1])
        if now.threads != self.threads:
            torch.set_num_threads(self.threads)
        if now.precision != self.precision:
            torch.set_float32_matmul_precision(self.precision)
        if now.cudnn != self.cudnn:
            cudnn = torch.backends.cudnn
            cudnn.enabled, cudnn.benchmark, cudnn.deterministic = self.cudnn


@dataclass(frozen=True)
class ProcessSettings:
    """Settings of Python, NumPy and the process."""

    numpy_errors: dict[str, Any]
    filters: list[Any]
    """The list of the filters of warnings itself, which ``warnings.catch_warnings`` replaces."""
    filters_content: list[Any]
    show_warning: Any
    folder: str
    recursion_limit: int
    environment: dict[str, str]
    stdout: TextIO
    stderr: TextIO
    collection: tuple[bool, tuple[int, int, int]]
    """Whether garbage is collected, and the thresholds."""
    handlers: dict[signal.Signals, Handler]
    """Of signals; empty outside the main thread, which alone can set them."""

    @staticmethod
    def current() -> "ProcessSettings":
        """Those of now."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        return ProcessSettings(
            numpy_errors=dict(np.geterr()),
            filters=warnings.filters,  # type: ignore[arg-type]  # typeshed has a read-only sequence
            filters_content=list(warnings.filters),
            show_warning=warnings.showwarning,
            folder=_folder(),
            recursion_limit=sys.getrecursionlimit(),
            environment=dict(os.environ),
            stdout=sys.stdout,
            stderr=sys.stderr,
            collection=(gc.isenabled(), gc.get_threshold()),
            handlers={number: signal.getsignal(number) for number in SIGNALS} if in_main_thread else {},
        )

    def restore(self) -> None:
        """Set those that differ now."""
        now = ProcessSettings.current()
        if now.numpy_errors != self.numpy_errors:
            np.seterr(**self.numpy_errors)
        if now.filters is not self.filters or now.filters_content != self.filters_content:
            warnings.filters = self.filters
            warnings.resetwarnings()  # empties the list and lets modules forget which filters they have seen
            self.filters.extend(self.filters_content)
        warnings.showwarning = self.show_warning
        if now.folder != self.folder:
            with suppress(OSError):  # it was deleted
                os.chdir(self.folder)
        if now.recursion_limit != self.recursion_limit:
            sys.setrecursionlimit(self.recursion_limit)
        if now.environment != self.environment:
            os.environ.clear()
            os.environ.update(self.environment)
        sys.stdout, sys.stderr = self.stdout, self.stderr
        if now.collection != self.collection:
            enabled, thresholds = self.collection
            gc.set_threshold(*thresholds)
            (gc.enable if enabled else gc.disable)()
        for number, handler in self.handlers.items():
            if handler is not None and now.handlers.get(number) != handler:
                signal.signal(number, handler)


def _folder() -> str:
    """The current folder; '' if it was deleted."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


@contextmanager
def settings_restored() -> Iterator[None]:
    """Restore, at the end, what was changed inside: of torch, NumPy, Python and the process."""
    of_torch, of_process = TorchSettings.current(), ProcessSettings.current()
    try:
        yield
    finally:
        of_process.restore()
        of_torch.restore()
