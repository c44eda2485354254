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
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "numpy", "pandas", "scipy", "scikit-learn")
STOP_AT = "FASNB_STOP_AT"  # environment variable: the end of a time limit, in seconds of time.time
# GLIBC_TUNABLES of workers: memory that a tensor gave back is kept, in huge pages, and not cleared anew for every batch
KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=4000000000:glibc.malloc.mmap_threshold=33554432"


class MissingData(FileNotFoundError):
    """The profile's source is not on this machine; the message says what to obtain and where to lay it."""


class OutOfTime(BaseException):
    """The time of ``time_limit`` is up. Like KeyboardInterrupt it is no Exception, which would be taken for a fault."""


def home() -> Path:
    """The repository: the nearest folder at or above the working directory with the notebooks, else the package's."""
    places = (Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2])
    return next((p for p in places if (p / "notebooks").is_dir() and (p / "fasnb" / "paper").is_dir()), places[0])


def cache() -> Path:
    """Folder of decoded frames, which can be deleted at any time: ``FASNB_CACHE``, else ``data/cache``."""
    return home() / (os.environ.get("FASNB_CACHE") or "data/cache")


def released_root(setting: str = "") -> Path:
    """The authors' repository: of the setting, else ``FASNB_RELEASED``, else ``data/released``; else MissingData."""
    where = "github.com/AlexanderParkin/ChaLearn_liveness_challenge"
    return _clone("released", setting, "data/lists/phase1_list.txt", "the authors' released scores", where)


def third_team_root(setting: str = "") -> Path:
    """The third team's repository: of the setting, else ``FASNB_THIRD_TEAM``, else ``data/third_team``; or MissingData."""
    where = "github.com/SoftwareGift/FeatherNets_Face-Anti-spoofing-Attack-Detection-Challenge-CVPR2019"
    return _clone("third_team", setting, "submission", "the third team's scores", f"{where} at commit 0b8462aa")


def _clone(name: str, setting: str, holds: str, what: str, where: str) -> Path:
    """A repository in whose clone a file or folder ``holds`` what is sought."""
    variable = f"FASNB_{name.upper()}"
    given = setting or os.environ.get(variable) or f"data/{name}"
    if not (home() / given / holds).exists():
        how = f"lay it at data/{name}, set {variable} to the clone, or pass --set {name}_root=PATH"
        raise MissingData(f"{what} are not at {given} ({holds}); clone {where} and {how}")
    return home() / given


def environment(device: str | torch.device) -> dict:
    """Where numbers were made: commit, package versions, device, threads. No paths and no names of machines."""
    packages = {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}
    told = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = next(iter(re.findall(r"model name\s*: (.*)", told)), platform.machine())
    if torch.device(device).type == "cuda":
        model = torch.cuda.get_device_name(device)
    return {"commit": commit_name(), "packages": packages, "device": model, "threads": torch.get_num_threads()}


@once
def commit_name() -> str:
    """The commit of the package's repository, and whether code or notebooks differ from it."""
    place = {"cwd": Path(__file__).parents[2], "text": True, "stderr": subprocess.DEVNULL}
    try:
        changed = subprocess.check_output("git status --porcelain -- fasnb synthsurf notebooks".split(), **place)
        commit = subprocess.check_output("git rev-parse HEAD".split(), **place).strip()
    except (OSError, subprocess.CalledProcessError):
        return "not in a repository"
    return commit + (" with uncommitted changes" if changed else "")


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
    able = getattr(torch.cpu, "get_capabilities", dict)()  # older versions of torch have it not
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def autocast(device: str | torch.device, enabled: bool = True) -> torch.autocast:
    """bfloat16 autocast where ``device`` multiplies bfloat16 in hardware, otherwise a context that does nothing."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=enabled and has_bfloat16(kind))


def arithmetic(precision: str):
    """In "fp32" cuDNN may not round its inputs to TF32; in both it chooses the fastest algorithm for a fixed size."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=precision != "fp32")


@contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """Inside, work here, and in notebooks begun here, ends by OutOfTime after so many minutes; None: never."""
    if minutes is not None:
        if not 0 < minutes < 1e6:
            raise ValueError(f"{minutes:g} minutes are no time limit; give a number above 0")
        os.environ[STOP_AT] = str(time.time() + 60 * minutes)
    keep_time()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.environ.pop(STOP_AT, None)


def keep_time() -> None:
    """From now on OutOfTime is raised in the main thread at the end of a time limit, as KeyboardInterrupt by Ctrl-C."""

    def stop(*_) -> None:
        raise OutOfTime("the time is up; what was finished is kept, run the same command to go on")

    if STOP_AT in os.environ:
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, max(float(os.environ[STOP_AT]) - time.time(), 1e-3))


def parallel(function: Callable, tasks: Iterable, workers: int = 0) -> Iterator:
    """``function(task)`` of every task, in the order in which they finish.

    ``workers`` are processes (0: one a core), with one thread of PyTorch each, as the number of threads changes how sums
    are rounded; one, or a single task, is this process. Raises at once what ``function`` raises, and RuntimeError where a
    process dies.
    """
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    tasks, threads = list(tasks), torch.get_num_threads()
    workers = min(workers or cores(), len(tasks))
    if workers < 2:
        torch.set_num_threads(1)
        try:
            yield from map(function, tasks)
        finally:
            torch.set_num_threads(threads)
        return
    os.environ.setdefault("GLIBC_TUNABLES", KEEP_MEMORY)  # read by a process when it starts
    # processes started now never hear Ctrl-C; it is for this one, which hears it once all of them are there
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append("Ctrl-C"))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1, initializer=_leave_with_parent):
            start = Parallel(return_as="generator_unordered", batch_size=1, max_nbytes=None)
            results = start(delayed(function)(task) for task in tasks)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
    try:
        yield from results
    except BrokenProcessPool as error:  # its message has the exit codes of all workers; the rest are ended by SIGTERM
        names = sorted(set(re.findall(r"(SIG[A-Z]+)\(-", str(error))) - {"SIGTERM"})
        why = "most often because memory ran out" if names == ["SIGKILL"] else "a fault in a library, not of the data"
        raise RuntimeError(f"a worker process died of {' and '.join(names) or 'an unknown cause'}, {why}") from error


def _leave_with_parent() -> None:
    """End this worker soon after a killed parent, which would leave it at work."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
