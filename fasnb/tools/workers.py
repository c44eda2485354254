"""Where runs execute: this process, one spawned process per GPU or per share of the CPU, or a Ray cluster."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fasnb.tools.files import temporary_folder

STOP_AT = "FASNB_STOP_AT"
"""Environment variable, which processes inherit: when work should end, in seconds of time.time."""

KEEP_MEMORY = "glibc.malloc.hugetlb=1:glibc.malloc.trim_threshold=4000000000:glibc.malloc.mmap_threshold=33554432"
"""GLIBC_TUNABLES of worker processes: memory that a tensor gave back is kept for the next, in huge pages. Otherwise the
system takes it and clears it anew for every batch, which costs small networks a tenth of the time and more."""

ATTEMPTS = 4  # of a task on a Ray cluster whose process or machine dies; one that fails is told at once
LOST = 60.0  # seconds without a result after which it is asked whether the cluster still has a machine


class WorkerError(RuntimeError):
    """Work could not be done elsewhere; the message says why and what to do."""


class OutOfTime(RuntimeError):
    """The time of ``time_limit`` is nearly up. What is done is saved, and the same call goes on from there."""


@contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """Inside, work here and in processes started from here ends by ``OutOfTime`` before so many minutes are over.

    Trainings and tasks look at the time themselves and save their state, a minute (or a tenth of the time) before the
    end; what still works half of that later is broken off. None sets no limit.
    """
    if minutes is None:
        yield
        return
    if not 0 < minutes < 1e6:
        raise ValueError(f"{minutes:g} minutes are no time limit; give a number above 0")
    seconds = 60 * minutes
    margin = min(60.0, seconds / 10)
    os.environ[STOP_AT] = str(time.time() + seconds - margin)
    alarm = hasattr(signal, "SIGALRM")  # not on Windows
    if alarm:
        before = signal.signal(signal.SIGALRM, _break_off)
        signal.setitimer(signal.ITIMER_REAL, seconds - margin / 2)
    try:
        yield
    finally:
        if alarm:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        del os.environ[STOP_AT]


def _break_off(*_) -> None:
    raise OutOfTime("the time is up; what was finished is kept, run the same command to go on")


def time_is_up() -> bool:
    """Whether work should end now."""
    return time.time() > float(os.environ.get(STOP_AT, "inf"))


def require_time() -> None:
    """Raise OutOfTime where work should end now."""
    if time_is_up():
        _break_off()


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


def devices_for(device: str | None, processes: int, executor: str = "local") -> list[str]:
    """One entry for each process: ``processes`` times the CPU (0: once a core), or every GPU, or the GPU named.

    For a Ray cluster the kind of device alone, because the machine that asks may have another.
    """
    if executor == "ray":
        return [device or "auto"]
    chosen = choose_device(device)
    if chosen.type == "cpu":
        return ["cpu"] * (processes or cores())
    return [str(chosen)] if chosen.index is not None else [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def execute(work: Callable, tasks: Iterable, devices: list[str], threads: int = 0, executor: str = "local") -> Iterator:
    """``work(task, device)`` of every task, as they finish; ``work`` (sent once) and ``tasks`` are picklable.

    Args:
        devices: one entry for each process; a single one, and a single task, are worked on in this process.
        threads: of PyTorch for each entry (0: an equal share of the cores). It is the same however few tasks there are,
            because the number of threads changes how sums are rounded.
        executor: "local", or "ray" for a Ray cluster, which gives every task one GPU where it has any.

    Raises:
        What ``work`` raises, at once: all other work is stopped. WorkerError where a process dies. OutOfTime, once all
        that is at work has come to an end, see ``time_limit``.
    """
    tasks, threads = list(tasks), threads or (1 if executor == "ray" else max(1, cores() // len(devices)))
    if executor == "ray":
        return _with_ray(work, tasks, devices[0], threads)
    if executor != "local":
        raise ValueError(f"executor {executor!r} is unknown; choose local or ray")
    if min(len(devices), len(tasks)) > 1:
        return _in_processes(work, tasks, devices[: len(tasks)], threads)
    return _here(work, tasks, devices[0], threads)


def _here(work: Callable, tasks: list, device: str, threads: int) -> Iterator:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for task in tasks:
            require_time()
            yield work(task, device)
    finally:
        torch.set_num_threads(before)


def parallel_map(function: Callable, tasks: Iterable, workers: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Pairs (task, ``function(task)``) as they finish, on the CPU; ``workers`` processes, by default one a core."""
    yield from execute(partial(_paired, function), tasks, devices_for("cpu", workers or 0), threads=1)


def _paired(function: Callable, task, device: str) -> tuple[Any, Any]:
    return task, function(task)


_device: str  # of this worker process, and what it does with a task
_work: Callable


def _start(devices, threads: int, work: str) -> None:
    global _device, _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, says one line, and ends this process
    _device, _work = devices.get(), pickle.loads(Path(work).read_bytes())
    torch.set_num_threads(threads)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever, or write into what a later process makes."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _call(task):
    require_time()
    return _work(task, _device)


def _in_processes(work: Callable, tasks: list, devices: list[str], threads: int) -> Iterator:
    context = multiprocessing.get_context("spawn")  # never fork: torch and CUDA may have threads
    queue, others = context.SimpleQueue(), set(multiprocessing.active_children())
    for device in devices:
        queue.put(device)
    with temporary_folder() as folder:
        # through a file: what is larger than a pipe would block for ever where a new process dies before it reads
        file = folder / "work.pickle"
        file.write_bytes(pickle.dumps(work))
        os.environ.setdefault("GLIBC_TUNABLES", KEEP_MEMORY)  # read by a process when it starts; elsewhere not at all
        pool = ProcessPoolExecutor(len(devices), context, initializer=_start, initargs=(queue, threads, str(file)))
        try:
            futures = as_completed([pool.submit(_call, task) for task in tasks])
            workers = set(pool._processes.values())  # the pool forgets them when one dies
            yield from _results(future.result for future in futures)
        except BrokenProcessPool as error:
            raise WorkerError(_cause_of_death(set(multiprocessing.active_children()) - others | workers)) from error
        finally:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # idle, unless other work failed
            pool.shutdown(cancel_futures=True)


def _cause_of_death(workers: Iterable[multiprocessing.Process]) -> str:
    """A sentence; the pool itself ends by SIGTERM the workers that are left."""
    for worker in workers:
        worker.join(10)  # one that writes a core dump takes a moment to be dead
    codes = {worker.exitcode for worker in workers} - {0, None, -signal.SIGTERM}
    signals = sorted(signal.Signals(-code).name for code in codes if code < 0)
    if "SIGKILL" in signals:
        return "a worker process was killed (SIGKILL), most often because memory ran out; take fewer workers or free memory"
    if signals:
        return f"a worker process died of {signals[0]}, a fault in a library and not of the data; please report it"
    return "a worker process could not start; guard the script's own code with: if __name__ == '__main__'"


def _results(calls: Iterable[Callable]) -> Iterator:
    """What each call returns; if any is out of time all others are waited for first, because they are too."""
    stopped = None
    for call in calls:
        try:
            result = call()
        except OutOfTime as error:
            stopped = error
        else:
            yield result
    if stopped is not None:
        raise stopped


def _on_ray(task, work: Callable, device: str, threads: int, stop_at: str):
    os.environ[STOP_AT] = stop_at
    torch.set_num_threads(threads)
    require_time()
    return work(task, device)


def _with_ray(work: Callable, tasks: list, device: str, threads: int) -> Iterator:
    """On the cluster of RAY_ADDRESS, or one started on this machine. All its machines share the files of the tasks."""
    os.environ.setdefault("RAY_task_oom_retries", str(ATTEMPTS - 1))  # without it Ray tries for ever; read at import
    try:
        import ray
    except ImportError:
        raise WorkerError("executor 'ray' needs the package ray; install it: pip install 'fasnb[ray]'") from None
    ray.init(ignore_reinit_error=True, log_to_driver=False)
    gpus = 1 if device != "cpu" and ray.cluster_resources().get("GPU") else 0
    if torch.device(device if device != "auto" else "cpu").type == "cuda" and not gpus:
        raise WorkerError(f"device {device!r} is on no machine of the Ray cluster; choose cpu or auto")
    place = {"device": "cuda" if gpus else "cpu", "threads": threads, "stop_at": os.environ.get(STOP_AT, "inf")}
    on_device = partial(_on_ray, work=work, **place)
    remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=ATTEMPTS - 1)(lambda task: on_device(task))
    waiting = {remote.remote(task): task for task in tasks}

    def fetch(done, task):
        try:
            return ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"{task}: its process on the Ray cluster was killed {ATTEMPTS} times or lost its memory "
                f"({str(error).splitlines()[0]}); give it more memory, or look at Ray's logs"
            ) from error

    def calls() -> Iterator[Callable]:
        while waiting:
            done, _ = ray.wait(list(waiting), timeout=LOST)
            if done:
                yield partial(fetch, done[0], waiting.pop(done[0]))
            elif ray.cluster_resources().get("GPU" if gpus else "CPU", 0) < (gpus or threads):
                raise WorkerError(
                    "all machines of the Ray cluster that could go on are gone; what was finished is kept, start some and "
                    "run the same command to go on"
                )

    try:
        yield from _results(calls())
    finally:
        for task in waiting:
            ray.cancel(task, force=True)
