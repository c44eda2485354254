"""Decode once: all frames of a source as uint8 in one array on disk, read by index afterwards.

A store is a folder with three files: ``images.npy`` (uint8, N x C x size x size, row i = frame i), ``frames.parquet`` (the
frame table) and ``store.json`` (what it is made from and a checksum of each chunk of frames, sealed). A chunk is compared
with its checksum when a process first reads of it. A store is built beside its final place, in ``<folder>.partial``: a
chunk is finished once its bytes have reached the disk and then its checksum ``store.json``, so that a build killed at any
moment goes on where it was and ends in the same bytes. The folder appears by a rename and is never replaced: whoever
builds a store names its folder by the source's fingerprint.
"""

import errno
import math
import os
import shutil
import sys
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from fasnb.data.frames import FRAME_TYPES
from fasnb.tools.files import Damaged, locked, replace_file, seal, sealed, whole
from fasnb.tools.machine import parallel

FORMAT = 3
CHUNK = 256  # frames decoded, written, recorded and compared together: 20 MB at 5 x 125 x 125
ABOUT = "store.json"


class Source(Protocol):
    """What a store is built from. Must be picklable: its frames are read in worker processes."""

    frames: pd.DataFrame  # the frame table, row i = frame i
    size: int  # height = width of every image, in pixels
    channels: dict[str, int]  # modality -> number of channels, in the order of the array
    fingerprint: str  # hex sha256 over all that determines the pixels and the table

    def read(self, indices) -> np.ndarray:
        """Frames as uint8 (len(indices), sum of channels, size, size); OSError or ValueError where one is broken."""
        ...


class Store:
    """The frames of a built store: ``frames`` (the frame table, row i = image i) and its source's other attributes.

    Raises:
        FileNotFoundError: there is no finished store in the folder.
        Damaged: its files are not what was written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        about = _about(self.folder)
        if not about:
            raise FileNotFoundError(f"{self.folder} is not a finished store; build it first (fasnb.data.store.build)")
        self.fingerprint: str = about["fingerprint"]
        self.channels: dict[str, int] = about["channels"]
        self.size: int = about["size"]
        self.frames = pd.read_parquet(whole(self.folder, "frames.parquet", ABOUT)).astype(FRAME_TYPES)
        self._shape, self._chunk, self._checksums = _shape(about), about["chunk"], about["checksums"]
        self._compared: set[int] = set()
        try:
            images = np.load(self.folder / "images.npy", mmap_mode="r")
        except (OSError, ValueError):
            raise self._damage("its header, or it is cut off") from None
        if images.shape != self._shape or images.dtype != np.uint8:
            raise self._damage("its header")
        self._start = images.offset
        self._file = open(self.folder / "images.npy", "rb", buffering=0)

    def __len__(self) -> int:
        return self._shape[0]

    def __reduce__(self):
        return Store, (self.folder,)

    def check(self) -> None:
        """Read and compare every frame. Raises Damaged."""
        for chunk in range(len(self._checksums)):
            self._compare(chunk)

    def read(self, index, pin: bool = False) -> torch.Tensor:
        """Frames by number, uint8 (B, C, size, size).

        Reads the file, by ascending offset, instead of touching a map: mapped pages would count as memory of this
        process, all of them after one epoch.

        Args:
            pin: return page-locked memory, for copies to a CUDA device that do not wait.

        Raises:
            ValueError: a number outside 0 .. N - 1. Damaged: a frame is not what was written.
        """
        index = np.atleast_1d(np.asarray(index, dtype=np.int64))
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise ValueError(f"{self.folder} has frames 0 to {len(self) - 1}, asked for {index.min()} to {index.max()}")
        for chunk in set((index // self._chunk).tolist()) - self._compared:
            self._compare(chunk)
        images = torch.empty((len(index), *self._shape[1:]), dtype=torch.uint8, pin_memory=pin)
        rows = images.numpy()
        for place in np.argsort(index, kind="stable"):
            self._fill(rows[place], int(index[place]))
        return images

    def _compare(self, chunk: int) -> None:
        first = chunk * self._chunk
        pixels = np.empty((min(self._chunk, len(self) - first), *self._shape[1:]), dtype=np.uint8)
        self._fill(pixels, first)
        if zlib.crc32(pixels) != self._checksums[chunk]:
            raise self._damage(f"of frames {first} to {first + len(pixels) - 1}")
        self._compared.add(chunk)

    def _fill(self, pixels: np.ndarray, first: int) -> None:
        """Read what lies in the file from frame ``first`` on into an array of one frame or of several."""
        offset = self._start + first * math.prod(self._shape[1:])
        if os.preadv(self._file.fileno(), [pixels.reshape(-1)], offset) != pixels.nbytes:
            raise self._damage("it is cut off")

    def _damage(self, what: str) -> Damaged:
        return Damaged(f"{self.folder} is damaged, images.npy: {what}; remove the folder to build it again")


def build(source: Source, folder: str | Path, workers: int = 0, progress: bool = True) -> Store:
    """The store of a source: opened if the folder has it, otherwise built, resuming a build that was interrupted.

    Args:
        source: where the frames come from.
        folder: the store's folder. Beside it lie ``<folder>.partial`` while building and ``<folder>.lock``.
        workers: decoding processes, 0 = one a core.
        progress: show a bar.

    Raises:
        ValueError: frames that cannot be read (the first ten by name and their number), no frames at all, a folder that
            holds another source's store or something else, or a damaged store.
        OSError: the disk is full. As after any error finished chunks are kept.
    """
    folder = Path(folder).absolute()
    unfinished = folder.with_name(folder.name + ".partial")
    said = f"another process builds {folder}; waiting for it"
    if not _is_built(folder, source):
        with locked(folder.with_name(folder.name + ".lock"), waiting=partial(print, said, file=sys.stderr)):
            if not _is_built(folder, source):  # as it may be after waiting
                about = _prepare(source, unfinished)
                _decode_all(source, unfinished, about, workers, progress)
                frames = source.frames.astype(FRAME_TYPES)
                replace_file(unfinished / "frames.parquet", partial(frames.to_parquet, index=False))
                seal(unfinished, about, ["frames.parquet"], ABOUT)
                os.rename(unfinished, folder)
    return Store(folder)


def _about(folder: Path) -> dict:
    """What the store in a folder was made from; empty where there is none. Raises Damaged."""
    try:
        about = sealed(folder, ABOUT)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return about if about.get("format") == FORMAT else {}


def _is_built(folder: Path, source: Source) -> bool:
    """Whether the folder holds the store; False where nothing is in its place, and refuses what else is there."""
    if not folder.exists() or folder.is_dir() and not any(folder.iterdir()):
        return False
    if _about(folder).get("fingerprint") != source.fingerprint:
        raise ValueError(f"{folder} holds something other than the store of this source; remove it or choose another")
    return True


def _shape(about: dict) -> tuple[int, int, int, int]:
    return about["frames"], sum(about["channels"].values()), about["size"], about["size"]


def _prepare(source: Source, folder: Path) -> dict:
    """What the store is made from, noted in the unfinished folder beside an empty array; one of the same is kept."""
    count = len(source.frames)
    if not count:
        raise ValueError("the source has no frames; check its lists")
    about = {"format": FORMAT, "fingerprint": source.fingerprint, "frames": count}
    about |= {"channels": dict(source.channels), "size": int(source.size), "chunk": CHUNK}
    try:
        found = _about(folder)
    except Damaged:  # nothing of it has been read, so that it is begun anew
        found = {}
    if about.items() <= found.items():
        return found
    folder.mkdir(parents=True, exist_ok=True)
    need, free = math.prod(_shape(about)), shutil.disk_usage(folder).free
    if need > free:
        raise OSError(errno.ENOSPC, f"no room for {folder}: it needs {need:,} bytes, and {free:,} are free; free some")
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, _shape(about))
    about["checksums"] = [None] * math.ceil(count / CHUNK)
    seal(folder, about, file=ABOUT)
    return about


def _decode_all(source: Source, folder: Path, about: dict, workers: int, progress: bool) -> None:
    """Decode the chunks that have no checksum yet, and note it of each."""
    checksums, wrong = about["checksums"], []
    todo = [chunk for chunk, checksum in enumerate(checksums) if checksum is None]
    results = parallel(partial(_decode, source, folder / "images.npy", about), todo, workers)
    bar = {"total": len(checksums), "initial": len(checksums) - len(todo), "unit": "chunk", "desc": "decoding"}
    for chunk, checksum, problems in tqdm(results, **bar, disable=not progress):
        wrong += problems
        checksums[chunk] = checksum
        seal(folder, about, file=ABOUT)
    if wrong:
        raise ValueError(
            f"{len(wrong):,} of {about['frames']:,} frames cannot be read; replace their files or take them off the "
            f"list, the first {min(10, len(wrong))}: {'; '.join(text for _, text in sorted(wrong)[:10])}"
        )


def _decode(source: Source, images: Path, about: dict, chunk: int) -> tuple[int, int | None, list[tuple[int, str]]]:
    """Write one chunk: its number, its checksum, and what is wrong with broken frames, with which nothing is written."""
    first = chunk * about["chunk"]
    rows = np.arange(first, min(first + about["chunk"], about["frames"]))
    try:
        pixels = np.ascontiguousarray(source.read(rows))
    except (OSError, ValueError):
        problems = broken(source, rows)
        if not problems:
            raise
        return chunk, None, problems
    count, *shape = _shape(about)
    if pixels.dtype != np.uint8 or pixels.shape != (len(rows), *shape):
        raise TypeError(f"the source gave {pixels.dtype} {pixels.shape} instead of uint8 {(len(rows), *shape)}")
    with open(images, "r+b") as file:
        file.seek(-(count - first) * math.prod(shape), os.SEEK_END)  # the array ends where the file ends
        file.write(pixels)
        file.flush()
        os.fsync(file.fileno())
    return chunk, zlib.crc32(pixels), []


def broken(source: Source, rows: Iterable[int]) -> list[tuple[int, str]]:
    """(number, what is wrong) of those of the frames that cannot be read, each read by itself."""
    found = []
    for row in rows:
        try:
            source.read(np.array([row]))
        except (OSError, ValueError) as error:
            found.append((int(row), str(error)))
    return found
