"""Decode once: all frames of a source as uint8 in one array on disk, read by index afterwards.

A store is a folder with three files: ``images.npy`` (uint8, N x C x size x size, row i = frame i), ``frames.parquet``
(the frame table) and ``store.json`` (what it was made from). It is built beside its final place, in
``<folder>.partial``: a chunk of frames counts as finished once its bytes have reached the disk and then its number the
file ``finished``, so that a build killed at any moment goes on where it was and ends in the same bytes. The folder
appears by a rename. It is never replaced: whoever builds a store names its folder by the source's fingerprint, so that
changed inputs give another folder.
"""

import errno
import io
import json
import math
import os
import shutil
import sys
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from fasnb.data.frames import FRAME_TYPES
from fasnb.tools.files import locked, replace_file, write_text
from fasnb.tools.workers import parallel_map

FORMAT = 1
PLAN_KEYS = {"format", "fingerprint", "frames", "channels", "size", "chunk"}
FILES = {"images.npy", "frames.parquet", "store.json", "finished"}
CHUNK = 256  # frames decoded, written and recorded together: 20 MB at 5 x 125 x 125
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
    """Frames of a built store.

    Attributes:
        folder: where it lies.
        frames: the frame table, row i = image i.
        fingerprint: that of the source it was built from.
        channels: modality -> number of channels, in the order of the array.
        size: height = width in pixels.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        plan = _read_plan(self.folder)
        if plan is None:
            raise FileNotFoundError(f"{self.folder} is not a finished store; build it first (fasnb.data.store.build)")
        self.fingerprint: str = plan["fingerprint"]
        self.channels: dict[str, int] = plan["channels"]
        self.size: int = plan["size"]
        self.shape = _shape(plan)
        try:
            self.frames = pd.read_parquet(self.folder / "frames.parquet").astype(FRAME_TYPES)
        except (OSError, ValueError, KeyError):
            raise ValueError(f"{self.folder}/frames.parquet is damaged; delete the folder and build it again") from None
        self._file = open(self.folder / "images.npy", "rb", buffering=0)
        self._start = len(_header(plan))
        if not _whole(self.folder, plan) or len(self.frames) != len(self):
            raise ValueError(f"{self.folder} is damaged, its files do not fit together; delete it and build it again")

    @classmethod
    def open(cls, folder: str | Path) -> "Store":
        """The store in a folder.

        Raises:
            FileNotFoundError: there is no finished store.
            ValueError: its files do not fit together.
        """
        return cls(folder)

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self):
        return Store, (self.folder,)

    @cached_property
    def images(self) -> np.memmap:
        """All images, uint8 (N, C, size, size), read-only and mapped: pages are loaded when touched."""
        return np.load(self.folder / "images.npy", mmap_mode="r")

    def read(self, index, pin: bool = False) -> torch.Tensor:
        """Frames by number, uint8 (B, C, size, size).

        Reads the file instead of touching the map: mapped pages would count as memory of this process, all of them
        after one epoch. Reading goes by ascending offset.

        Args:
            index: numbers of the frames, in any order, one dimension.
            pin: return page-locked memory, for copies to a CUDA device that do not wait.

        Raises:
            ValueError: a number outside 0 .. N - 1, or the file is shorter than it was.
        """
        index = np.atleast_1d(np.asarray(index, dtype=np.int64))
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise ValueError(f"{self.folder} has frames 0 to {len(self) - 1}, asked for {index.min()} to {index.max()}")
        images = torch.empty((len(index), *self.shape[1:]), dtype=torch.uint8, pin_memory=pin)
        step = math.prod(self.shape[1:])
        rows = images.numpy().reshape(len(index), step)
        for place in np.argsort(index, kind="stable"):
            if os.preadv(self._file.fileno(), [rows[place]], self._start + int(index[place]) * step) != step:
                raise ValueError(f"{self.folder} is damaged: frame {index[place]} cannot be read whole; rebuild it")
        return images


def build(source: Source, folder: str | Path, workers: int | None = None, progress: bool = True) -> Store:
    """The store of a source: opened if the folder has it, otherwise built, resuming a build that was interrupted.

    Args:
        source: where the frames come from.
        folder: the store's folder. Beside it lie ``<folder>.partial`` while building and ``<folder>.lock``.
        workers: decoding processes; by default one a core, in this process if one suffices.
        progress: show a bar.

    Raises:
        ValueError: frames that cannot be read (the first ten by name and their number), no frames at all, a folder that
            holds another source's store or something else, or a damaged store.
        OSError: the disk is full. As after any error finished chunks are kept.
    """
    folder, plan = Path(folder).absolute(), _plan(source)
    if not _is_built(folder, plan):
        folder.parent.mkdir(parents=True, exist_ok=True)
        said = f"another process builds {folder}; waiting for it"
        with locked(_beside(folder, ".lock"), waiting=partial(print, said, file=sys.stderr)):
            if not _is_built(folder, plan):  # as it may be after waiting
                with _full_disk_explained(folder, plan):
                    unfinished = _prepare(folder, plan)
                    _fill(source, unfinished, plan, workers, progress)
                    _publish(source, unfinished, folder)
    return Store(folder)


def _is_built(folder: Path, plan: dict) -> bool:
    """Whether the folder holds the store; False where nothing is in its place, and refuses what else is there."""
    if not folder.exists() or folder.is_dir() and not any(folder.iterdir()):
        return False
    found = _read_plan(folder)
    if found is None or found["fingerprint"] != plan["fingerprint"]:
        raise ValueError(f"{folder} holds something other than the store of this source; choose another folder")
    return True


def _plan(source: Source) -> dict:
    if not len(source.frames):
        raise ValueError("the source has no frames; check its lists")
    shape = {"frames": len(source.frames), "channels": dict(source.channels), "size": int(source.size)}
    return {"format": FORMAT, "fingerprint": source.fingerprint, **shape, "chunk": CHUNK}


def _shape(plan: dict) -> tuple[int, int, int, int]:
    return plan["frames"], sum(plan["channels"].values()), plan["size"], plan["size"]


def _read_plan(folder: Path) -> dict | None:
    try:
        plan = json.loads((folder / "store.json").read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # not JSON, or not even text
        return None
    known = isinstance(plan, dict) and plan.get("format") == FORMAT and PLAN_KEYS <= plan.keys()
    return plan if known else None


def _header(plan: dict) -> bytes:
    """The start of a .npy file of this shape, so that numpy.load opens it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": _shape(plan)})
    return header.getvalue()


def _file_size(plan: dict) -> int:
    return len(_header(plan)) + math.prod(_shape(plan))


def _whole(folder: Path, plan: dict) -> bool:
    images = folder / "images.npy"
    return images.exists() and images.stat().st_size == _file_size(plan) and (folder / "frames.parquet").exists()


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)


@contextmanager
def _full_disk_explained(folder: Path, plan: dict):
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        need, free = _file_size(plan), shutil.disk_usage(folder.parent).free
        raise OSError(
            error.errno,
            f"no room for the store {folder}: it needs {need:,} bytes and {free:,} are free; free some or choose "
            "another folder (finished chunks are kept)",
        ) from error


def _prepare(folder: Path, plan: dict) -> Path:
    """The unfinished folder with all its space reserved; kept if it is one of the same plan."""
    unfinished = _beside(folder, ".partial")
    if _read_plan(unfinished) == plan:
        return unfinished
    strange = [path.name for path in unfinished.glob("*") if path.name not in FILES and not path.name.startswith(".")]
    if strange:
        raise ValueError(
            f"{unfinished} is needed for building and holds {strange[0]}; move it or choose another folder"
        )
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        _reserve(unfinished / "images.npy", plan)
        write_text(unfinished / "store.json", json.dumps(plan, indent=1))  # last: from here on it can resume
    except OSError:
        shutil.rmtree(unfinished)
        raise
    return unfinished


def _reserve(images: Path, plan: dict) -> None:
    if _file_size(plan) > shutil.disk_usage(images.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with open(images, "wb") as file:
        file.write(_header(plan))
        file.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, _file_size(plan))
        file.truncate(_file_size(plan))
        os.fsync(file.fileno())


def _fill(source: Source, unfinished: Path, plan: dict, workers: int | None, progress: bool) -> None:
    finished = _finished_chunks(unfinished)
    todo = sorted(set(range(math.ceil(plan["frames"] / plan["chunk"]))) - finished)
    write_text(unfinished / "finished", "".join(f"{chunk}\n" for chunk in sorted(finished)))
    broken: list[tuple[int, str]] = []
    decode = partial(_decode_chunk, source, unfinished / "images.npy", plan)
    bar = tqdm(total=plan["frames"], unit="frame", desc="decoding", disable=not progress)
    with open(unfinished / "finished", "a") as record, bar:
        bar.update(sum(len(_rows(plan, chunk)) for chunk in finished))
        for chunk, bad in parallel_map(decode, todo, workers):
            broken += bad
            if not bad:
                record.write(f"{chunk}\n")
                record.flush()
                os.fsync(record.fileno())
            bar.update(len(_rows(plan, chunk)))
    if broken:
        first = "; ".join(message for _, message in sorted(broken)[:10])
        raise ValueError(
            f"{len(broken):,} of {plan['frames']:,} frames cannot be read; replace their files or take them off the "
            f"list, the first {min(10, len(broken))}: {first}"
        )


def _finished_chunks(unfinished: Path) -> set[int]:
    record = unfinished / "finished"
    lines = record.read_text().splitlines(keepends=True) if record.exists() else []
    return {int(line) for line in lines if line.endswith("\n")}  # a kill may leave the last line torn


def _rows(plan: dict, chunk: int) -> np.ndarray:
    return np.arange(chunk * plan["chunk"], min((chunk + 1) * plan["chunk"], plan["frames"]))


def _decode_chunk(source: Source, images: Path, plan: dict, chunk: int) -> list[tuple[int, str]]:
    """Writes one chunk; if frames are broken writes nothing and returns (frame, what is wrong) for each."""
    rows = _rows(plan, chunk)
    broken: list[tuple[int, str]] = []
    try:
        pixels = source.read(rows)
    except (OSError, ValueError):
        pixels = [_read_one(source, row, broken) for row in rows]
        if broken:
            return broken
        pixels = np.concatenate(pixels)
    count, *shape = _shape(plan)
    if pixels.dtype != np.uint8 or pixels.shape != (len(rows), *shape):
        raise TypeError(f"the source gave {pixels.dtype} {pixels.shape} instead of uint8 {(len(rows), *shape)}")
    _write_at(images, len(_header(plan)) + int(rows[0]) * math.prod(shape), np.ascontiguousarray(pixels))
    return broken


def _read_one(source: Source, row: int, broken: list[tuple[int, str]]) -> np.ndarray | None:
    try:
        return source.read(np.array([row]))
    except (OSError, ValueError) as error:
        broken.append((int(row), str(error)))
        return None


def _write_at(path: Path, offset: int, pixels: np.ndarray) -> None:
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        rest = memoryview(pixels).cast("B")
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def _publish(source: Source, unfinished: Path, folder: Path) -> None:
    frames = source.frames.astype(FRAME_TYPES)
    replace_file(unfinished / "frames.parquet", partial(frames.to_parquet, index=False))
    os.rename(unfinished, folder)
    _sync(folder.parent)
    (folder / "finished").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
