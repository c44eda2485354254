"""What every renderer of SynthSURF needs: streams of random numbers, reproducible batches, checks and fingerprints."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

RENDERER_VERSION = 2  # raise it with every change that alters a pixel: new stores are built then
ROW_BLOCK = 32
# A stream of random numbers for each set of people; A and B are the populations of the face recognition task.
STREAMS = {"train": 1, "valid": 2, "test": 3, "A": 4, "B": 5, "gender": 6, "generic": 7}
_BLOCK = 256  # frames whose parameters are drawn together
_PIXELS_AT_ONCE = {"cpu": 1 << 17, "cuda": 1 << 22}  # on the CPU a map then stays in the cache


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread and no gradients; the number of threads is as before afterwards.

    One thread because what a thread gets of a map may end within a vector register. Processes share out the frames.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def padded(*columns: np.ndarray) -> list[Tensor]:
    """Columns of integers as int64 tensors, the last row repeated to a multiple of ``ROW_BLOCK``."""
    extra = -len(columns[0]) % ROW_BLOCK
    return [torch.from_numpy(np.pad(np.asarray(c, dtype=np.int64), (0, extra), mode="edge")) for c in columns]


def blocks(count: int) -> Iterator[slice]:
    """Cut rows into blocks whose parameters are drawn together."""
    return (slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))


def tiles(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """Cut the rows of a block into batches of maps that suit the device."""
    step = max(1, _PIXELS_AT_ONCE.get(device.type, 1 << 22) // size**2)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def checked_indices(indices, count: int) -> np.ndarray:
    """Indices as int64 (n,); a ValueError for one that is not there."""
    index = np.asarray(indices)
    if index.size == 0:
        index = index.astype(np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(f"frame indices must be one sequence of integers, got {index.dtype} of shape {index.shape}")
    if index.size and (index.min() < 0 or index.max() >= count):
        wrong = index[(index < 0) | (index >= count)][0]
        raise ValueError(f"frame index {wrong} is out of range; there are {count:,} frames, the first is 0")
    return index.astype(np.int64)


def require_positive(**values: int) -> None:
    """A ValueError for a value, named as the argument, that is no whole number of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def require_common(size: int, seed: int) -> None:
    """A ValueError for a size (pixels) or a seed that makes no sense."""
    require_positive(size=size)
    if size < 16:
        raise ValueError(f"size is {size}; frames need at least 16 pixels a side")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 63:
        raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2**63 - 1")


def fingerprint_of(**spec) -> str:
    """Hex sha256 of a specification and of the renderer's version."""
    text = json.dumps({"renderer": RENDERER_VERSION, **spec}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
