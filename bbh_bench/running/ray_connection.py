"""Connects a run to a Ray cluster, with one sentence for each way in which that fails."""

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

from bbh_bench.errors import BenchError

PATIENCE = 10.0
"""Seconds that the cluster's address gets to answer. Ray itself waits for two minutes and then ends the process."""
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}
"""What Ray reads when it is imported; a user's own values are kept."""


def import_ray() -> Any:
    """The module ``ray``. Raises ``BenchError`` if it is not installed."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise BenchError(
            f"--executor ray needs Ray, which cannot be imported ({error}). Install it: pip install 'bbh-bench[ray]'."
        ) from error
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Yield the module ``ray``, connected to the cluster at ``address``; disconnect at the end.

    None: the cluster of $RAY_ADDRESS, else one of this machine's own, which ends with the run. A connection that the caller has
    already is used and stays. Raises ``BenchError`` if the cluster cannot be reached, or has another version of Python or Ray.
    """
    ray = import_ray()
    if ray.is_initialized():
        with _without_ray_messages():
            yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _check_address(address)
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        with _signal_handlers_kept():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (Exception, SystemExit) as error:  # Ray raises whatever it likes, and exits if nothing answers
        raise BenchError(_refusal(address, error)) from error
    try:
        with _without_ray_messages():
            yield ray
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise ``BenchError`` for an address that Ray does not understand, or where nothing answers."""
    if address in ("local", "auto"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise BenchError(
            f"--address {address}: write HOST:PORT of the cluster's head node, such as 10.0.0.1:6379, or auto on a machine of "
            "the cluster. (Ray's ray:// and http:// addresses are not for this: start the run on a machine of the cluster.)"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise BenchError(
            f"--address {address}: nothing answers there ({error}). Is the head node running (ray start --head), and can this "
            "machine reach it?"
        ) from error


def _refusal(address: str, error: BaseException) -> str:
    text = " ".join(str(error).split())
    if "ersion mismatch" in text:
        return (
            f"The Ray cluster at {address} has another version of Python or Ray than this process ({text}). Use the same "
            "installation on all machines."
        )
    return f"--address {address}: the Ray cluster cannot be used: {type(error).__name__}: {text[:500]}"


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Ray replaces the handler of SIGTERM; the run has its own."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # None: it was not installed from Python
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _without_ray_messages() -> Iterator[None]:
    """Ray prints a paragraph on every process that died, which no option stops; the cell's record has the reason."""
    from ray._private import worker

    before = worker.print_to_stdstream
    worker.print_to_stdstream = _ignore
    try:
        yield
    finally:
        worker.print_to_stdstream = before


def _ignore(data: object, ignore_prefix: bool = False) -> None:
    """In place of Ray's own function."""
