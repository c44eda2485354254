"""``fasnb doctor``: what is there, what is missing and how to get it; of a study, what is damaged."""

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import torch

from fasnb.data.casia_surf import find
from fasnb.data.store import Store
from fasnb.lab.session import Study
from fasnb.model.dlib_file import installed
from fasnb.model.weights import read
from fasnb.tools.files import DONE, Damaged, sealed, whole
from fasnb.tools.machine import home, released_root, third_team_root
from fasnb.training.plan import NETWORK_FILE, WEIGHT_FILES, backbones_of
from fasnb.training.run import STATE_FILE


def inventory() -> Iterator[tuple[bool, str]]:
    """Whether it is there, and what it is or how to get it: one pair for each thing that the study can use."""
    yield True, f"python {sys.version.split()[0]}, {os.cpu_count()} logical cores, repository {home().name}"
    for name, package, use in (("ray", "ray", "many machines"), ("onnx", "onnxruntime", "fasnb export")):
        yield bool(find_spec(package)), f"{package}, for {use} (pip install -c constraints.txt -e .[{name}])"
    count = torch.cuda.device_count()
    yield True, f"{count} GPUs, {torch.cuda.get_device_name(0)}" if count else "no GPU; the CPU is used"
    for what, place in (("released", released_root), ("third team's", third_team_root)):
        try:
            yield True, f"{what} scores in {place()}"
        except FileNotFoundError as error:
            yield False, str(error)
    try:
        layout = find(home() / "data" / "casia-surf")
        yield from ((True, f"CASIA-SURF {split}: {path.name}") for split, path in layout.lists.items())
        yield from ((False, sentence) for sentence in layout.missing.values())
    except FileNotFoundError as error:
        yield False, str(error)
    try:
        yield True, f"real faces: {installed().name}"
    except FileNotFoundError as error:
        yield False, str(error)
    for start, name in WEIGHT_FILES.items():
        there = (home() / "data" / "weights" / name).is_file()
        yield there, f"weights of {start!r}: data/weights/{name} (see data/README.md)"


def damages(study: Study) -> Iterator[str]:
    """Read every byte of a study that has a checksum; one sentence for each file that is not as it was written."""
    if not study.out.is_dir():
        yield f"{study.out} is not there"
    networks = [*study.plan.networks, *backbones_of(study.plan.networks)]
    for folder in (study.out, study.published.folder, *(network.folder for network in networks)):
        try:
            names = sealed(folder)["sha256"] if (folder / DONE).is_file() else ()
        except Damaged as error:
            yield str(error)
            continue
        for name in names:
            if name != NETWORK_FILE or (folder / name).is_file():  # weights may be removed to save room
                yield from _said(whole, folder, name)
        if (folder / STATE_FILE).is_file():
            yield from _said(read, folder / STATE_FILE)
    frames = (each for network in study.plan.networks for each in (network.frames, *network.splits.values()))
    for folder in dict.fromkeys(each.folder for each in frames):
        if folder.is_dir():
            yield from _said(lambda folder=folder: Store(folder).check())


def _said(look: Callable, *arguments) -> Iterator[str]:
    try:
        look(*arguments)
    except (ValueError, OSError) as error:
        yield str(error)
