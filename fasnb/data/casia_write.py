"""Write frames in CASIA-SURF's layout: JPEG files, ``*.rssdk`` folders, the organisers' lists."""

import json
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from fasnb.data.casia_surf import FOLDERS, LISTS, PHASES
from fasnb.data.store import Source
from fasnb.paper.experiments import MODALITIES
from fasnb.tools.files import replace_file, write_text
from fasnb.tools.workers import parallel_map


def write(
    source: Source, root: str | Path, *, quality: int = 95, workers: int | None = None, progress: bool = True
) -> None:
    """Write a source in the challenge's layout: JPEG files, ``*.rssdk`` folders, the organisers' lists.

    A source may hold one split or several; splits of different sources can go to one folder, one after the other.
    The colour image is about as large as the source's, depth and IR half as large, all varying from frame to frame by
    its name. Files that an interrupted run has finished are kept.

    Args:
        source: its frame table must have the challenge's names.
        root: gets ``phase1`` and ``phase2``.
        quality: of the JPEG files.

    Raises:
        ValueError: the folder holds another set, or names are not the challenge's.
    """
    root = Path(root)
    frames = source.frames.reset_index(drop=True)
    begins = frames["split"].map(FOLDERS) + "/"
    strange = [name for name, begin in zip(frames["rgb"], begins, strict=True) if not name.startswith(begin)]
    if strange:
        raise ValueError(f"{strange[0]!r} is not a name of the challenge; expected e.g. Val/0000/000000-color.jpg")
    _claim(root, frames["split"].unique(), f"{source.fingerprint}, quality {quality}")
    chunks = [range(first, min(first + 64, len(frames))) for first in range(0, len(frames), 64)]
    with tqdm(total=len(frames), unit="frame", desc="writing", disable=not progress) as bar:
        for chunk, _ in parallel_map(partial(_write_frames, source, frames, root, quality), chunks, workers):
            bar.update(len(chunk))
    _write_lists(frames, root)


def _claim(root: Path, splits: Iterable[str], origin: str) -> None:
    """Notes beside the data what each split is made from, so that two sets are never mixed."""
    note = root / "made_from.json"
    try:
        known = dict(json.loads(note.read_text(encoding="utf-8"))) if note.exists() else {}
    except (ValueError, TypeError):
        raise ValueError(
            f"{note} is damaged, so that what {root} holds is unknown; delete the folder or choose another one"
        ) from None
    for split in splits:
        folder = root / PHASES[split]
        there = [path for path in (folder / FOLDERS[split], *(folder / name for name in LISTS[split])) if path.exists()]
        if split not in known and there:
            raise ValueError(f"{there[0]} was not made by this command and would be mixed up; choose another folder")
        if known.setdefault(split, origin) != origin:
            raise ValueError(f"{root} holds another {split} set; delete it or choose another folder")
    write_text(note, json.dumps(known, indent=1))


def _write_frames(source: Source, frames: pd.DataFrame, root: Path, quality: int, rows: range) -> None:
    files = [[root / PHASES[frames["split"][row]] / frames[name][row] for name in MODALITIES] for row in rows]
    todo = [place for place, paths in enumerate(files) if not all(path.exists() for path in paths)]
    if not todo:
        return
    ends = np.cumsum(list(source.channels.values()))
    for place, pixels in zip(todo, source.read(np.array(rows)[todo]), strict=True):
        sizes = _sizes(frames["sample"][rows[place]], source.size)
        for path, image, size in zip(files[place], np.split(pixels, ends[:-1]), sizes, strict=True):
            image = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
            replace_file(path, partial(image.resize(size, Image.Resampling.BICUBIC).save, quality=quality))


def _sizes(sample: str, size: int) -> tuple[tuple[int, int], ...]:
    """(width, height) of colour, depth and IR: the source's size and up to an eighth more, and half of that."""
    drawn = zlib.crc32(sample.encode())
    width, height = (size + part % (size // 8 + 1) for part in (drawn & 0xFFFF, drawn >> 16))
    half = (-(-width // 2), -(-height // 2))
    return (width, height), half, half


def _write_lists(frames: pd.DataFrame, root: Path) -> None:
    for split, part in frames.groupby("split", sort=False):
        folder = root / PHASES[split]
        names = part["rgb"] + " " + part["depth"] + " " + part["ir"] + " "
        if split == "train":
            write_text(folder / "train_list.txt", _text(names + part["label"].astype("string")))
            continue
        name = {"valid": "val", "test": "test"}[split]
        write_text(folder / f"{name}_public_list.txt", _text(names))
        if part["label"].notna().all():
            write_text(folder / f"{name}_private_list.txt", _text(names + part["label"].astype("string")))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
