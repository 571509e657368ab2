"""Where a score comes from: code, packages, machine and command, read once per run."""

import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch

from bbh_bench.records.record import Hardware, Package, Provenance
from bbh_bench.running.commits import git_state, installed_commit, suite_state

FOLDERS = ("--records", "--data", "--posteriors", "--plugin", "--results")
PACKAGES = (
    "bbh-bench",
    "torch",
    "torchvision",
    "foolbox",
    "numpy",
    "scipy",
    "scikit-learn",
    "scikit-image",
    "torchmetrics",
    "pluggy",
)


def provenance(device: torch.device, packages: Iterable[str]) -> Provenance:
    """Of a run on ``device`` with methods of these packages."""
    commit, dirty, diff = suite_state()
    return Provenance(
        packages={name: installed_version(name) for name in sorted({*PACKAGES, *packages})},
        python=platform.python_version(),
        commit=commit,
        dirty=dirty,
        diff=diff,
        command=command(sys.argv),
        device=device.type,
        hardware=hardware(device),
        started=now(),
        fit=None,
    )


def now() -> str:
    """The time, in UTC, as ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def package(name: str, module: str) -> Package:
    """The package ``name`` whose ``module`` provides a method; its commit where pip or git knows it."""
    commit, dirty = installed_commit(name), None
    if commit is None:
        origin = getattr(sys.modules.get(module), "__file__", None) or _origin(module)
        commit, dirty, _ = git_state(Path(origin).parent, Path(origin).name) if origin else (None, None, None)
    return Package(name=name, version=installed_version(name), commit=commit, dirty=dirty)


def command(arguments: list[str]) -> str:
    """The command line without the user's own folders and files: they are private, and a record does not depend on them."""
    shown, rest = [Path(arguments[0]).name], iter(arguments[1:])
    for argument in rest:
        if argument in FOLDERS:
            next(rest, None)
        elif argument.partition("=")[0] not in FOLDERS:
            shown.append(argument)
    return shlex.join(shown)


def hardware(device: torch.device) -> Hardware:
    """The machine, without its host name."""
    return Hardware(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        memory_bytes=_memory(),
        accelerator=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        vector=torch.backends.cpu.get_cpu_capability(),
    )


def _origin(module: str) -> str | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


def installed_version(name: str) -> str | None:
    """Of a package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not available on every system
        return None
