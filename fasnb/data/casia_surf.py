"""CASIA-SURF on disk: where it lies, its frames decoded as the authors did, checked, and written in its layout.

The challenge lays its files out as ``phase1/{Training,Val}`` and ``phase2/Testing`` with the organisers' lists beside
the folders; the authors of the paper prefix the same names with ``train/`` and ``valid/``; the data set owner's later
release puts them under ``CASIA_SURF/Data``. Names from any list are found in any of these.
"""

import hashlib
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from fasnb.data.frames import FRAME_COLUMNS, FRAME_TYPES, read_list
from fasnb.data.store import Source, broken
from fasnb.paper.experiments import MODALITIES
from fasnb.tools.files import file_sha256, replace_file, seal, sealed, write_text
from fasnb.tools.machine import cache, parallel

DECODER_VERSION = 1  # raise when the same files give other pixels

FOLDERS = {"train": "Training", "valid": "Val", "test": "Testing"}

PHASES = {"train": "phase1", "valid": "phase1", "test": "phase2"}

LISTS = {  # split -> names of its list, those with labels first
    "train": ("train_list.txt", "CASIA_SURF@p1_image_train.txt"),
    "valid": ("val_private_list.txt", "CASIA_SURF@p1_image_dev.txt", "phase1_list.txt", "val_public_list.txt"),
    "test": ("test_private_list.txt", "CASIA_SURF@p1_image_test.txt", "test_public_list.txt"),
}

KNOWN = {  # the challenge subset of Zhang et al.: what a complete copy counts
    "train": {"frames": 29266, "bona fide": 8942, "attack": 20324, "attack 4": 6518, "attack 5": 6942,
              "attack 6": 6864, "subjects": 300},
    "valid": {"frames": 9608, "bona fide": 2994, "attack": 6614, "attack 1": 2243, "attack 2": 2118,
              "attack 3": 2253, "subjects": 100},
    "test": {"frames": 57710, "bona fide": 17458, "attack": 40252, "subjects": 600},
}  # fmt: skip

_BASES = ("", "phase1", "phase2", "train", "valid", "test", "CASIA_SURF/Data", "Data", "CASIA_SURF")

_PLACE = re.compile(r"(?P<written>(?:.*/)?(?P<folder>Training|Val|Testing))/(?P<rest>.*)")

_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # none that starts other programs, as EPS would

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
        FileNotFoundError: of no split there are both a list and an image folder.
    """
    root = Path(root)
    where = [root / base for base in _BASES]
    where += [Path(clone) / "data" / "lists" for clone in (authors, root) if clone is not None]
    lists, missing = {}, {}
    for split, names in LISTS.items():
        there = [folder / name for name in names for folder in where if (folder / name).is_file()]
        if there and any((folder / FOLDERS[split]).is_dir() for folder in where):
            # the challenge and the data set's owner name the same frames differently: take the list that fits the files
            lists[split] = next((path for path in there if _leads_to_files(path, root)), there[0])
        else:
            lacking = f"the folder {FOLDERS[split]}" if there else f"the list {names[0]} or {names[-1]}"
            missing[split] = (
                f"{root} lacks {lacking} of the {split} split, expected in {PHASES[split]}; data/README.md says how to "
                "obtain CASIA-SURF and where to lay it"
            )
    if not lists:
        raise FileNotFoundError(f"no CASIA-SURF data at {root}: {missing['train']}")
    return Layout(root, lists, missing)


class CasiaSurf:
    """The frames of CASIA-SURF as a source of ``fasnb.data.store``.

    Each frame is decoded as the authors did (Section 5.1 and their code): depth and IR are resized to the colour
    image's size (PIL, bicubic), then all three to size x size (torchvision's Resize of a PIL image: PIL, bilinear,
    which averages when it reduces). The authors saved the first step as JPEG (``*_resized.jpg``), this does not: values
    may differ from theirs by a JPEG's rounding. Such a file is used where it exists, else its original.

    Args:
        frames: the frame table, whose names lie below the root, as ``read_list`` makes sure.
        root: the data root.
        size: height = width of the decoded images, in pixels.
    """

    channels = {"rgb": 3, "depth": 1, "ir": 1}

    def __init__(self, frames: pd.DataFrame, root: str | Path, size: int = 125) -> None:
        self.frames, self.root, self.size = frames.reset_index(drop=True), Path(root), int(size)
        self._names = self.frames[list(MODALITIES)].to_numpy(dtype=object)
        self._bases = _bases(self.root, self._names.flat)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the table and over the name and content of every file, wherever and whenever they were copied.

        It is kept in the cache under a hash of the sizes and times of all files, so that they are read only once.
        """
        digest = hashlib.sha256(f"casia-surf {DECODER_VERSION} {self.size}\n".encode())
        digest.update(self.frames[list(FRAME_COLUMNS)].to_csv(index=False).encode())
        paths = [self.path(row, name) for row in range(len(self.frames)) for name in MODALITIES]
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
        """The file of one modality of one frame."""
        path = _locate(self.root, self._bases, self._names[row, MODALITIES.index(modality)])
        original = path.with_name(path.name.replace("_resized.", "."))
        return original if original != path and not path.exists() and original.exists() else path

    def read(self, indices) -> np.ndarray:
        """Frames as uint8 (len(indices), 5, size, size). ValueError where a file is missing, broken or of another frame."""
        images = np.empty((len(indices), 5, self.size, self.size), dtype=np.uint8)
        for place, row in enumerate(indices):
            images[place] = self._frame(row)
        return images

    def _frame(self, row: int) -> np.ndarray:
        pictures, problems = [], []
        for modality in MODALITIES:
            path = self.path(row, modality)
            try:
                pictures.append(_decode(path, grey=modality != "rgb"))
            except ValueError as problem:
                problems.append(f"{path.relative_to(self.root)} {problem}")
        if problems:
            raise ValueError("; ".join(problems))
        colour, depth, ir = (picture.size for picture in pictures)
        aspect = colour[0] * depth[1] / (colour[1] * depth[0])
        if depth != ir or abs(math.log(aspect)) > math.log(_ASPECT_TOLERANCE):
            sizes = " and ".join(f"{width}x{height}" for width, height in (colour, depth, ir))
            raise ValueError(f"{self._names[row, 0]}, its depth and IR are {sizes}: not of one frame")
        return np.concatenate([self._resized(picture, colour) for picture in pictures])

    def _resized(self, image: Image.Image, size: tuple[int, int]) -> np.ndarray:
        if image.size != size:
            image = image.resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@dataclass(frozen=True)
class DataCheck:
    """What ``check`` found, in sentences: what was counted, and all that is wrong. ``str(found)`` is for people."""

    counts: list[str]
    problems: list[str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        found = f"{len(self.problems):,} problems; the first ten:" if self.problems else "no problems"
        return "\n".join([*self.counts, found, *(f"  {text}" for text in self.problems[:10])])


def check(frames: pd.DataFrame, root: str | Path, workers: int = 0, progress: bool = True) -> DataCheck:
    """Decode every file of a frame table once, count, and report all that is wrong.

    A split with at least half of the challenge's frames is taken for a whole copy, whose counts must be the known ones.
    """
    counts, problems = _counts(frames)
    work = partial(broken, CasiaSurf(frames, root))
    for found in sorted(_in_chunks(work, len(frames), workers, "checking", progress)):
        problems += [text for _, text in found]
    return DataCheck(counts, problems)


def write(source: Source, root: str | Path, workers: int = 0, progress: bool = True) -> None:
    """Write a source in the challenge's layout: JPEG files, ``*.rssdk`` folders, the organisers' lists.

    Args:
        source: its frame table must have the challenge's names.
        root: gets ``phase1`` and ``phase2``; splits of several sources can go to one root.

    Raises:
        ValueError: there is something of the split already.
    """
    root, frames = Path(root), source.frames.reset_index(drop=True)
    for split in frames["split"].unique():
        there = [root / PHASES[split] / name for name in (FOLDERS[split], *LISTS[split])]
        if any(path.exists() for path in there):
            raise ValueError(f"{there[0].parent} holds a {split} set already; delete it or choose another folder")
    list(_in_chunks(partial(_write_frames, source, frames, root), len(frames), workers, "writing", progress))
    for split, part in frames.groupby("split", sort=False):
        names = part["rgb"] + " " + part["depth"] + " " + part["ir"] + " "
        lists = {LISTS[split][0]: names + part["label"].astype("string")} if part["label"].notna().all() else {}
        lists |= {LISTS[split][-1]: names} if split != "train" else {}  # the public list, without labels
        for name, lines in lists.items():
            write_text(root / PHASES[split] / name, "".join(f"{line}\n" for line in lines))


def _leads_to_files(path: Path, root: Path) -> bool:
    """Whether one of the first colour images that a list names lies below the root."""
    source = CasiaSurf(read_list(path).head(9), root)
    return any(source.path(row, "rgb").is_file() for row in range(len(source.frames)))


def _bases(root: Path, names: Iterable[str]) -> dict[str, str]:
    """What is written up to Training, Val or Testing -> where that folder really lies below the root."""
    bases = {}
    for name in names:
        place = _PLACE.fullmatch(name)
        if place and place["written"] not in bases:
            candidates = [place["written"], *(f"{base}/{place['folder']}".lstrip("/") for base in _BASES)]
            files = (place["rest"], place["rest"].replace("_resized.", "."))
            exact = (folder for folder in candidates if any((root / folder / file).exists() for file in files))
            there = (folder for folder in candidates if (root / folder).is_dir())
            bases[place["written"]] = next(exact, next(there, place["written"]))
    return bases


def _locate(root: Path, bases: dict[str, str], name: str) -> Path:
    place = _PLACE.fullmatch(name)
    return root / bases[place["written"]] / place["rest"] if place else root / name


def _decode(path: Path, grey: bool) -> Image.Image:
    """One file as an image of mode L if grey, else RGB; a ValueError says what is wrong, beginning with a verb."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
    except FileNotFoundError:
        raise ValueError("is missing") from None
    except Exception:  # a damaged image can raise nearly anything in a decoder; nothing of ours runs in this block
        raise ValueError("is unreadable: not an image or cut off") from None
    if image.mode != "RGB" and not (grey and image.mode == "L"):
        expected = "an 8-bit grey or colour image" if grey else "an 8-bit colour image"
        raise ValueError(f"is a {image.format} of mode {image.mode}, expected {expected}")
    if grey and image.mode == "RGB" and np.ptp(np.asarray(image), axis=2).max() > _COLOUR_TOLERANCE:
        raise ValueError("is coloured; depth and infrared must be grey")
    return image.convert("L") if grey else image


def _in_chunks(work: Callable, count: int, workers: int, doing: str, progress: bool) -> Iterator:
    """``work`` of the rows of 64 frames at a time, under a bar."""
    chunks = [range(first, min(first + 64, count)) for first in range(0, count, 64)]
    results = parallel(work, chunks, workers)
    yield from tqdm(results, total=len(chunks), unit="chunk", desc=doing, disable=not progress)


def _counts(frames: pd.DataFrame) -> tuple[list[str], list[str]]:
    """What each split counts, and where that is not what it should; what no frame tells is left out."""
    counts, wrong = [], []
    for split, part in frames.groupby("split", sort=False):
        found = {"frames": len(part)}
        if part["label"].notna().any():
            found |= {"bona fide": (part["label"] == 1).sum(), "attack": (part["label"] == 0).sum()}
        if part["attack"].notna().any():
            found |= {f"attack {k}": (part["attack"] == k).sum() for k in range(1, 7)}
        if part["subject"].notna().any():
            found["subjects"] = part["subject"].nunique()
        known = KNOWN[split] if 2 * len(part) >= KNOWN[split]["frames"] else {}
        counts += [f"{split}: {n:,} {what}" for what, n in found.items() if n]
        if not known:
            counts.append(f"note: {split} is not the full challenge, which has {KNOWN[split]['frames']:,} frames")
        wrong += [f"{split}: {n:,} {what} instead of {known[what]:,}"
                  for what, n in found.items() if n != known.get(what, n)]  # fmt: skip
    return counts, wrong


def _write_frames(source: Source, frames: pd.DataFrame, root: Path, rows: range) -> None:
    """JPEG files: colour of the source's size and up to an eighth more, drawn by the frame's name; others half of it."""
    ends = np.cumsum(list(source.channels.values()))[:-1]
    for row, pixels in zip(rows, source.read(np.array(rows)), strict=True):
        drawn = zlib.crc32(frames["sample"][row].encode())
        size = [source.size + part % (source.size // 8 + 1) for part in (drawn & 0xFFFF, drawn >> 16)]
        for name, image in zip(MODALITIES, np.split(pixels, ends), strict=True):
            image = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
            image = image.resize(size if name == "rgb" else [-(-side // 2) for side in size], Image.Resampling.BICUBIC)
            replace_file(root / PHASES[frames["split"][row]] / frames[name][row], partial(image.save, quality=95))
