"""Decode once: all frames of a source as uint8 in one array on disk, read by index afterwards.

A store is a folder with three files: ``images.npy`` (uint8, N x C x size x size, row i = frame i), ``frames.parquet``
(the frame table) and ``store.json`` (what it is made from and a checksum of each chunk of frames, sealed). It is built
in ``<folder>.partial``: a chunk is finished once its bytes and then its checksum are on the disk, so that a killed
build goes on where it was and ends in the same bytes. A chunk is compared when a process first reads of it. The folder
appears by a rename and is never replaced: whoever builds a store names its folder by the source's fingerprint.
"""

import math
import os
import shutil
import zlib
from collections.abc import Iterable
from contextlib import suppress
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
        self.fingerprint: str = about["fingerprint"]
        self.channels: dict[str, int] = about["channels"]
        self.size: int = about["size"]
        self.frames = pd.read_parquet(whole(self.folder, "frames.parquet", ABOUT)).astype(FRAME_TYPES)
        self._shape, self._chunk, self._checksums = _shape(about), about["chunk"], about["checksums"]
        self._compared: set[int] = set()
        self._images()  # refuses a file that was cut off

    def __len__(self) -> int:
        return self._shape[0]

    def check(self) -> None:
        """Read and compare every frame. Raises Damaged."""
        self._compare(range(len(self._checksums)), self._images())

    def read(self, index, pin: bool = False) -> torch.Tensor:
        """Frames by number, uint8 (B, C, size, size).

        Args:
            pin: return page-locked memory, for copies to a CUDA device that do not wait.

        Raises:
            ValueError: a number outside 0 .. N - 1. Damaged: a frame is not what was written.
        """
        index = np.atleast_1d(np.asarray(index, dtype=np.int64))
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise ValueError(f"{self.folder} has frames 0 to {len(self) - 1}, asked for {index.min()} to {index.max()}")
        mapped = self._images()
        self._compare(set((index // self._chunk).tolist()) - self._compared, mapped)
        images = torch.empty((len(index), *self._shape[1:]), dtype=torch.uint8, pin_memory=pin)
        np.take(mapped, index, axis=0, out=images.numpy(), mode="clip")  # which, unlike "raise", writes in place
        return images

    def _images(self) -> np.ndarray:
        """The map of all frames, for one read: while it lasts, what was read counts as memory of this process."""
        try:
            images = np.load(self.folder / "images.npy", mmap_mode="r")
            if (images.shape, images.dtype, images.flags.c_contiguous) == (self._shape, np.uint8, True):
                return images
        except Exception:  # a damaged header can raise nearly anything
            pass
        raise self._damage("its header, or it is cut off")

    def _compare(self, chunks: Iterable[int], images: np.ndarray) -> None:
        for chunk in chunks:
            first, end = chunk * self._chunk, min((chunk + 1) * self._chunk, len(self))
            if zlib.crc32(images[first:end]) != self._checksums[chunk]:
                raise self._damage(f"of frames {first} to {end - 1}")
            self._compared.add(chunk)

    def _damage(self, what: str) -> Damaged:
        return Damaged(f"{self.folder} is damaged, images.npy: {what}; remove the folder to build it again")


def build(source: Source, folder: str | Path, workers: int = 0, progress: bool = True) -> Store:
    """The store of a source: opened if the folder has it, otherwise built, resuming a build that was interrupted.

    Args:
        source: where the frames come from.
        folder: the store's folder. Beside it lie ``<folder>.partial`` while building and ``<folder>.lock``.
        workers: decoding processes, 0 = one a core.

    Raises:
        ValueError: frames that cannot be read (the first ten by name and their number), no frames at all, a folder that
            holds another source's store, or a damaged store.
        OSError: the folder is no store, or the disk is full. As after any error finished chunks are kept.
    """
    folder = Path(folder).absolute()
    unfinished, lock = (folder.with_name(folder.name + ending) for ending in (".partial", ".lock"))
    with locked(lock):
        if not folder.exists():
            about = _begin(source, unfinished)
            _decode_all(source, unfinished, about, workers, progress)
            frames = source.frames.astype(FRAME_TYPES)
            replace_file(unfinished / "frames.parquet", partial(frames.to_parquet, index=False))
            seal(unfinished, about, ["frames.parquet"], ABOUT)
            os.rename(unfinished, folder)
    store = Store(folder)
    if store.fingerprint != source.fingerprint:
        raise ValueError(f"{folder} holds the store of another source; remove it or choose another")
    return store


def broken(source: Source, rows: Iterable[int]) -> dict[int, str]:
    """What is wrong with those of the frames that cannot be read, each read by itself, by their number."""
    found = {}
    for row in rows:
        try:
            source.read(np.array([row]))
        except (OSError, ValueError) as error:
            found[int(row)] = str(error)
    return found


def _about(folder: Path) -> dict:
    """What the store in a folder was made from. FileNotFoundError where there is none; Damaged."""
    about = sealed(folder, ABOUT) if (folder / ABOUT).is_file() else {}
    if about.get("format") != FORMAT:
        raise FileNotFoundError(f"{folder} is no finished store; remove it, and the same command builds it again")
    return about


def _shape(about: dict) -> tuple[int, int, int, int]:
    return about["frames"], sum(about["channels"].values()), about["size"], about["size"]


def _begin(source: Source, folder: Path) -> dict:
    """What the store is made from, noted in the unfinished folder beside an empty array; one of the same is kept."""
    if not len(source.frames):
        raise ValueError("the source has no frames; check its lists")
    about = {"format": FORMAT, "fingerprint": source.fingerprint, "frames": len(source.frames)}
    about |= {"channels": dict(source.channels), "size": int(source.size), "chunk": CHUNK}
    with suppress(FileNotFoundError, Damaged):  # nothing of it has been read, so that it is begun anew
        found = _about(folder)
        if about.items() <= found.items():
            return found
    folder.mkdir(parents=True, exist_ok=True)
    need, free = math.prod(_shape(about)), shutil.disk_usage(folder).free
    if need > free:
        raise OSError(f"no room for {folder}: it needs {need:,} bytes, and {free:,} are free; free some")
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, _shape(about))
    about["checksums"] = [None] * math.ceil(about["frames"] / CHUNK)
    seal(folder, about, file=ABOUT)
    return about


def _decode_all(source: Source, folder: Path, about: dict, workers: int, progress: bool) -> None:
    """Decode the chunks that have no checksum yet, and note it of each."""
    checksums, problems = about["checksums"], {}
    todo = [chunk for chunk, checksum in enumerate(checksums) if checksum is None]
    results = parallel(partial(_decode, source, folder / "images.npy", about), todo, workers)
    bar = {"total": len(checksums), "initial": len(checksums) - len(todo), "unit": "chunk", "desc": "decoding"}
    for chunk, checksum, found in tqdm(results, **bar, disable=not progress):
        checksums[chunk] = checksum
        problems |= found
        seal(folder, about, file=ABOUT)
    if problems:
        first = [problems[row] for row in sorted(problems)[:10]]
        raise ValueError(
            f"{len(problems):,} of {about['frames']:,} frames cannot be read; replace their files or take them off the "
            f"list, the first {len(first)}: {'; '.join(first)}"
        )


def _decode(source: Source, images: Path, about: dict, chunk: int) -> tuple[int, int | None, dict[int, str]]:
    """Write one chunk: its number and checksum, or, where frames are broken, what is wrong with each."""
    first = chunk * about["chunk"]
    rows = np.arange(first, min(first + about["chunk"], about["frames"]))
    try:
        pixels = np.ascontiguousarray(source.read(rows), dtype=np.uint8)
    except (OSError, ValueError):
        problems = broken(source, rows)
        if not problems:
            raise
        return chunk, None, problems
    with open(images, "r+b") as file:
        file.seek(-(about["frames"] - first) * pixels[0].size, os.SEEK_END)  # the array ends where the file ends
        file.write(pixels)
        file.flush()
        os.fsync(file.fileno())
    return chunk, zlib.crc32(pixels), {}
