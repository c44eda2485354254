"""One display for all that a study trains: how much is done, where the trainings at work stand, and the time left.

Every training appends a line an epoch to ``epochs.jsonl`` in its folder, so that the display sees what other processes and
machines do; the file goes when the training is done. A thread of the process that waits reads these files.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

EPOCHS_FILE = "epochs.jsonl"
SECONDS = 0.5  # between two looks


@dataclass(frozen=True)
class Job:
    """One training that is waited for.

    last: the file of ``folder`` that is written when it is done. work: what all its epochs cost, in any unit that is the
    same for all jobs. told: what to say of it when it is done, such as its TPR.
    """

    title: str
    folder: Path
    last: str
    epochs: int
    work: float
    told: Callable[[], str] = field(default=lambda: "", repr=False)

    @property
    def done(self) -> bool:
        return (self.folder / self.last).is_file()


@dataclass(frozen=True)
class State:
    """What is known at one moment. histories: title -> rows of the epochs so far, of every job that has begun."""

    done: int
    total: int
    histories: dict[str, list[dict]]
    working: tuple[tuple[Job, dict], ...]  # jobs at work and the row of their last epoch
    latest: str  # what is told of the job that was done last
    left: float | None  # seconds

    def __str__(self) -> str:
        parts = [f"{self.done} of {self.total} trainings done"]
        if self.working:
            epochs = ", ".join(f"{row['epoch']} of {job.epochs}" for job, row in self.working)
            losses = ", ".join(f"{row['loss']:.3f}" for _, row in self.working)
            parts.append(f"at work: epoch {epochs}, loss {losses}")
        if self.latest:
            parts.append(f"last: {self.latest}")
        if self.left is not None:
            parts.append(f"about {duration(self.left)} left")
        return "; ".join(parts)


class Display:
    """Where progress is shown; this one shows nothing. ``line`` takes messages, ``show`` a ``State`` from another thread,
    ``close`` the last one.
    """

    def line(self, text: str) -> None: ...

    def show(self, state: State) -> None: ...

    def close(self, state: State) -> None: ...


class Lines(Display):
    """Messages alone, to a function."""

    def __init__(self, say: Callable[[str], object]):
        self.say = say

    def line(self, text: str) -> None:
        self.say(text)


class Bar(Display):
    """Messages, and a bar below them, on a terminal; in a log file a line a minute."""

    def __init__(self):
        self.bar = tqdm(total=1, bar_format="{bar:20} {desc}")
        self.every, self.drawn = (1.0 if sys.stderr.isatty() else 60.0), time.monotonic()

    def line(self, text: str) -> None:
        self.bar.write(text)

    def show(self, state: State) -> None:
        self.bar.total, self.bar.n = state.total, state.done
        self.bar.set_description_str(str(state), refresh=False)
        if time.monotonic() - self.drawn > self.every:
            self.drawn = time.monotonic()
            self.bar.refresh()

    def close(self, state: State) -> None:
        self.show(state)
        self.bar.close()  # draws it once more


def display_of(progress: bool | Callable[[str], object] | Display) -> Display:
    """A display: the one given, a bar for True, none for False, lines for a function."""
    if isinstance(progress, Display):
        return progress
    if callable(progress):
        return Lines(progress)
    return Bar() if progress else Display()


class Watch:
    """While it is open, ``display`` shows how far the jobs are; ``with Watch(jobs, display): ...``"""

    def __init__(self, jobs: Sequence[Job], display: Display):
        self.jobs, self.display = list(jobs), display
        self.histories: dict[str, list[dict]] = {}
        self.finished: set[Job] = {job for job in self.jobs if job.done}
        self.latest, self.started = "", time.monotonic()
        self.before = sum(self._behind(job) for job in self.jobs)
        self.closed, self.thread = threading.Event(), threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *error) -> None:
        self.closed.set()
        self.thread.join()
        self.display.close(self.state())

    def _run(self) -> None:
        while not self.closed.wait(SECONDS):
            self.display.show(self.state())

    def _behind(self, job: Job) -> float:
        """Work of a job that is done."""
        if job in self.finished:
            return job.work
        rows = recorded(job.folder)
        if rows:
            self.histories[job.title] = rows
        return job.work * min(1.0, rows[-1]["epoch"] / job.epochs) if rows else 0.0

    def state(self) -> State:
        """A look at all jobs."""
        for job in self.jobs:
            if job not in self.finished and job.done:
                self.finished.add(job)
                self.histories[job.title] = _history(job)
                self.latest = job.told()
        behind, total = sum(self._behind(job) for job in self.jobs), sum(job.work for job in self.jobs)
        new, elapsed = behind - self.before, time.monotonic() - self.started
        left = elapsed * (total - behind) / new if new > 0 and behind < total else None
        open_jobs = (job for job in self.jobs if job not in self.finished)
        working = tuple((job, self.histories[job.title][-1]) for job in open_jobs if self.histories.get(job.title))
        return State(len(self.finished), len(self.jobs), dict(self.histories), working, self.latest, left)


def _history(job: Job) -> list[dict]:
    path = job.folder / "history.csv"
    return pd.read_csv(path).to_dict("records") if path.is_file() else []


def recorder(folder: Path) -> Callable[[dict], None]:
    """A ``progress`` for ``fit`` and ``pretrain`` that appends every epoch's row to ``epochs.jsonl`` in a folder."""

    def append(row: dict) -> None:
        with open(folder / EPOCHS_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=float) + "\n")

    return append


def recorded(folder: Path) -> list[dict]:
    """The rows of ``epochs.jsonl``, in order; of an epoch that was trained twice the later row."""
    try:
        lines = (folder / EPOCHS_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]  # the last may be half written
    return list({row["epoch"]: row for row in rows}.values())


def duration(seconds: float) -> str:
    """5.2 s, 48 s, 12 min, 1.8 h."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
