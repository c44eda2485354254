"""Where numbers were made: commit, package versions, device, threads, memory."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from fasnb.tools.precision import has_bfloat16

PACKAGES = ("fasnb", "torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn")


def environment(device: str | torch.device) -> dict:
    """Where a run was made: commit, package versions, device, threads. No paths and no names of machines."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return _commit() | {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "device": device_name(device),
        "bfloat16": has_bfloat16(device),
        "threads": torch.get_num_threads(),
    }


@cache
def _commit() -> dict:
    """Commit of the package's repository and whether the package or the notebooks differ from it; None outside a repository."""
    package = Path(__file__).parent.parent

    def git(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], cwd=package, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".", "../notebooks")
    return {"commit": commit, "dirty": None if commit is None else bool(changes)}


def commit_name() -> str:
    """The commit, and whether package or notebooks differ from it."""
    made = _commit()
    if not made["commit"]:
        return "not in a repository"
    return made["commit"] + (" with uncommitted changes" if made["dirty"] else "")


def device_name(device: str | torch.device) -> str:
    """Model of the GPU or the processor."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def peak_memory(process: int | str = "self") -> int | None:
    """The most memory that a process has held, in bytes; None where it is gone, or the system does not say (not Linux).

    ``ru_maxrss`` is another number: on Linux a new process begins with that of the process that started it.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
