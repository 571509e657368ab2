"""Where a number comes from: code, packages, machine and command, read once a run."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

FOLDERS = ("--records", "--data", "--posteriors")
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


def provenance(device: torch.device, distributions: set[str]) -> dict[str, object]:
    """JSON values: package versions, the commit of the code and whether it was changed since, hardware, command line."""
    commit, dirty = _commit()
    return {
        "packages": {name: _version(name) for name in sorted({*PACKAGES, *distributions})},
        "python": platform.python_version(),
        "commit": commit,
        "dirty": dirty,
        "command": command(sys.argv),
        "device": device.type,
        "hardware": hardware(device),
    }


def command(arguments: list[str]) -> str:
    """The command line, without the user's own folders: what they hold is checked, and where they are is nobody's business."""
    shown, left = [Path(arguments[0]).name], iter(arguments[1:])
    for argument in left:
        if argument in FOLDERS:
            next(left, None)
        elif argument.partition("=")[0] not in FOLDERS:
            shown.append(argument)
    return shlex.join(shown)


def hardware(device: torch.device) -> dict[str, object]:
    """Processor, cores, torch's threads, memory, accelerator. No host name."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory(),
        "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    """The commit that the code was installed from, where it lies in a git repository of its own."""
    package = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(package), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if git("ls-files", "__init__.py") != "__init__.py":  # site-packages inside another project's repository
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


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
    except (AttributeError, ValueError, OSError):  # not every system tells
        return None
