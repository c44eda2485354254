"""What every renderer of SynthSURF needs: streams of random numbers, reproducible batches, checks and fingerprints."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from synthsurf.draws import Rows, row_keys

RENDERER_VERSION = 3  # raise it with every change that alters a pixel: new stores are built then
ROW_BLOCK = 32
# A stream of random numbers for each set of people; A and B are the populations of the face recognition task.
STREAMS = {"train": 1, "valid": 2, "test": 3, "A": 4, "B": 5, "gender": 6, "generic": 7}
_BLOCK = 256  # frames whose parameters are drawn together
_PIXELS_AT_ONCE = 1 << 17  # of one map in a batch


class Renderer:
    """Images by number; each is a function of the seed, the stream and its number alone. Subclasses say what is drawn."""

    planes: int  # channels of an image

    def __init__(self, size: int, seed: int, stream: str):
        require_positive(size=size)
        if size < 16:
            raise ValueError(f"size is {size}; frames need at least 16 pixels a side")
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 63:
            raise ValueError(f"seed is {seed!r}; it must be a whole number from 0 to 2**63 - 1")
        self.size, self.seed, self._stream = int(size), int(seed), STREAMS[stream]

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Images as uint8 (n, planes, size, size): R, G, B and, of a frame, depth (nearer is brighter, 0 = hole), infrared.

        Raises:
            ValueError: an index that is not there.
        """
        index = _checked_indices(indices, len(self))
        out = np.empty((len(index), self.planes, self.size, self.size), dtype=np.uint8)
        with one_thread():
            blocks = [group[at : at + _BLOCK] for group in self._groups(index) for at in range(0, len(group), _BLOCK)]
            for block in blocks:
                parameters = self._parameters(index[block])
                for tile in tiles(len(block), self.size):
                    out[block[tile]] = self._render(parameters.take(tile))[:, :, : self.size].numpy()
        return out

    def _groups(self, index: np.ndarray) -> list[np.ndarray]:
        """Places in ``index`` of the images that are drawn alike."""
        return [np.arange(len(index))]

    def _parameters(self, index: np.ndarray) -> Rows:
        """The parameters of a block of images, rows padded."""
        raise NotImplementedError

    def _render(self, parameters: Rows) -> Tensor:
        """Images, uint8 (n, planes, rows, size) with rows >= size."""
        raise NotImplementedError

    def _keys(self, part: int, *words: Tensor) -> Tensor:
        return row_keys(len(words[0]), self.seed, self._stream, part, *words)


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


def tiles(count: int, size: int) -> list[slice]:
    """Cut ``count`` rows into batches of maps of ``size`` that stay in the processor's cache."""
    step = max(1, _PIXELS_AT_ONCE // size**2)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _checked_indices(indices: Sequence[int], count: int) -> np.ndarray:
    index = np.asarray(indices)
    if index.size == 0:
        index = index.astype(np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(f"frame indices must be one sequence of integers, got {index.dtype} of shape {index.shape}")
    wrong = index[(index < 0) | (index >= count)]
    if wrong.size:
        raise ValueError(f"frame index {wrong[0]} is out of range; there are {count:,} frames, the first is 0")
    return index.astype(np.int64)


def require_positive(**values: int) -> None:
    """A ValueError for a value, named as the argument, that is no whole number of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")


def fingerprint_of(**spec) -> str:
    """Hex sha256 of a specification and of the renderer's version."""
    text = json.dumps({"renderer": RENDERER_VERSION, **spec}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
