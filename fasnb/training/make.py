"""Make what a plan lacks: stores of decoded frames, pre-trained backbones, trained and scored networks."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd

from fasnb.data import store
from fasnb.tools.files import locked, replace_file
from fasnb.tools.seals import RESULT, whole, write_result
from fasnb.tools.workers import devices_for, execute
from fasnb.training.archive import Published
from fasnb.training.cost import work_of_backbone
from fasnb.training.fit import STATE_FILE
from fasnb.training.plan import Plan, PlannedBackbone, PlannedNetwork
from fasnb.training.pretraining import pretrain
from fasnb.training.progress import EPOCHS_FILE, Display, Job, Watch, display_of, recorder
from fasnb.training.runs import finished, job_of, run_many


def make(
    plan: Plan,
    networks: Sequence[PlannedNetwork],
    execution: dict,
    published: Published | None = None,
    other: Path | None = None,
    progress: bool | Callable[[str], object] | Display = True,
) -> dict[str, float]:
    """Train what is not trained yet, after building the stores and backbones it needs.

    Args:
        execution: ``device``, ``workers``, ``executor`` and ``compile`` of the profile.
        published: networks whose scores are here need no training.
        other: another results folder; a network or backbone that is done there is copied instead of trained again.
        progress: a bar and lines, a function that takes the lines, or a ``Display``.

    Returns:
        Seconds that each part took: frames, pre-training, networks; those alone that had to be made.
    """
    spent = {}
    pending = [n for n in networks if not finished(n) and not (published is not None and published.holds(n))]
    if other is not None:
        _adopt([n.folder for n in pending], other / "runs", "run.lock")
        pending = [n for n in pending if not finished(n)]
    if not pending:
        return spent
    with _timed(spent, "frames"):
        for split in dict.fromkeys(split for network in pending for split in network.stores):
            store.build(plan.sources[split], _store(pending, split), progress=progress is True)
    wanted = {network.specification.experiment for network in pending}
    backbones = {b.folder: b for experiment, b in plan.backbones.items() if experiment in wanted}
    if other is not None:
        _adopt(list(backbones), other / "backbones", "backbone.lock")
    missing = [backbone for backbone in backbones.values() if not backbone.done]
    display = display_of(progress)
    with Watch([*map(_job_of, missing), *map(job_of, pending)], display):
        with _timed(spent, "pre-training"):
            _make_backbones(missing, execution, display.line)
        with _timed(spent, "networks"):
            run_many(pending, progress=display.line, **execution)
    return spent


def _job_of(backbone: PlannedBackbone) -> Job:
    """A pre-training as a job, its work in multiply-adds as ``job_of`` counts it."""
    epochs, work = backbone.specification.epochs, work_of_backbone(backbone).training
    return Job(backbone.title, backbone.folder, backbone.file.name, epochs, work, lambda: _told(backbone))


def _told(backbone: PlannedBackbone) -> str:
    accuracy = pd.read_csv(backbone.folder / "history.csv")["accuracy"].iloc[-1]
    return f"{backbone.title}: {100 * accuracy:.0f}% right on held-out images"


@contextmanager
def _timed(spent: dict[str, float], part: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    spent[part] = time.monotonic() - started


def _store(networks: Iterable[PlannedNetwork], split: str) -> Path:
    return next(network.stores[split] for network in networks if split in network.stores)


def _adopt(folders: Sequence[Path], other: Path, lock: str) -> None:
    """Copy what is done in another results folder and lacks here; what says that it is done comes last."""
    for folder in folders:
        if not (other / folder.name / RESULT).is_file() or (folder / RESULT).is_file():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / lock):
            for path in sorted((other / folder.name).iterdir(), key=lambda path: path.name == RESULT):
                if path.name not in (lock, STATE_FILE) and not path.name.startswith("."):
                    replace_file(folder / path.name, partial(shutil.copyfile, path))
            (folder / STATE_FILE).unlink(missing_ok=True)


def _make_backbones(backbones: Sequence[PlannedBackbone], execution: dict, say: Callable[[str], object]) -> None:
    """Pre-train backbones, several at once on a CPU."""
    executor = execution["executor"]
    devices = devices_for(execution["device"], execution["workers"], executor)
    for name, accuracy, seconds in execute(_pretrain, backbones, devices, 1, executor):
        say(f"pre-trained {name}: held-out accuracy {accuracy:.3f} ({seconds:.0f} s)")


def _pretrain(backbone: PlannedBackbone, device: str) -> tuple[str, float, float]:
    folder = backbone.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "backbone.lock"):
        if not backbone.done:
            made = pretrain(backbone.specification, backbone.source, device, recorder(folder), folder / STATE_FILE)
            replace_file(folder / "history.csv", partial(made.history.to_csv, index=False))
            made.save(backbone.file)
            write_result(folder, {}, (backbone.file.name, "history.csv"))
            for name in (STATE_FILE, EPOCHS_FILE):
                (folder / name).unlink(missing_ok=True)
    history = pd.read_csv(whole(folder, "history.csv"))
    return folder.name, float(history["accuracy"].iloc[-1]), float(history["seconds"].sum())
