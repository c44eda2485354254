"""Decode once: all frames of a source as uint8 in one array on disk, read by index afterwards.

A store is a folder with four files: ``images.npy`` (uint8, N x C x size x size, row i = frame i), ``checksums`` (CRC-32 of
each frame), ``frames.parquet`` (the frame table) and ``store.json`` (what it was made from, and the SHA-256 of the two
before it). A frame is compared with its checksum when a process first reads it. A store is built beside its final place,
in ``<folder>.partial``: a chunk of frames counts as finished once its bytes have reached the disk and then its number the
file ``finished``, so that a build killed at any moment goes on where it was and ends in the same bytes. The folder
appears by a rename. It is never replaced: whoever builds a store names its folder by the source's fingerprint, so that
changed inputs give another folder.
"""

import errno
import io
import math
import os
import shutil
import sys
import zlib
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from fasnb.data.frames import FRAME_TYPES
from fasnb.tools.files import explained, file_sha256, locked, replace_file, write_text
from fasnb.tools.seals import Damaged, read_sealed, require, write_sealed
from fasnb.tools.workers import parallel_map

FORMAT = 2
PLAN_KEYS = {"format", "fingerprint", "frames", "channels", "size", "chunk"}
CHECKED = ("checksums", "frames.parquet")
FILES = {"images.npy", "store.json", "finished", *CHECKED}
CHUNK = 256  # frames decoded, written and recorded together: 20 MB at 5 x 125 x 125


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
        if not _whole(self.folder, plan):
            raise Damaged(f"{self.folder} is damaged, its files do not fit together; {_again(self.folder)}")
        for name in CHECKED:
            require(self.folder / name, plan["sha256"].get(name), _again(self.folder))
        self.frames = pd.read_parquet(self.folder / "frames.parquet").astype(FRAME_TYPES)
        self._checksums = np.fromfile(self.folder / "checksums", dtype="<u4")
        self._checked = np.zeros(len(self), dtype=bool)
        self._file = open(self.folder / "images.npy", "rb", buffering=0)
        self._start = len(_header(plan))
        if os.pread(self._file.fileno(), self._start, 0) != _header(plan):
            raise Damaged(f"{self.folder}/images.npy is damaged: its header; {_again(self.folder)}")

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
        self.check()
        return np.load(self.folder / "images.npy", mmap_mode="r")

    def check(self) -> None:
        """Read every frame. Raises Damaged."""
        for first in range(0, len(self), CHUNK):
            self.read(range(first, min(first + CHUNK, len(self))))

    def read(self, index, pin: bool = False) -> torch.Tensor:
        """Frames by number, uint8 (B, C, size, size).

        Reads the file instead of touching the map: mapped pages would count as memory of this process, all of them
        after one epoch. Reading goes by ascending offset. A frame is compared with its checksum when it is first read.

        Args:
            index: numbers of the frames, in any order, one dimension.
            pin: return page-locked memory, for copies to a CUDA device that do not wait.

        Raises:
            ValueError: a number outside 0 .. N - 1.
            Damaged: a frame is not what was written.
        """
        index = np.atleast_1d(np.asarray(index, dtype=np.int64))
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise ValueError(f"{self.folder} has frames 0 to {len(self) - 1}, asked for {index.min()} to {index.max()}")
        images = torch.empty((len(index), *self.shape[1:]), dtype=torch.uint8, pin_memory=pin)
        step = math.prod(self.shape[1:])
        rows = images.numpy().reshape(len(index), step)
        for place in np.argsort(index, kind="stable"):
            number = index[place]
            whole = os.preadv(self._file.fileno(), [rows[place]], self._start + int(number) * step) == step
            if not self._checked[number]:
                whole = whole and zlib.crc32(rows[place]) == self._checksums[number]
                self._checked[number] = whole
            if not whole:
                raise Damaged(f"{self.folder}/images.npy is damaged: frame {number}; {_again(self.folder)}")
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
                with explained(folder, _file_size(plan)):
                    unfinished = _prepare(folder, plan)
                    _fill(source, unfinished, plan, workers, progress)
                    _publish(source, unfinished, folder, plan)
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


def _again(folder: Path) -> str:
    return f"remove the folder {folder} to build it again"


def _read_plan(folder: Path) -> dict | None:
    """What the store in a folder was made from, None where there is none. Raises Damaged."""
    try:
        plan = read_sealed(folder / "store.json", _again(folder))
    except (FileNotFoundError, NotADirectoryError):
        return None
    return plan if plan.get("format") == FORMAT and PLAN_KEYS <= plan.keys() else None


def _header(plan: dict) -> bytes:
    """The start of a .npy file of this shape, so that numpy.load opens it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": _shape(plan)})
    return header.getvalue()


def _file_size(plan: dict) -> int:
    return len(_header(plan)) + math.prod(_shape(plan))


def _whole(folder: Path, plan: dict) -> bool:
    sizes = {"images.npy": _file_size(plan), "checksums": 4 * plan["frames"]}
    there = all((folder / name).is_file() for name in (*sizes, *CHECKED))
    return there and all((folder / name).stat().st_size == size for name, size in sizes.items())


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)


def _prepare(folder: Path, plan: dict) -> Path:
    """The unfinished folder with all its space reserved; kept if it is one of the same plan."""
    unfinished = _beside(folder, ".partial")
    try:
        found = _read_plan(unfinished)
        if found is not None and {key: found[key] for key in plan} == plan:
            return unfinished
    except Damaged:
        pass  # nothing of it has been read, so that it is begun anew
    strange = [path.name for path in unfinished.glob("*") if path.name not in FILES and not path.name.startswith(".")]
    if strange:
        raise ValueError(
            f"{unfinished} is needed for building and holds {strange[0]}; move it or choose another folder"
        )
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        _reserve(unfinished / "images.npy", plan)
        (unfinished / "checksums").write_bytes(bytes(4 * plan["frames"]))
        write_sealed(unfinished / "store.json", plan)  # last: from here on it can resume
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
    chunks = set(range(math.ceil(plan["frames"] / plan["chunk"])))
    finished = _finished_chunks(unfinished) & chunks
    todo = sorted(chunks - finished)
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
    lines = record.read_text(errors="replace").splitlines(keepends=True) if record.exists() else []
    whole = (line.strip() for line in lines if line.endswith("\n"))  # a kill may leave the last line torn
    return {int(line) for line in whole if line.isdecimal()}


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
    pixels = np.ascontiguousarray(pixels)
    checksums = np.array([zlib.crc32(frame) for frame in pixels], dtype="<u4")
    _write_at(images, len(_header(plan)) + int(rows[0]) * math.prod(shape), pixels)
    _write_at(images.with_name("checksums"), 4 * int(rows[0]), checksums)
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


def _publish(source: Source, unfinished: Path, folder: Path, plan: dict) -> None:
    frames = source.frames.astype(FRAME_TYPES)
    replace_file(unfinished / "frames.parquet", partial(frames.to_parquet, index=False))
    write_sealed(
        unfinished / "store.json", plan | {"sha256": {name: file_sha256(unfinished / name) for name in CHECKED}}
    )
    os.rename(unfinished, folder)
    _sync(folder.parent)
    (folder / "finished").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
