"""CASIA-SURF on disk: where it lies, and its frames decoded as the authors did.

The challenge lays its files out as ``phase1/{Training,Val}`` and ``phase2/Testing`` with the organisers' lists beside
the folders; the authors of the paper prefix the same names with ``train/`` and ``valid/``; the data set owner's later
release puts them under ``CASIA_SURF/Data``. Names from any list are found in any of these.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fasnb.data.frames import FRAME_COLUMNS, FRAME_TYPES, read_list, wrong_modality
from fasnb.data.images import ImageError, open_image
from fasnb.paper.experiments import MODALITIES
from fasnb.tools.files import file_hashes

DECODER_VERSION = 1  # raise when the same files give other pixels

FOLDERS = {"train": "Training", "valid": "Val", "test": "Testing"}

PHASES = {"train": "phase1", "valid": "phase1", "test": "phase2"}

LISTS = {  # split -> names of its list, those with labels first
    "train": ("train_list.txt", "CASIA_SURF@p1_image_train.txt"),
    "valid": ("val_private_list.txt", "CASIA_SURF@p1_image_dev.txt", "phase1_list.txt", "val_public_list.txt"),
    "test": ("test_private_list.txt", "CASIA_SURF@p1_image_test.txt", "test_public_list.txt"),
}

_BASES = ("", "phase1", "phase2", "train", "valid", "test", "CASIA_SURF/Data", "Data")

_PLACE = re.compile(r"(?P<before>|.*/)(?P<folder>Training|Val|Testing)/(?P<rest>.*)")

_MODALITY_IN_NAME = re.compile(r"(?<![^-_/])(color|rgb|depth|ir)(?![^-_./])")

_COLOUR_TOLERANCE = 8  # grey levels by which the channels of a grey image may differ after JPEG

_ASPECT_TOLERANCE = 1.5  # factor; the three images show the same box of one face


@dataclass(frozen=True)
class Layout:
    """Where a copy of the data lies: the list of each split that was found, and a sentence for each that was not."""

    root: Path
    lists: dict[str, Path]
    missing: dict[str, str]

    def frames(self, splits: Iterable[str] = tuple(LISTS)) -> pd.DataFrame:
        """The frame table of these splits, in list order.

        Raises:
            FileNotFoundError: a split was not found; the message says what to lay where.
        """
        absent = [self.missing[split] for split in splits if split not in self.lists]
        if absent:
            raise FileNotFoundError("; ".join(absent))
        tables = [read_list(self.lists[split], split=split) for split in splits]
        return pd.concat(tables, ignore_index=True).astype(FRAME_TYPES)


def find(root: str | Path, authors: str | Path | None = None) -> Layout:
    """The challenge data at or below a folder: ``phase1`` and ``phase2`` in it, one of these, or all in one folder.

    Args:
        root: the data root.
        authors: a clone of the authors' repository, whose ``data/lists`` has the validation labels.

    Raises:
        FileNotFoundError: neither a list nor an image folder of CASIA-SURF is there.
    """
    root = Path(root)
    where = [root / base for base in _BASES] + [root / "CASIA_SURF"]
    where += [Path(clone) / "data" / "lists" for clone in (authors, root) if clone is not None]
    lists, missing = {}, {}
    for split, names in LISTS.items():
        there = [folder / name for name in names for folder in where if (folder / name).is_file()]
        # the challenge and the data set's owner name the same frames differently: take the list that fits the files
        found = next((path for path in there if _leads_to_files(root, path)), there[0] if there else None)
        images = any((folder / FOLDERS[split]).is_dir() for folder in where)
        if found is not None and images:
            lists[split] = found
        else:
            lacking = f"the folder {FOLDERS[split]}" if found else f"the list {names[0]} or {names[-1]}"
            missing[split] = (
                f"{root} lacks {lacking} of the {split} split, expected in {PHASES[split]}; data/README.md says how to "
                "obtain CASIA-SURF and where to lay it"
            )
    if not lists:
        raise FileNotFoundError(
            f"no CASIA-SURF data at {root}: expected phase1/Training with phase1/train_list.txt, phase1/Val with "
            "phase1/val_public_list.txt, or phase2/Testing; data/README.md says how to obtain it"
        )
    return Layout(root, lists, missing)


def _leads_to_files(root: Path, path: Path) -> bool:
    """Whether one of the first colour images that a list names lies below the root."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        fields = [re.split(r"[\s,]", line.replace('"', "").strip())[0] for line in islice(file, 9)]
    names = [name for name in fields if name not in ("", "rgb")]
    bases = _bases(root, names)
    return any(os.path.isfile(_locate(root, bases, name)) for name in names)


class CasiaSurf:
    """The frames of CASIA-SURF as a source of ``fasnb.data.store``.

    Each frame is decoded as the authors did (Section 5.1 and their code): depth and IR are resized to the colour
    image's size (PIL, bicubic), then all three to size x size (torchvision's Resize of a PIL image: PIL, bilinear,
    which averages when it reduces). The authors saved the first step as JPEG (``*_resized.jpg``), this does not: values
    may differ from theirs by a JPEG's rounding. Such a file is used where it exists, else its original.

    Args:
        frames: the frame table.
        root: the data root.
        size: height = width of the decoded images, in pixels.
        hashes: file in which the hashes of the images are kept, so that each is read for its hash only once.

    Attributes:
        frames, root, size: as given; channels: modality -> 1 or 3.

    Raises:
        ValueError: a name that leaves the root, or a colour file that two rows name.
    """

    def __init__(
        self, frames: pd.DataFrame, root: str | Path, size: int = 125, hashes: str | Path | None = None
    ) -> None:
        self.frames, self.root, self.size = frames.reset_index(drop=True), Path(root), int(size)
        self.hashes = hashes
        names = self.frames[list(MODALITIES)].to_numpy(dtype=object)
        outside = [name for name in names.flat if name.startswith("/") or ".." in name.split("/")]
        if outside:
            raise ValueError(f"{outside[0]!r} leaves the data root ({len(outside):,} such names); correct the list")
        self._names = names
        self._bases = _bases(self.root, names.flat)
        located = pd.Series([str(_locate(self.root, self._bases, name)) for name in names[:, 0]], dtype="string")
        if located.duplicated().any():
            twice = int(np.argmax(located.duplicated()))
            raise ValueError(
                f"{names[twice, 0]!r} names a colour file that another row names too "
                f"({int(located.duplicated().sum()):,} such rows); correct the list"
            )

    @cached_property
    def channels(self) -> dict[str, int]:
        """3 for colour; for depth and IR 1, unless most of sixteen frames, spread over the table, are colour-coded."""
        rows = np.unique(np.linspace(0, len(self.frames) - 1, 16).astype(int)) if len(self.frames) else []
        coded = {name: sum(_colour_coded(self.path(row, name), self.root) for row in rows) for name in MODALITIES[1:]}
        return {"rgb": 3} | {name: 3 if 2 * coded[name] > len(rows) else 1 for name in coded}

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the table and over the name and content of every file, wherever and whenever they were copied."""
        digest = hashlib.sha256(f"casia-surf {DECODER_VERSION} {self.size}\n".encode())
        digest.update(self.frames[list(FRAME_COLUMNS)].to_csv(index=False).encode())
        paths = [self.path(row, name) for row in range(len(self.frames)) for name in MODALITIES]
        for path, found in zip(paths, file_hashes(paths, self.hashes), strict=True):
            digest.update(f"{path.relative_to(self.root).as_posix()} {found}\n".encode())
        return digest.hexdigest()

    def path(self, row: int, modality: str) -> Path:
        """The file of one modality of one frame."""
        path = _locate(self.root, self._bases, self._names[row, MODALITIES.index(modality)])
        if path.stem.endswith("_resized") and not path.exists():
            original = path.with_name(path.name.replace("_resized.", "."))
            return original if original.exists() else path
        return path

    def unlisted(self) -> tuple[str, ...]:
        """Image files below Training, Val or Testing that no row names, relative to the root, in order."""
        named = {self.path(row, modality) for row in range(len(self.frames)) for modality in MODALITIES}
        tops = {base + folder for (_, folder), base in self._bases.items()}
        there = (path for top in sorted(tops) for path in (self.root / top).rglob("*.jpg"))
        known = named | {path.with_name(path.name.replace("_resized.", ".")) for path in named}
        return tuple(sorted(path.relative_to(self.root).as_posix() for path in there if path not in known))

    def read(self, indices) -> np.ndarray:
        """Frames as uint8 (len(indices), channels, size, size).

        Raises:
            ValueError: a frame is missing a file or has a broken one.
        """
        images = np.empty((len(indices), sum(self.channels.values()), self.size, self.size), dtype=np.uint8)
        for place, row in enumerate(indices):
            found, problems = self.inspect(row)
            if problems:
                raise ValueError("; ".join(text for _, text in problems))
            images[place] = np.concatenate([self._resized(found[name], found["rgb"].size) for name in MODALITIES])
        return images

    def inspect(self, row: int) -> tuple[dict[str, Image.Image], list[tuple[str, str]]]:
        """The decoded images of one frame, and its problems as (kind, sentence)."""
        images, problems = {}, []
        for modality in MODALITIES:
            path = self.path(row, modality)
            try:
                images[modality] = _decode(path, self.root, self.channels[modality], modality == "rgb")
            except _Problem as problem:
                problems.append((problem.kind, f"{path.relative_to(self.root)} {problem}"))
        return images, problems + self._mismatches(row, images)

    def _mismatches(self, row: int, images: dict[str, Image.Image]) -> list[tuple[str, str]]:
        colour, *others = self._names[row]
        strangers = [name for name in others if _capture(name) != _capture(colour)]
        problems = [("mismatched", f"{name} is not of the frame {colour}") for name in strangers]
        wrong = wrong_modality(self._names[row])
        problems += [("mismatched", f"{colour}: {wrong}")] if wrong else []
        sizes = {name: image.size for name, image in images.items()}
        if {"depth", "ir"} <= sizes.keys() and sizes["depth"] != sizes["ir"]:
            problems.append(("size", f"{colour}: depth is {_by(sizes['depth'])} and IR {_by(sizes['ir'])}, not equal"))
        if {"rgb", "depth"} <= sizes.keys():
            (width, height), (other_width, other_height) = sizes["rgb"], sizes["depth"]
            if abs(math.log(width * other_height / (height * other_width))) > math.log(_ASPECT_TOLERANCE):
                problems.append(("size", f"{colour} is {_by(sizes['rgb'])}, its depth {_by(sizes['depth'])}"))
        return problems

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> np.ndarray:
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


class _Problem(Exception):
    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


def _bases(root: Path, names: Iterable[str]) -> dict[tuple[str, str], str]:
    """(what is written before it, Training, Val or Testing) -> where that folder really lies below the root."""
    first = {}
    for name in names:
        place = _PLACE.fullmatch(name)
        if place:
            first.setdefault((place["before"], place["folder"]), place["rest"])
    bases = {}
    for (written, folder), rest in first.items():
        candidates = [written, *(f"{base}/" if base else "" for base in _BASES)]
        originals = (f"{folder}/{rest}", f"{folder}/{rest}".replace("_resized.", "."))
        exact = (base for base in candidates if any(os.path.exists(root / (base + name)) for name in originals))
        there = (base for base in candidates if (root / base / folder).is_dir())
        bases[written, folder] = next(exact, next(there, written))
    return bases


def _locate(root: Path, bases: dict[tuple[str, str], str], name: str) -> Path:
    place = _PLACE.fullmatch(name)
    return root / (f"{bases[place['before'], place['folder']]}{place['folder']}/{place['rest']}" if place else name)


def _decode(path: Path, root: Path, channels: int, colour: bool) -> Image.Image:
    """One file as an image of mode L (1 channel) or RGB (3)."""
    try:
        with open_image(path, root) as image:
            image.load()
    except FileNotFoundError:
        raise _Problem("missing", "is missing") from None
    except ImageError as error:
        raise _Problem("unreadable", str(error)) from None
    if image.mode not in ("RGB",) + ("L",) * (not colour):
        expected = "an 8-bit colour image" if colour else "an 8-bit grey or colour image"
        raise _Problem("mode", f"is a {image.format} of mode {image.mode}, expected {expected}")
    if channels == 1 and image.mode == "RGB":
        if _channel_spread(image) > _COLOUR_TOLERANCE:
            raise _Problem("mode", "is coloured, others of its kind are grey")
        return image.convert("L")
    return image.convert("RGB") if channels == 3 else image


def _channel_spread(image: Image.Image) -> int:
    return int(np.ptp(np.asarray(image), axis=2).max())


def _colour_coded(path: Path, root: Path) -> bool:
    try:
        return _channel_spread(_decode(path, root, 3, False)) > _COLOUR_TOLERANCE
    except _Problem:
        return False


def _capture(name: str) -> str:
    """What the three names of a frame share: all but the modality, ``_resized`` and the file type."""
    return _MODALITY_IN_NAME.sub("*", name.rsplit(".", 1)[0].removesuffix("_resized") + ".")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
