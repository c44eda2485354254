"""Make what a plan lacks: stores of decoded frames, pre-trained backbones, trained and scored networks."""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd

from fasnb.data import store
from fasnb.tools.files import locked, replace_file
from fasnb.tools.workers import devices_for, execute
from fasnb.training.archive import Published
from fasnb.training.fit import STATE_FILE
from fasnb.training.plan import Plan, PlannedBackbone, PlannedNetwork
from fasnb.training.pretraining import pretrain
from fasnb.training.runs import finished, run_many


def make(
    plan: Plan,
    networks: Sequence[PlannedNetwork],
    execution: dict,
    published: Published | None = None,
    other: Path | None = None,
    progress: bool | Callable[[str], object] = True,
) -> dict[str, float]:
    """Train what is not trained yet, after building the stores and backbones it needs.

    Args:
        execution: ``device``, ``workers``, ``executor`` and ``compile`` of the profile.
        published: networks whose scores are here need no training.
        other: another results folder; a network or backbone that is done there is copied instead of trained again.
        progress: a bar and lines, or a function that takes the lines.

    Returns:
        Seconds that each part took: frames, pre-training, networks; those alone that had to be made.
    """
    spent = {}
    pending = [n for n in networks if not finished(n) and not (published is not None and published.holds(n))]
    if other is not None:
        _adopt([n.folder for n in pending], other / "runs", "result.json")
        pending = [n for n in pending if not finished(n)]
    if not pending:
        return spent
    with _timed(spent, "frames"):
        for split in dict.fromkeys(split for network in pending for split in network.stores):
            store.build(plan.sources[split], _store(pending, split), progress=progress is True)
    wanted = {network.specification.experiment for network in pending}
    backbones = {b.folder: b for experiment, b in plan.backbones.items() if experiment in wanted}
    if other is not None:
        _adopt(list(backbones), other / "backbones", "backbone.pt")
    with _timed(spent, "pre-training"):
        make_backbones(backbones.values(), execution, progress)
    with _timed(spent, "networks"):
        run_many(pending, progress=progress, **execution)
    return spent


@contextmanager
def _timed(spent: dict[str, float], part: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    spent[part] = time.monotonic() - started


def _store(networks: Iterable[PlannedNetwork], split: str) -> Path:
    return next(network.stores[split] for network in networks if split in network.stores)


def _adopt(folders: Sequence[Path], other: Path, last: str) -> None:
    """Copy what is whole (has its ``last`` file) in another results folder and lacks here."""
    for folder in folders:
        if (other / folder.name / last).is_file() and not (folder / last).is_file():
            partial_copy = folder.with_name(f".{folder.name}.copy")
            shutil.rmtree(partial_copy, ignore_errors=True)
            shutil.copytree(other / folder.name, partial_copy, ignore=shutil.ignore_patterns("*.lock"))
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial_copy, folder)


def make_backbones(
    backbones: Iterable[PlannedBackbone], execution: dict, progress: bool | Callable[[str], object] = True
) -> None:
    """Pre-train the backbones that are not there yet, several at once on a CPU."""
    jobs = [backbone for backbone in backbones if not backbone.file.is_file()]
    executor = execution["executor"]
    devices = devices_for(execution["device"], execution["workers"], executor)
    say = print if progress is True else progress or (lambda line: None)
    for name, accuracy, seconds in execute(_pretrain, jobs, devices, 1, executor):
        say(f"pre-trained {name}: held-out accuracy {accuracy:.3f} ({seconds:.0f} s)")


def _pretrain(backbone: PlannedBackbone, device: str) -> tuple[str, float, float]:
    folder = backbone.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "backbone.lock"):
        if not backbone.file.is_file():
            made = pretrain(backbone.specification, backbone.source, device, state=folder / STATE_FILE)
            replace_file(folder / "history.csv", partial(made.history.to_csv, index=False))
            made.save(backbone.file)
            (folder / STATE_FILE).unlink()
    history = pd.read_csv(folder / "history.csv")
    return folder.name, float(history["accuracy"].iloc[-1]), float(history["seconds"].sum())
