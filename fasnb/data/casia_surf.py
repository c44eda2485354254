"""CASIA-SURF on disk: where it lies, its frames decoded as the authors did, checked, and written in its layout.

The challenge lays its files out as ``phase1/{Training,Val}`` and ``phase2/Testing`` with the organisers' lists beside
the folders; the authors of the paper prefix the same names with ``train/`` and ``valid/``; the data set owner's later
release puts them under ``CASIA_SURF/Data``. Names from any list are found in any of these.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from fasnb.data.frames import FRAME_COLUMNS, FRAME_TYPES, cameras_of, read_list, with_types
from fasnb.data.pictures import Picture, decode
from fasnb.data.store import Source
from fasnb.paper.experiments import MODALITIES
from fasnb.paper.published import KNOWN
from fasnb.tools.files import file_sha256, replace_file, seal, sealed, write_text
from fasnb.tools.machine import cache

DECODER_VERSION = 2  # raise when the same files give other pixels
FOLDERS = {"train": "Training", "valid": "Val", "test": "Testing"}
PHASES = {"train": "phase1", "valid": "phase1", "test": "phase2"}
LISTS = {  # split -> names of its list, those with labels first
    "train": ("train_list.txt", "CASIA_SURF@p1_image_train.txt"),
    "valid": ("val_private_list.txt", "CASIA_SURF@p1_image_dev.txt", "phase1_list.txt", "val_public_list.txt"),
    "test": ("test_private_list.txt", "CASIA_SURF@p1_image_test.txt", "test_public_list.txt"),
}

_BASES = ("", "phase1", "phase2", "train", "valid", "test", "CASIA_SURF/Data", "Data", "CASIA_SURF")
_INNER = re.compile(r"(?:.*/)?((?:Training|Val|Testing)/.*)")  # what a name has in every layout


class Layout(NamedTuple):
    """Where a copy of the data lies: the list of each split that was found, and a sentence for each that was not."""

    lists: dict[str, Path]
    missing: dict[str, str]

    def frames(self, splits: Iterable[str] = tuple(LISTS), **reading) -> pd.DataFrame:
        """The frame table of these splits, in list order, by ``read_list``; FileNotFoundError says what lies nowhere."""
        absent = [self.missing[split] for split in splits if split not in self.lists]
        if absent:
            raise FileNotFoundError("; ".join(absent))
        tables = [read_list(self.lists[split], split=split, **reading) for split in splits]
        return with_types(pd.concat(tables, ignore_index=True), FRAME_TYPES)


def find(root: str | Path, authors: str | Path | None = None) -> Layout:
    """The challenge data at or below a folder, of each split the first list that names files there.

    ``root`` holds ``phase1`` and ``phase2``, is one of these, or holds all in one folder. ``authors`` is a clone of the
    authors' repository, whose ``data/lists`` has the validation labels.

    Raises FileNotFoundError where of no split there are both a list and its images.
    """
    where = [Path(root) / base for base in _BASES] + ([] if authors is None else [Path(authors) / "data/lists"])
    lists, missing = {}, {}
    for split, names in LISTS.items():
        there = (folder / name for name in names for folder in where)
        fitting = next((path for path in there if path.is_file() and _fits(path, Path(root))), None)
        if fitting:
            lists[split] = fitting
        else:
            missing[split] = (
                f"{root} lacks the {split} split: the list {names[0]} or {names[-1]} and the images that it names, "
                f"expected in {PHASES[split]}; data/README.md says how to obtain CASIA-SURF and where to lay it"
            )
    if not lists:
        raise FileNotFoundError(f"no CASIA-SURF data at {root}: {missing['train']}")
    return Layout(lists, missing)


class CasiaSurf:
    """Frames on disk, CASIA-SURF's or one's own, as a source of ``fasnb.data.store``: frame table, data root, pixels.

    Planes of a camera that the table has no paths of are 0. ``scales``, of 16-bit files, are those of ``pictures``.
    Each frame is decoded as the authors did (Section 5.1 and their code): depth and IR are resized to the size of the
    colour (else the first) image (PIL, bicubic), then all three to size x size (torchvision's Resize of a PIL image: PIL,
    bilinear, which averages when it reduces). The authors saved the first step as JPEG (``*_resized.jpg``), this does not:
    values may differ from theirs by a JPEG's rounding. Such a file is used where it exists, else its original.
    """

    channels = {"rgb": 3, "depth": 1, "ir": 1}

    def __init__(self, frames: pd.DataFrame, root: str | Path, size: int = 125, scales: Mapping | None = None) -> None:
        self.frames, self.root, self.size = frames.reset_index(drop=True), Path(root), int(size)
        self.cameras, self.scales = cameras_of(frames), dict(scales or {})
        self._names = self.frames[list(MODALITIES)].to_numpy(dtype=object)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the table and over the name and content of every file, wherever and whenever they were copied.

        It is kept in the cache under a hash of the sizes and times of all files, so that they are read only once.
        """
        scales = f" {sorted(self.scales.items())}" if self.scales else ""
        digest = hashlib.sha256(f"casia-surf {DECODER_VERSION} {self.size}{scales}\n".encode())
        digest.update(self.frames[list(FRAME_COLUMNS)].to_csv(index=False).encode())
        paths = [self.path(row, name) for row in range(len(self.frames)) for name in self.cameras]
        there = {path: path.stat() for path in paths if path.is_file()}
        stamps = digest.copy()
        for path, found in there.items():
            stamps.update(f"{path.absolute()} {found.st_size} {found.st_mtime_ns}\n".encode())
        known, note = cache() / "fingerprints", f"{stamps.hexdigest()}.json"
        if not (known / note).is_file():
            for path in tqdm(paths, unit="file", desc="hashing", delay=2):
                content = file_sha256(path) if path in there else "missing"
                digest.update(f"{path.relative_to(self.root).as_posix()} {content}\n".encode())
            seal(known, {"fingerprint": digest.hexdigest()}, file=note)
        return sealed(known, note)["fingerprint"]

    def path(self, row: int, modality: str) -> Path:
        """The file of one modality of one frame, wherever it lies; as the list names it where it is missing."""
        return _locate(self.root, self._names[row, MODALITIES.index(modality)])

    def read(self, indices) -> np.ndarray:
        """Frames as uint8 (len(indices), 5, size, size). ValueError where a file is missing or broken."""
        shape = (len(indices), sum(self.channels.values()), self.size, self.size)
        images = np.zeros(shape, dtype=np.uint8)
        for place, row in enumerate(indices):
            images[place] = self.resized(self.pictures(row))
        return images

    def pictures(self, row: int) -> dict[str, Picture]:
        """The decoded files of a frame, of each camera that there is. Raises as ``read``."""
        return {name: decode(self.path(row, name), name, self.scales) for name in self.cameras}

    def resized(self, pictures: Mapping[str, Picture]) -> np.ndarray:
        """The pictures of one frame as ``read`` gives them, uint8 (5, size, size)."""
        size, planes = next(iter(pictures.values())).image.size, []
        for name, count in self.channels.items():
            plane = np.zeros((self.size, self.size, count), dtype=np.uint8)
            if name in pictures:
                alike = pictures[name].image.resize(size, Image.Resampling.BICUBIC)
                view = alike.resize((self.size, self.size), Image.Resampling.BILINEAR)
                plane = np.asarray(view).reshape(plane.shape)
            planes.append(plane)
        return np.dstack(planes).transpose(2, 0, 1)


def counts(frames: pd.DataFrame) -> pd.DataFrame:
    """What each split of a frame table counts beside the whole challenge: columns split, of, found (missing where no
    frame tells) and challenge."""
    rows = []
    for split, part in frames.groupby("split", sort=False):
        found = {"frames": len(part), "subjects": part["subject"].nunique() or pd.NA}
        found |= {"bona fide": (part["label"] == 1).sum(min_count=1), "attack": (part["label"] == 0).sum(min_count=1)}
        found |= {f"attack {kind}": (part["attack"] == kind).sum(min_count=1) for kind in range(1, 7)}
        rows += [(split, what, found[what], count) for what, count in KNOWN[split].items()]
    return pd.DataFrame(rows, columns=["split", "of", "found", "challenge"]).astype({"found": "Int64"})


def write(source: Source, root: str | Path) -> None:
    """Write a source in the challenge's layout: JPEG files, depth and IR of half the size, and the organisers' lists.

    Its frame table must have the challenge's names. ``root`` gets ``phase1`` and ``phase2``; splits of several sources
    can go to one root. Raises ValueError where there is something of the split already.
    """
    root, frames = Path(root), source.frames.reset_index(drop=True)
    for split in frames["split"].unique():
        there = [root / PHASES[split] / name for name in (FOLDERS[split], *LISTS[split])]
        if any(path.exists() for path in there):
            raise ValueError(f"{there[0].parent} holds a {split} set already; delete it or choose another folder")
    for row in tqdm(range(len(frames)), unit="frame", desc="writing"):
        pixels = source.read(np.array([row]))[0]
        images = [Image.fromarray(np.ascontiguousarray(pixels[:3].transpose(1, 2, 0)))]
        images += [Image.fromarray(plane).reduce(2) for plane in pixels[3:]]
        for name, image in zip(MODALITIES, images, strict=True):
            replace_file(root / PHASES[frames["split"][row]] / frames[name][row], partial(image.save, quality=95))
    for split, part in frames.groupby("split", sort=False):
        public = part["rgb"] + " " + part["depth"] + " " + part["ir"] + " "
        write_text(root / PHASES[split] / LISTS[split][0], "\n".join(public + part["label"].astype("string")) + "\n")
        if split != "train":
            write_text(root / PHASES[split] / LISTS[split][-1], "\n".join(public) + "\n")


def _fits(path: Path, root: Path) -> bool:
    """Whether a list leads to files: the challenge and the data set's owner name the same frames differently."""
    return any(_locate(root, name).is_file() for name in read_list(path)["rgb"].head(9))


def _locate(root: Path, name: str) -> Path:
    """The file of this name, as it is written or as another layout has it; ``*_resized.jpg`` or its original."""
    inner = _INNER.fullmatch(name)
    for place in [name, *(os.path.join(base, inner[1]) for base in _BASES if inner)]:
        for file in dict.fromkeys((place, place.replace("_resized.", "."))):
            if os.path.exists(os.path.join(root, file)):
                return root / file
    return root / name
