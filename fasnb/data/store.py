"""Decode once: all frames of a source as uint8 in one array on disk, read by index afterwards.

A store is a folder with three files: ``images.npy`` (uint8, N x C x size x size, row i = frame i), ``frames.parquet``
(the frame table) and ``store.json`` (what it is made from and a checksum of each chunk of frames, sealed). A chunk is
compared when a process first reads of it. A store is built in ``<folder>.partial``, which a killed build leaves and the
next removes, and appears by a rename. It is never replaced: who builds it names its folder by the source's fingerprint.
"""

import os
import shutil
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from fasnb.data.frames import FRAME_TYPES, with_types
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

    Raises FileNotFoundError where the folder has no finished store, Damaged where its files are not what was written.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        about = sealed(self.folder, ABOUT) if (self.folder / ABOUT).is_file() else {}
        if about.get("format") != FORMAT:
            raise FileNotFoundError(f"{folder} is no finished store; remove it, and the same command builds it again")
        self.fingerprint: str = about["fingerprint"]
        self.channels: dict[str, int] = about["channels"]
        self.size: int = about["size"]
        self.frames = with_types(pd.read_parquet(whole(self.folder, "frames.parquet", ABOUT)), FRAME_TYPES)
        self._shape = about["frames"], sum(self.channels.values()), self.size, self.size
        self._chunk, self._checksums = about["chunk"], about["checksums"]
        self._compared: set[int] = set()
        self._images()  # refuses a file that was cut off

    def __len__(self) -> int:
        return self._shape[0]

    def check(self) -> None:
        """Read and compare every frame. Raises Damaged."""
        self._compare(range(len(self._checksums)), self._images())

    def read(self, index, pin: bool = False) -> torch.Tensor:
        """Frames by number, uint8 (B, C, size, size); ``pin``: page-locked, for copies to CUDA that do not wait.

        Raises ValueError for a number outside 0 .. N - 1, Damaged where a frame is not what was written.
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


def build_store(source: Source, folder: str | Path, workers: int = 0, progress: bool = True) -> Store:
    """The store of a source: opened if the folder has it, otherwise built by ``workers`` processes, 0 = one a core.

    Raises ValueError where frames cannot be read (the first ten by name and their number), there are none, or the
    folder holds another source's store or a damaged one; OSError where it is no store, or the disk is full.
    """
    folder = Path(folder).absolute()
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.exists():
            _write(source, folder.with_name(folder.name + ".partial"), workers, progress).rename(folder)
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


def _write(source: Source, folder: Path, workers: int, progress: bool) -> Path:
    """The files of a store, in a folder of their own, which they begin anew."""
    count, channels = len(source.frames), sum(source.channels.values())
    if not count:
        raise ValueError("the source has no frames; check its lists")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    images = folder / "images.npy"
    np.lib.format.open_memmap(images, "w+", np.uint8, (count, channels, source.size, source.size))
    chunks = [range(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    results, checksums, problems = parallel(partial(_decode, source, images), chunks, workers), {}, {}
    for chunk, checksum, found in tqdm(results, total=len(chunks), unit="chunk", desc="decoding", disable=not progress):
        checksums[chunk] = checksum
        problems |= found
    if problems:
        first = [problems[row] for row in sorted(problems)[:10]]
        what = f"{len(problems):,} of {count:,} frames cannot be read; replace their files or take them off the list"
        raise ValueError(f"{what}, the first {len(first)}: {'; '.join(first)}")
    replace_file(folder / "frames.parquet", partial(with_types(source.frames, FRAME_TYPES).to_parquet, index=False))
    about = {"format": FORMAT, "fingerprint": source.fingerprint, "frames": count, "channels": dict(source.channels)}
    about |= {"size": int(source.size), "chunk": CHUNK, "checksums": [checksums[chunk] for chunk in chunks]}
    seal(folder, about, ["frames.parquet"], ABOUT)
    return folder


def _decode(source: Source, images: Path, chunk: range) -> tuple[range, int | None, dict[int, str]]:
    """Write one chunk: its frames and checksum, or, where frames are broken, what is wrong with each."""
    try:
        pixels = np.ascontiguousarray(source.read(np.array(chunk)), dtype=np.uint8)
    except (OSError, ValueError):
        problems = broken(source, chunk)
        if not problems:
            raise
        return chunk, None, problems
    with open(images, "r+b") as file:
        file.seek(-(len(source.frames) - chunk.start) * pixels[0].size, os.SEEK_END)  # the array ends with the file
        file.write(pixels)
        file.flush()
        os.fsync(file.fileno())
    return chunk, zlib.crc32(pixels), {}
