"""``fasnb doctor``: what is there, what is missing and how to get it; of a study, what is damaged."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import distributions

import torch

from fasnb.data.casia_surf import find
from fasnb.data.store import ABOUT, Store
from fasnb.lab.session import Study
from fasnb.model.weights import read
from fasnb.tools.files import Damaged, sealed, whole
from fasnb.tools.machine import home, released_root
from fasnb.training.plan import NETWORK_FILE, WEIGHT_FILES
from fasnb.training.run import STATE_FILE

PACKAGES = ("torch", "torchvision", "jupyterlab", "papermill", "matplotlib", "pandas", "scikit-learn", "ray")


def inventory() -> Iterator[tuple[bool, str]]:
    """Whether it is there, and what it is or how to get it: one pair for each thing that the study can use."""
    yield True, f"python {sys.version.split()[0]}, {os.cpu_count()} logical cores, repository {home().name}"
    installed = {package.name: package.version for package in distributions()}
    for name in PACKAGES:
        yield name in installed, f"{name} {installed.get(name) or '(pip install -c constraints.txt -e .[ray])'}"
    count = torch.cuda.device_count()
    yield True, f"{count} GPUs, {torch.cuda.get_device_name(0)}" if count else "no GPU; the CPU is used"
    try:
        yield True, f"released scores in {released_root()}"
    except FileNotFoundError as error:
        yield False, str(error)
    try:
        layout = find(home() / "data" / "casia-surf")
        yield from ((True, f"CASIA-SURF {split}: {path.name}") for split, path in layout.lists.items())
        yield from ((False, sentence) for sentence in layout.missing.values())
    except FileNotFoundError as error:
        yield False, str(error)
    for start, name in WEIGHT_FILES.items():
        there = (home() / "data" / "weights" / name).is_file()
        yield there, f"weights of {start!r}: data/weights/{name} (see data/README.md)"


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
        try:
            for name in sealed(folder)["sha256"]:
                if name != NETWORK_FILE or (folder / name).is_file():  # weights may be removed to save room
                    yield partial(whole, folder, name)
        except Damaged:
            yield partial(sealed, folder)
        except FileNotFoundError:
            pass  # not done
        if (folder / STATE_FILE).is_file():
            yield partial(read, folder / STATE_FILE)
    frames = (each for network in study.plan.networks for each in (network.frames, *network.splits.values()))
    for folder in dict.fromkeys(each.folder for each in frames):
        if (folder / ABOUT).is_file():
            yield lambda folder=folder: Store(folder).check()
