"""``fasnb doctor``: what is there, what is missing and how to get it; of a study, what is damaged."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from fasnb.data.casia_surf import find
from fasnb.data.store import ABOUT, Store
from fasnb.lab.session import Study
from fasnb.model.weights import read
from fasnb.tools.files import DONE, sealed, whole
from fasnb.tools.machine import MissingData, home, installed, released_root
from fasnb.training.plan import NETWORK_FILE, WEIGHT_FILES
from fasnb.training.run import STATE_FILE

PACKAGES = ("torch", "torchvision", "jupyterlab", "papermill", "matplotlib", "pandas", "scikit-learn", "ray", "onnx")


def inventory() -> Iterator[str]:
    """Lines ``ok`` or ``missing``, one a thing that the study can use, and how to get it."""
    yield f"python {sys.version.split()[0]}, {os.cpu_count()} logical cores, repository {home().name}"
    for found, text in _things():
        yield f"{'ok     ' if found else 'missing'} {text}"


def _things() -> Iterator[tuple[bool, str]]:
    for name in PACKAGES:
        extra = f"[{name}]" if name in ("ray", "onnx") else ""
        yield bool(installed(name)), f"{name} {installed(name) or f'(pip install -c constraints.txt -e .{extra})'}"
    count = torch.cuda.device_count()
    yield True, f"{count} GPUs, {torch.cuda.get_device_name(0)}" if count else "no GPU; the CPU is used"
    try:
        yield True, f"released scores in {released_root()}"
    except MissingData as error:
        yield False, str(error)
    try:
        layout = find(home() / "data" / "casia-surf")
        yield from ((True, f"CASIA-SURF {split}: {path.name}") for split, path in layout.lists.items())
        yield from ((False, sentence) for sentence in layout.missing.values())
    except FileNotFoundError as error:
        yield False, str(error)
    for initialisation, name in WEIGHT_FILES.items():
        there = (home() / "data" / "weights" / name).is_file()
        yield there, f"weights of {initialisation!r}: data/weights/{name} (see data/README.md)"


def damages(study: Study) -> Iterator[str]:
    """Read every byte of a study that has a checksum; one sentence for each file that is not as it was written."""
    for look in _looks(study):
        try:
            look()
        except (ValueError, OSError) as error:
            yield str(error)


def _looks(study: Study) -> Iterator[Callable]:
    networks = [*study.plan.networks, *study.plan.backbones]
    for folder in (study.out, study.published.folder, *(network.folder for network in networks)):
        if (folder / DONE).is_file():
            yield partial(_read_all, folder)
        if (folder / STATE_FILE).is_file():
            yield partial(read, folder / STATE_FILE)
    frames = (each for network in study.plan.networks for each in (network.frames, *network.splits.values()))
    for folder in dict.fromkeys(each.folder for each in frames):
        if (folder / ABOUT).is_file():
            yield lambda folder=folder: Store(folder).check()


def _read_all(folder: Path) -> None:
    for name in sealed(folder)["sha256"]:
        if name != NETWORK_FILE or (folder / name).is_file():  # weights may be removed to save room
            whole(folder, name)
