"""The machine: where things lie on it, what it is, how exactly it calculates, how long it may, and its processes."""

import os
import platform
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache as once
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("fasnb", "torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn")
STOP_AT = (
    "FASNB_STOP_AT"  # environment variable, which processes inherit: when work should end, in seconds of time.time
)

# GLIBC_TUNABLES of worker processes: memory that a tensor gave back is kept for the next, in huge pages. Otherwise the system
# takes it and clears it anew for every batch, which costs small networks a tenth of the time and more.
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=4000000000:glibc.malloc.mmap_threshold=33554432"


class MissingData(FileNotFoundError):
    """The profile's source is not on this machine; the message says what to obtain and where to lay it."""


class OutOfTime(RuntimeError):
    """The time of ``time_limit`` is nearly up. What is done is saved, and the same call goes on from there."""


class WorkerError(RuntimeError):
    """Work could not be done in another process; the message says why and what to do."""


def home() -> Path:
    """The repository: the nearest folder at or above the working directory that holds the notebooks, else the package's."""
    here, package = Path.cwd(), Path(__file__).resolve().parents[2]  # of an editable installation: the repository
    places = (here, *here.parents, package)
    return next((p for p in places if (p / "notebooks").is_dir() and (p / "fasnb" / "paper").is_dir()), here)


def workplace() -> Path:
    """Where a study writes: the repository at or above the working directory, else the working directory."""
    here = Path.cwd()
    return home() if home() in (here, *here.parents) else here


def cache() -> Path:
    """Folder of decoded frames, which can be deleted at any time: ``FASNB_CACHE``, else ``data/cache``."""
    return workplace() / (os.environ.get("FASNB_CACHE") or Path("data") / "cache")


def released_root(setting: str = "") -> Path:
    """The authors' repository: the folder of the setting, else ``FASNB_RELEASED``, else ``data/released``; else MissingData."""
    given = setting or os.environ.get("FASNB_RELEASED")
    root = home() / (given or Path("data") / "released")
    if not (root / "data" / "lists" / "phase1_list.txt").is_file():
        raise MissingData(
            f"the authors' released scores are not at {given or 'data/released'}; clone "
            "github.com/AlexanderParkin/ChaLearn_liveness_challenge and lay it at data/released, set FASNB_RELEASED to "
            "the clone, or pass --set released_root=PATH"
        )
    return root


def environment(device: str | torch.device) -> dict:
    """Where numbers were made: commit, package versions, device, threads. No paths and no names of machines."""
    return {
        "commit": commit_name(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {package: installed(package) for package in PACKAGES},
        "device": device_name(device),
        "bfloat16": has_bfloat16(device),
        "threads": torch.get_num_threads(),
    }


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@once
def commit_name() -> str:
    """The commit of the package's repository, and whether code or notebooks differ from it."""

    def git(*command: str) -> str:
        return subprocess.check_output(
            ["git", *command], cwd=Path(__file__).parents[2], text=True, stderr=subprocess.DEVNULL
        ).strip()

    try:
        changed = git("status", "--porcelain", "--", "fasnb", "synthsurf", "notebooks")
        return git("rev-parse", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "not in a repository"


def device_name(device: str | torch.device) -> str:
    """Model of the GPU or the processor."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cpu = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", cpu.read_text(encoding="utf-8") if cpu.exists() else "")
    return found[1] if found else platform.machine()


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None where the system does not say (not Linux).

    ``ru_maxrss`` is another number: a new process begins with that of the process that started it.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8") if status.exists() else "")
    return 1024 * int(found[1]) if found else None


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device of that name; None and "auto" are CUDA where there is one. ValueError where CUDA is not there."""
    if device in (None, "auto"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {str(device)!r} is not on this machine; choose cpu or auto")
    return device


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: CUDA from Ampere on, x86 CPUs with AVX512-BF16 or AMX."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able = torch.cpu.get_capabilities()
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: str | torch.device, enabled: bool = True) -> torch.autocast:
    """bfloat16 autocast where ``device`` multiplies bfloat16 in hardware, otherwise a context that does nothing."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled and has_bfloat16(kind))


def exact(precision: str):
    """In "fp32" cuDNN may not round its inputs to TF32; in both it chooses the fastest algorithm for a fixed size."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=precision != "fp32")


@contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """Inside, work here and in processes started from here ends by ``OutOfTime`` before so many minutes are over.

    Work looks at the time itself and saves its state a minute (or a tenth of the time) before the end. None: no limit.
    """
    if minutes is None:
        yield
        return
    if not 0 < minutes < 1e6:
        raise ValueError(f"{minutes:g} minutes are no time limit; give a number above 0")
    os.environ[STOP_AT] = str(time.time() + 60 * minutes - min(60.0, 6 * minutes))
    try:
        yield
    finally:
        del os.environ[STOP_AT]


def time_is_up() -> bool:
    """Whether work should end now."""
    return time.time() > float(os.environ.get(STOP_AT, "inf"))


def require_time() -> None:
    """Raise OutOfTime where work should end now."""
    if time_is_up():
        raise OutOfTime("the time is up; what was finished is kept, run the same command to go on")


def parallel(function: Callable, tasks: Iterable, workers: int = 0) -> Iterator:
    """``function(task)`` of every task, in the order in which they finish.

    Each process has one thread of PyTorch, however few tasks there are: the number of threads changes how sums are rounded.

    Args:
        workers: processes (0: one a core). One worker, or a single task, is worked on in this process.

    Raises:
        What ``function`` raises, at once. WorkerError where a process dies. OutOfTime once all others have ended too.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    tasks = list(tasks)
    workers = min(workers or cores(), len(tasks))
    if workers < 2:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from map(function, tasks)
        finally:
            torch.set_num_threads(before)
        return
    os.environ.setdefault("GLIBC_TUNABLES", KEEP_MEMORY)  # read by a process when it starts
    pool = Parallel(workers, "loky", return_as="generator_unordered", batch_size=1, max_nbytes=None)
    stop_at, stopped = os.environ.get(STOP_AT, "inf"), None
    try:
        for result in pool(delayed(_in_worker)(function, task, stop_at) for task in tasks):
            if isinstance(result, OutOfTime):  # all others are waited for, because they save their state too
                stopped = result
            else:
                yield result
    except BrokenProcessPool as error:
        raise WorkerError(_cause_of_death(str(error))) from error
    if stopped is not None:
        raise stopped


def _in_worker(function: Callable, task, stop_at: str):
    _prepare_worker()
    os.environ[STOP_AT] = stop_at
    try:
        require_time()
        return function(task)
    except OutOfTime as error:
        return error


@once
def _prepare_worker() -> None:
    """One thread; no word on Ctrl-C, which the parent hears too; and no life after a parent that was killed."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def leave_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


def _cause_of_death(message: str) -> str:
    """A sentence, from the exit codes of all workers; the pool itself ends by SIGTERM those that are left."""
    signals = sorted(set(re.findall(r"(SIG[A-Z]+)\(-", message)) - {"SIGTERM"})
    if signals == ["SIGKILL"]:
        return "a worker process was killed (SIGKILL), most often because memory ran out; take fewer workers"
    if signals:
        return f"a worker process died of {' and '.join(signals)}, a fault in a library and not of the data"
    return "a worker process ended before its work; guard a script's own code with: if __name__ == '__main__'"
