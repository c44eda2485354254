"""Runs: trained networks on disk, each in a folder named by what determines it, trained once and loaded ever after.

``<results>/runs/<experiment>-fold<k>-seed<s>-<hash8>/`` holds

    config.json             the specification, whose SHA-256 gives the folder its name
    environment.json        commit, package versions, device, threads
    history.csv             one row an epoch
    scores-<split>.parquet  the scores table of a split
    checkpoint.pt           the network (``fasnb.model.load_network``)
    result.json             metrics and times, and the SHA-256 of the other files; written last: where it is, the run is done

and, while it is not done, ``state.pt`` from which an interrupted training goes on. ``run.lock`` is locked by the
process that works on the run; the system unlocks it when that process ends, however it ends.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fasnb.data.store import Store
from fasnb.metrics.pad import auc, fpr_name, tpr_at_fpr
from fasnb.metrics.scores import read_scores, score_table, write_scores
from fasnb.model.network import ThreeBranchNetwork
from fasnb.model.weights import identities, load_network, save_network
from fasnb.tools.environment import device_name, environment, peak_memory
from fasnb.tools.files import is_locked, locked, replace_file, write_text
from fasnb.tools.seals import RESULT, read_result, whole, write_result
from fasnb.tools.workers import OutOfTime, choose_device, devices_for, execute, require_time
from fasnb.training.cost import multiply_adds
from fasnb.training.fit import STATE_FILE, fit
from fasnb.training.inference import score
from fasnb.training.plan import PlannedNetwork
from fasnb.training.progress import EPOCHS_FILE, Display, Job, Watch, display_of, duration, recorder
from fasnb.training.specification import Specification

CHECKPOINT = "checkpoint.pt"


class RunError(RuntimeError):
    """A run failed; the message names the run and the reason. Finished runs stay."""


@dataclass(frozen=True)
class Run:
    """A finished run. ``result`` is the content of result.json. What is read of a run is first compared with its SHA-256.

    Raises, wherever a file is read:
        Damaged: it is not what was written.
    """

    specification: Specification
    folder: Path
    result: dict = field(repr=False)

    def file(self, name: str) -> Path:
        """The path of one of its files, which is whole."""
        return whole(self.folder, name)

    def check(self) -> None:
        """Read every file; only checkpoint.pt may be missing."""
        for name in self.result["sha256"]:
            if name != CHECKPOINT or (self.folder / name).exists():
                self.file(name)

    def scores(self, split: str) -> pd.DataFrame:
        """The scores table of a split."""
        if split not in self.result["splits"]:
            scored = ", ".join(self.result["splits"])
            raise ValueError(f"{self.folder} has no scores of split {split!r}; it has {scored}")
        return read_scores(self.file(_scores_name(split)))

    def history(self) -> pd.DataFrame:
        """One row an epoch, see ``fasnb.training.fit``."""
        return pd.read_csv(self.file("history.csv"))

    def network(self) -> ThreeBranchNetwork:
        """The trained network on the CPU, ready to score. FileNotFoundError where only its scores were kept."""
        return load_network(self.file(CHECKPOINT))


def _scores_name(split: str) -> str:
    return f"scores-{split}.parquet"


# ---------------------------------------------------------------------------------------------------------------------
# One run
# ---------------------------------------------------------------------------------------------------------------------


def run_or_load(
    network: PlannedNetwork,
    *,
    device: str | None = None,
    compile: bool = False,
    checkpoint_seconds: float = 300.0,
    log: Callable[[str], object] | None = None,
) -> Run:
    """The finished run of a network: loaded where it is done, otherwise trained, from its last saved state if it has one.

    A finished run is only scored, by its checkpoint, on splits that it lacks or whose frames have changed. If another
    process works on the run this one waits, then loads what it made.

    Raises:
        ValueError: the folder holds another specification, or the data, the recipe or the backbone do not fit.
        FloatingPointError: see ``fasnb.training.fit.fit``.
    """
    title = network.specification.title
    if not finished(network):
        network.folder.mkdir(parents=True, exist_ok=True)
        waiting = None if log is None else partial(log, f"{title}: another process works on it, waiting")
        with locked(network.folder / "run.lock", waiting):
            if not finished(network):  # another process may have done it while this one waited
                _work(network, choose_device(device), compile, checkpoint_seconds)
    return load_run(network)


def finished(network: PlannedNetwork) -> Run | None:
    """The run of a network if it is done and scored on the network's splits, else None; nothing is trained."""
    run = load_run(network)
    return None if run is None or _unscored(run, network) else run


def load_run(network: PlannedNetwork) -> Run | None:
    """The run of a network, None if it is not done.

    Raises:
        Damaged: its result is not what was written.
        ValueError: its result is another specification's.
    """
    try:
        result = read_result(network.folder)
    except FileNotFoundError:
        return None
    if result.get("key") != network.specification.key:
        raise ValueError(f"{network.folder} holds the run of another specification; move it away")
    return Run(network.specification, network.folder, result)


def _unscored(run: Run, network: PlannedNetwork) -> list[str]:
    """Splits that are wanted and the run has no scores of, or has scores of other frames."""
    scored = {split: found["data"] for split, found in run.result["splits"].items()}
    return [split for split in network.splits if scored.get(split) != network.data[split]]


def _work(network: PlannedNetwork, device: torch.device, compile: bool, seconds: float) -> None:
    """Train if it is not trained; score what is not scored; write the result last."""
    run, folder = load_run(network), network.folder
    for stray in folder.glob(".*-????????.*"):  # half-written files of a killed process
        stray.unlink()
    if run is None:
        write_text(folder / "config.json", network.specification.to_json())
        write_text(folder / "environment.json", json.dumps(environment(device), indent=2) + "\n")
        model, result = _train(network, device, compile, seconds)
        save_network(model, folder / CHECKPOINT, key=network.specification.key)
        splits, written = network.splits, ["config.json", "environment.json", "history.csv", CHECKPOINT]
    else:
        model, result, splits, written = _checkpoint(run), run.result, _unscored(run, network), []
    for split in splits:
        result["splits"][split] = _score(network, model, split, device)
        written.append(_scores_name(split))
    write_result(folder, result, written)
    for name in (STATE_FILE, EPOCHS_FILE):
        (folder / name).unlink(missing_ok=True)


def _train(network: PlannedNetwork, device, compile: bool, seconds: float) -> tuple[ThreeBranchNetwork, dict]:
    store = Store.open(network.stores["train"])
    if network.backbone is not None and network.specification.initialisation not in identities(network.backbone):
        raise ValueError(
            f"{network.backbone} is not the backbone of the specification; it was replaced, run the study again"
        )
    model, history = fit(
        network.specification,
        store,
        network.train_index,
        backbone=network.backbone,
        valid=None if network.held_out is None else (store, network.held_out),
        fprs=network.fprs,
        folder=network.folder,
        device=device,
        compile=compile,
        checkpoint_seconds=seconds,
        progress=recorder(network.folder),
    )
    replace_file(network.folder / "history.csv", lambda temporary: history.to_csv(temporary, index=False))
    training = {
        "frames": len(network.train_index),
        "epochs": len(history),
        "loss": float(history["loss"].iloc[-1]),
        "seconds": float(history["seconds"].sum()),
        "frames_per_second": float(history["frames_per_second"].median()),
        "memory": peak_memory(),  # of this process, which may have trained others before
    }
    return model, {"key": network.specification.key, "device": device_name(device), "training": training, "splits": {}}


def _checkpoint(run: Run) -> ThreeBranchNetwork:
    try:
        return run.network()
    except FileNotFoundError:
        raise ValueError(
            f"{run.folder} lacks scores and has no checkpoint.pt to make them; remove the folder to train it again"
        ) from None


def _score(network: PlannedNetwork, model: ThreeBranchNetwork, split: str, device) -> dict:
    """Score one split; what result.json says of it."""
    require_time()
    started, specification = time.perf_counter(), network.specification
    store = Store.open(network.stores[split])
    rows = np.flatnonzero(store.frames["split"] == split)
    if not len(rows):
        raise ValueError(f"{store.folder} has no frames of split {split!r}; check the profile's data")
    # fp32 whatever the network was trained in: bfloat16 moves scores by more than the differences that matter here
    scores = score(model, store, rows, specification.recipe, device=device)
    named = (specification.experiment, specification.fold, specification.seed)
    table = score_table(store.frames.iloc[rows], scores, *named)
    write_scores(table, network.folder / _scores_name(split))
    found = {"data": store.fingerprint, "frames": len(rows), "seconds": time.perf_counter() - started}
    return found | _measured(table, network.fprs)


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
    networks: Sequence[PlannedNetwork],
    *,
    workers: int = 0,
    threads: int = 0,
    device: str | None = None,
    executor: str = "local",
    progress: bool | Callable[[str], object] | Display = True,
    **options,
) -> list[Run]:
    """The finished runs of all networks, in their order; what is not done is trained.

    On a CPU ``workers`` processes (0: one a core, best for small networks) train one network each, with ``threads``
    threads (0: an equal share of the cores). On CUDA each GPU has one process, a single GPU works in this one.
    ``executor="ray"`` hands the networks to a Ray cluster, a GPU each; results and stores must lie in folders that all its
    machines share. A script that calls this needs the guard ``if __name__ == "__main__"``: processes are spawned.

    Args:
        progress: one bar and a line per network, a function that takes the lines, or a ``Display``.
        options: ``compile`` and ``checkpoint_seconds`` of ``run_or_load``.

    Raises:
        RunError: a run failed; those at work are stopped and go on from their last state when called again.
        WorkerError: a worker process was killed or could not start, or Ray is not installed.
    """
    pending = [network for network in networks if not finished(network)]
    work = partial(_named_run, options=options)
    display = display_of(progress)
    report = _Lines(networks, len(networks) - len(pending), display.line)
    with Watch([job_of(network) for network in pending], display):
        for run in execute(work, pending, devices_for(device, workers, executor), threads, executor):
            report(run)
    return [load_run(network) for network in networks]


def _named_run(network: PlannedNetwork, device: str, *, options: dict) -> Run:
    title = network.specification.title
    try:
        return run_or_load(network, device=device, **options)
    except OutOfTime:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise RunError(reason if reason.startswith(title) else f"{title}: {reason}") from error


class _Lines:
    """A line for each network that is done."""

    def __init__(self, networks: Sequence[PlannedNetwork], done: int, say: Callable[[str], object]):
        self.total, self.done, self.say = len(networks), done, say
        self.fprs = {network.specification.key: network.headline_fpr for network in networks}
        if done:
            say(f"{done} of {self.total} networks are done already")

    def __call__(self, run: Run) -> None:
        self.done += 1
        seconds = run.result["training"]["seconds"] + sum(s["seconds"] for s in run.result["splits"].values())
        measured = _headline(run.result, self.fprs[run.specification.key])
        self.say(f"[{self.done}/{self.total}] {run.specification.title}{measured} ({duration(seconds)})")


def job_of(network: PlannedNetwork) -> Job:
    """The network as a job that a display waits for; its work is counted in multiply-adds."""
    recipe, title = network.specification.recipe, network.specification.title
    epochs = recipe.epochs + recipe.second_epochs
    # a step costs about three forward passes; what is scored afterwards is about as much as one epoch more
    work = 3.0 * multiply_adds(network) * len(network.train_index) * (epochs + 1)
    return Job(title, network.folder, RESULT, epochs, work, lambda: _told(network))


def _told(network: PlannedNetwork) -> str:
    return f"{network.specification.title}{_headline(load_run(network).result, network.headline_fpr)}"


def _headline(result: dict, fpr: float | None) -> str:
    """': TPR@1e-2 93.1%', at this or the finest FPR of the split that was scored first."""
    name, value = _measured_at(result, fpr)
    return "" if name is None else f": {name} {100 * value:.1f}%"


def _measured_at(result: dict, fpr: float | None) -> tuple[str | None, float]:
    rates = next((split["tpr_at_fpr"] for split in result["splits"].values() if split.get("tpr_at_fpr")), None)
    if not rates:
        return None, math.nan
    key = f"{fpr:g}" if fpr is not None and f"{fpr:g}" in rates else min(rates, key=float)
    return f"TPR@{fpr_name(float(key))}", rates[key]


# ---------------------------------------------------------------------------------------------------------------------
# Looking at runs
# ---------------------------------------------------------------------------------------------------------------------


def state_of(network: PlannedNetwork) -> str:
    """done, running, partial, damaged, or missing; every byte of a run that is done is read."""
    try:
        run = load_run(network)
        if run is not None:
            run.check()
            return "done"
    except (ValueError, FileNotFoundError):
        return "damaged"
    if not network.folder.is_dir():
        return "missing"
    return "running" if is_locked(network.folder / "run.lock") else "partial"


def facts_of(run: Run) -> dict:
    """One flat row of a run: what it is, how it was trained, where, and its metrics on each split."""
    it, result = run.specification, run.result
    made = json.loads(run.file("environment.json").read_text(encoding="utf-8"))
    row = {"experiment": it.experiment, "fold": it.fold, "seed": it.seed, "run": run.folder.name, "key": it.key}
    row |= {"device": result["device"], "threads": made.get("threads"), "commit": made.get("commit")}
    row |= {"torch": made.get("packages", {}).get("torch"), "precision": it.precision} | result["training"]
    for split, found in result["splits"].items():
        rates = {f"{split} TPR@{fpr_name(float(fpr))}": rate for fpr, rate in found.get("tpr_at_fpr", {}).items()}
        row |= {f"{split} {name}": found.get(name) for name in ("frames", "data", "seconds", "auc")} | rates
    return row | {"specification": json.dumps(it.as_dict(), sort_keys=True)}
