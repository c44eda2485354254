"""Runs: trained networks on disk, each in a folder named by what determines it, trained once and loaded ever after.

``<results>/runs/<experiment>-fold<k>-seed<s>-<hash8>/`` holds

    config.json             the specification, whose SHA-256 gives the folder its name
    environment.json        commit, package versions, device, threads
    history.csv             one row an epoch
    scores-<split>.parquet  the scores table of a split
    checkpoint.pt           the network (``fasnb.weights.load_network``)
    result.json             metrics and times; written last: where it is, the run is done

and, while it is not done, ``state.pt`` from which an interrupted training goes on. ``run.lock`` is locked by the
process that works on the run; the system unlocks it when that process ends, however it ends.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from fasnb.data.store import Store
from fasnb.metrics.pad import auc, tpr_at_fpr
from fasnb.metrics.scores import IncompleteError, read_scores, score_table, write_scores
from fasnb.model.network import ThreeBranchNetwork
from fasnb.model.weights import identities, load_network, save_network
from fasnb.tools.environment import device_name, environment
from fasnb.tools.files import replace_file, write_text
from fasnb.tools.workers import choose_device, devices_for, execute
from fasnb.training.fit import STATE_FILE, fit
from fasnb.training.inference import score
from fasnb.training.specification import Specification


class RunError(RuntimeError):
    """A run failed; the message names the run and the reason. Finished runs stay."""


@dataclass(frozen=True, eq=False)
class Task:
    """One network to train and score: its specification, and where its data are. Picklable and small."""

    specification: Specification
    stores: Mapping[str, str]  # split -> folder of the store with its frames; "train" must be among them
    train_index: np.ndarray = field(repr=False)  # rows of the training store
    held_out: np.ndarray | None = field(default=None, repr=False)  # rows of it watched after every epoch
    splits: tuple[str, ...] = ("valid",)  # scored once trained
    backbone: str | None = None  # file whose weights are ``specification.initialisation``
    fprs: tuple[float, ...] = (1e-2,)

    def __post_init__(self):
        missing = sorted({"train", *self.splits} - set(self.stores))
        if missing:
            raise ValueError(f"{self.specification.title}: no store is given for split {missing[0]!r}")


@dataclass(frozen=True)
class Run:
    """A finished run. ``result`` is the content of result.json."""

    specification: Specification
    folder: Path
    result: dict = field(repr=False)

    @property
    def has_weights(self) -> bool:
        """Whether the checkpoint was kept, not the scores alone."""
        return (self.folder / "checkpoint.pt").is_file()

    def scores(self, split: str) -> pd.DataFrame:
        """The scores table of a split."""
        if split not in self.result["splits"]:
            scored = ", ".join(self.result["splits"])
            raise ValueError(f"{self.folder} has no scores of split {split!r}; it has {scored}")
        return read_scores(_scores_path(self.folder, split))

    def history(self) -> pd.DataFrame:
        """One row an epoch, see ``fasnb.training.fit``."""
        return pd.read_csv(self.folder / "history.csv")

    def network(self) -> ThreeBranchNetwork:
        """The trained network on the CPU, ready to score. FileNotFoundError where only its scores were kept."""
        return load_network(self.folder / "checkpoint.pt")


def run_folder(results: str | Path, specification: Specification) -> Path:
    return Path(results) / "runs" / specification.name


def _scores_path(folder: Path, split: str) -> Path:
    return folder / f"scores-{split}.parquet"


# ---------------------------------------------------------------------------------------------------------------------
# One run
# ---------------------------------------------------------------------------------------------------------------------


def run_or_load(
    task: Task | Specification,
    results: str | Path,
    *,
    device: str | None = None,
    compile: bool = False,
    checkpoint_seconds: float = 300.0,
    weights: bool = False,
    log: Callable[[str], object] | None = None,
) -> Run:
    """The finished run of a task: loaded where it is done, otherwise trained, from its last saved state if it has one.

    With ``weights`` a run of which only the scores were kept, as in a fresh clone, is trained again; its scores stay
    until the new ones replace them. A finished run is only scored, by its checkpoint, on splits that it lacks or whose
    frames have changed. If another process works on the run this one waits, then loads what it made. A specification alone
    says what a network is but not where its frames are: with it a finished run is loaded as it is.

    Raises:
        IncompleteError: a specification was given and its run is not done.
        ValueError: the folder holds another specification, or the data, the recipe or the backbone do not fit.
        FloatingPointError: see ``fasnb.training.fit``.
    """
    if isinstance(task, Specification):
        run = _load(run_folder(results, task), task)
        if run is None:
            raise IncompleteError(f"{task.title} is not done in {results}; to train it give a Task, which has its data")
        return run
    folder = run_folder(results, task.specification)
    if not finished(task, results, weights):
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, task.specification, log):
            if not finished(task, results, weights):  # another process may have done it while this one waited
                _work(task, folder, weights, choose_device(device), compile, checkpoint_seconds)
    return _load(folder, task.specification)


def finished(task: Task, results: str | Path, weights: bool = False) -> Run | None:
    """The run of a task if it is done and scored on the task's splits, else None; nothing is trained.

    With ``weights`` a run without its checkpoint does not count.
    """
    run = _load(run_folder(results, task.specification), task.specification)
    if run is None or (weights and not run.has_weights) or _unscored(run, task):
        return None
    return run


def _load(folder: Path, specification: Specification) -> Run | None:
    """The finished run in ``folder``; None if it is not done."""
    result = _read_json(folder / "result.json")
    if result is None:
        return None
    if result.get("key") != specification.key:
        raise ValueError(f"{folder} holds the run of another specification; move it away")
    return Run(specification, folder, result)


def _read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove the folder to train the run again") from None


def _unscored(run: Run, task: Task) -> list[str]:
    """Splits that the task wants and the run has no scores of, or has scores of other frames than the store's."""
    wanted = {}
    for split in task.splits:
        try:
            wanted[split] = Store.open(task.stores[split]).fingerprint
        except FileNotFoundError:  # scores without the data, as in committed results, are taken as they are
            wanted[split] = run.result["splits"].get(split, {}).get("data")
    found = {split: run.result["splits"].get(split, {}).get("data") for split in task.splits}
    return [split for split in task.splits if found[split] is None or found[split] != wanted[split]]


@contextmanager
def _locked(folder: Path, specification: Specification, log):
    lock = FileLock(folder / "run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if log is not None:
            log(f"{specification.title}: another process works on it, waiting")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _work(task: Task, folder: Path, weights: bool, device: torch.device, compile: bool, seconds: float) -> None:
    """Train if it is not trained, or if its weights are wanted and gone; score the rest; write the result last."""
    run = _load(folder, task.specification)
    for stray in folder.glob(".*-????????.*"):  # half-written files of a killed process
        stray.unlink()
    if run is None or (weights and not run.has_weights):
        write_text(folder / "config.json", task.specification.to_json())
        write_text(folder / "environment.json", json.dumps(environment(device), indent=2) + "\n")
        network, result = _train(task, folder, device, compile, seconds)
        splits, trained = task.splits, True
    else:
        network, result, splits, trained = _checkpoint(run), run.result, _unscored(run, task), False
    for split in splits:
        result["splits"][split] = _score(task, folder, network, split, device)
    if trained:  # an earlier result goes before the weights change, so that a kill never leaves the two mixed
        (folder / "result.json").unlink(missing_ok=True)
        save_network(network, folder / "checkpoint.pt")
    write_text(folder / "result.json", json.dumps(result, indent=2) + "\n")
    (folder / STATE_FILE).unlink(missing_ok=True)


def _train(task: Task, folder: Path, device, compile: bool, seconds: float) -> tuple[ThreeBranchNetwork, dict]:
    store = Store.open(task.stores["train"])
    if task.backbone is not None and task.specification.initialisation not in identities(task.backbone):
        raise ValueError(
            f"{task.backbone} is not the backbone of the specification; it was replaced, run the study again"
        )
    network, history = fit(
        task.specification,
        store,
        task.train_index,
        backbone=task.backbone,
        valid=None if task.held_out is None else (store, task.held_out),
        fprs=task.fprs,
        folder=folder,
        device=device,
        compile=compile,
        checkpoint_seconds=seconds,
    )
    replace_file(folder / "history.csv", lambda temporary: history.to_csv(temporary, index=False))
    training = {
        "frames": len(task.train_index),
        "epochs": len(history),
        "loss": float(history["loss"].iloc[-1]),
        "seconds": float(history["seconds"].sum()),
        "frames_per_second": float(history["frames_per_second"].median()),
    }
    return network, {"key": task.specification.key, "device": device_name(device), "training": training, "splits": {}}


def _checkpoint(run: Run) -> ThreeBranchNetwork:
    try:
        return run.network()
    except FileNotFoundError:
        raise ValueError(
            f"{run.folder} lacks scores and has no checkpoint.pt to make them; remove the folder to train it again"
        ) from None


def _score(task: Task, folder: Path, network: ThreeBranchNetwork, split: str, device) -> dict:
    """Score one split; what result.json says of it."""
    started, specification = time.perf_counter(), task.specification
    store = Store.open(task.stores[split])
    rows = np.flatnonzero(store.frames["split"] == split)
    if not len(rows):
        raise ValueError(f"{store.folder} has no frames of split {split!r}; check the profile's data")
    # fp32 whatever the network was trained in: bfloat16 moves scores by more than the differences that matter here
    scores = score(network, store, rows, specification.recipe, device=device)
    named = (specification.experiment, specification.fold, specification.seed)
    table = score_table(store.frames.iloc[rows], scores, *named)
    write_scores(table, _scores_path(folder, split))
    found = {"data": store.fingerprint, "frames": len(rows), "seconds": time.perf_counter() - started}
    return found | _measured(table, task.fprs)


def _measured(table: pd.DataFrame, fprs: Sequence[float]) -> dict:
    """Metrics of a scores table; none where labels are missing or of one class."""
    labels = table["label"]
    if labels.isna().any() or labels.nunique() < 2:
        return {}
    rates = {f"{fpr:g}": tpr_at_fpr(labels, table["score"], fpr) for fpr in fprs}
    return {"auc": auc(labels, table["score"]), "tpr_at_fpr": rates}


# ---------------------------------------------------------------------------------------------------------------------
# Several runs
# ---------------------------------------------------------------------------------------------------------------------


def run_many(
    tasks: Sequence[Task],
    results: str | Path,
    *,
    workers: int = 0,
    threads: int = 0,
    device: str | None = None,
    executor: str = "local",
    progress: bool | Callable[[str], object] = True,
    **options,
) -> list[Run]:
    """The finished runs of all tasks, in their order; what is not done is trained.

    On a CPU ``workers`` processes (0: one a core, best for small networks) train one network each, with ``threads``
    threads (0: an equal share of the cores). On CUDA each GPU has one process, a single GPU works in this one.
    ``executor="ray"`` hands the tasks to a Ray cluster, a GPU each; results and stores must lie in folders that all its
    machines share. A script that calls this needs the guard ``if __name__ == "__main__"``: processes are spawned.

    Args:
        progress: one bar and a line per network, or a function that takes the lines.
        options: ``compile``, ``checkpoint_seconds`` and ``weights`` of ``run_or_load``.

    Raises:
        RunError: a run failed; those at work are stopped and go on from their last state when called again.
        WorkerError: a worker process was killed or could not start, or Ray is not installed.
    """
    pending = [task for task in tasks if not finished(task, results, options.get("weights", False))]
    work = partial(_named_run, results=results, options=options)
    with _Progress(len(tasks), len(tasks) - len(pending), progress) as report:
        for run in execute(work, pending, devices_for(device, workers, executor), threads, executor):
            report(run)
    return [_load(run_folder(results, task.specification), task.specification) for task in tasks]


def _named_run(task: Task, device: str, *, results, options: dict) -> Run:
    title = task.specification.title
    try:
        return run_or_load(task, results, device=device, **options)
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise RunError(reason if reason.startswith(title) else f"{title}: {reason}") from error


class _Progress:
    """One bar for the study and a line for each network, with an estimate of the time left."""

    def __init__(self, total: int, done: int, progress: bool | Callable[[str], object]):
        self.total, self.done, self.loaded = total, done, done
        self.started = time.monotonic()
        self.bar = tqdm(total=total, initial=done, unit="network", disable=progress is not True)
        self.write = progress if callable(progress) else (self.bar.write if progress else lambda line: None)

    def __enter__(self):
        if self.done:
            self.write(f"{self.done} of {self.total} networks are done already")
        return self

    def __exit__(self, *error):
        self.bar.close()

    def __call__(self, run: Run) -> None:
        self.done += 1
        self.bar.update()
        left = (time.monotonic() - self.started) / (self.done - self.loaded) * (self.total - self.done)
        after = f", about {_duration(left)} left" if left else ""
        seconds = run.result["training"]["seconds"] + sum(s["seconds"] for s in run.result["splits"].values())
        what = f"[{self.done}/{self.total}] {run.specification.title}{_headline(run.result)}"
        self.write(f"{what} ({_duration(seconds)}){after}")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _headline(result: dict) -> str:
    """': TPR@1e-2 93.1%', at the finest FPR of the split that was scored first."""
    name, value = _finest(result)
    return "" if name is None else f": {name} {100 * value:.1f}%"


def _finest(result: dict) -> tuple[str | None, float]:
    rates = next((split["tpr_at_fpr"] for split in result["splits"].values() if split.get("tpr_at_fpr")), None)
    if not rates:
        return None, math.nan
    fpr = min(rates, key=float)
    return f"TPR@{float(fpr):.0e}".replace("e-0", "e-"), rates[fpr]


# ---------------------------------------------------------------------------------------------------------------------
# Looking at runs
# ---------------------------------------------------------------------------------------------------------------------


def load_runs(results: str | Path, specifications: Iterable[Specification], split: str) -> pd.DataFrame:
    """The scores of all runs on a split, one table.

    Raises:
        IncompleteError: runs are not done or not scored on the split, all of them listed; or not on the same frames; or
            none is asked for.
    """
    found, missing = [], []
    for specification in specifications:
        run = _load(run_folder(results, specification), specification)
        scored = run is not None and split in run.result["splits"]
        (found if scored else missing).append(run if scored else specification)
    if missing:
        names = "; ".join(specification.title for specification in missing)
        total = len(found) + len(missing)
        raise IncompleteError(f"{len(missing)} of {total} networks have no scores on {split} in {results}: {names}")
    if not found:
        raise IncompleteError(f"no network is asked for in {results}; name at least one experiment")
    if len({run.result["splits"][split]["data"] for run in found}) > 1:
        raise IncompleteError(f"the runs in {results} were scored on different data of split {split}; run them again")
    return pd.concat([run.scores(split) for run in found], ignore_index=True)


def list_runs(results: str | Path) -> pd.DataFrame:
    """Every run in a results folder, one row each.

    Columns: state (done, running, partial, damaged), experiment, fold, seed, metric (such as TPR@1e-2) and value (of the split
    scored first, in [0, 1]), seconds (of training), device, folder.
    """
    rows = []
    for path in sorted(Path(results).glob("runs/*/config.json")):
        try:
            config, result = _read_json(path), _read_json(path.parent / "result.json")
        except ValueError:
            rows.append({"state": "damaged", "folder": path.parent.name})
            continue
        state = "done" if result else "running" if _is_locked(path.parent) else "partial"
        metric, value = _finest(result) if result else (None, math.nan)
        seconds = result["training"]["seconds"] if result else math.nan
        named = {name: config[name] for name in ("experiment", "fold", "seed")}
        device = result["device"] if result else None
        found = {"metric": metric, "value": value, "seconds": seconds, "device": device, "folder": path.parent.name}
        rows.append({"state": state} | named | found)
    columns = ("state", "experiment", "fold", "seed", "metric", "value", "seconds", "device", "folder")
    return pd.DataFrame(rows, columns=columns)


def _is_locked(folder: Path) -> bool:
    if not (folder / "run.lock").exists():
        return False
    try:
        with FileLock(folder / "run.lock", timeout=0):
            return False
    except Timeout:
        return True
