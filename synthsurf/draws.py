"""Reproducible random numbers of SynthSURF, and the tables of parameters drawn from them.

Every random number comes from a counter-based hash (``Draws``): it depends on the row's key and on the number's place
in the stream, never on the batch or an earlier call.
"""

import math
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

_MIXER, _GOLDEN = 0x846CA68B - (1 << 32), 0x9E3779B9 - (1 << 32)  # as signed 32-bit integers


def _mix(x: Tensor, key: Tensor) -> Tensor:
    """Bijective 32-bit mixer (two multiply-xorshift rounds), in place; ``key`` is added between the rounds."""
    x ^= (x >> 16).bitwise_and_(0xFFFF)  # the mask makes the arithmetic shift a logical one
    x *= 0x7FEB352D
    x += key
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= _MIXER
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    return x


def row_keys(rows: int, *words: int | Tensor) -> Tensor:
    """Fold integers into one 64-bit key a row, int32 (rows, 2). A word is an int or an int64 tensor (rows,)."""
    low = torch.zeros(rows, dtype=torch.int32)
    high = torch.full_like(low, 0x3C6EF372)
    for word in words:
        word = torch.as_tensor(word, dtype=torch.int64).expand(rows)
        low = _mix(low ^ word.to(torch.int32), high)
        high = _mix(high ^ (word >> 32).to(torch.int32), low)
    return torch.stack([low, high], 1)


class Draws:
    """A stream of random numbers for each row: number i of row r is a hash of (key of r, i).

    Integer arithmetic makes the uniform numbers equal on every processor; normal ones agree to float32 rounding.
    """

    def __init__(self, keys: Tensor):
        self.keys = keys
        self.used = 0

    def words(self, count: int) -> Tensor:
        """The next ``count`` 32-bit words of each row, int32 (n, count)."""
        place = torch.arange(self.used, self.used + count, dtype=torch.int32)
        self.used += count
        return _mix((place * _GOLDEN) ^ self.keys[:, :1], self.keys[:, 1:])

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Uniform numbers between low and high, (n, *shape, 1, 1)."""
        words = self.words(math.prod(shape)).view(-1, *shape, 1, 1)
        return low + (high - low) * ((words >> 8).bitwise_and_(0xFFFFFF).float() + 0.5) * 2.0**-24

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, (n, *shape, 1, 1)."""
        words = self.words(math.prod(shape)).view(-1, *shape, 1, 1)
        return _box_muller(words)[0]

    def normal_maps(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Two maps of independent standard normal numbers, each (n, rows, columns)."""
        return _box_muller(self.words(rows * columns).view(-1, rows, columns))


def _box_muller(words: Tensor) -> tuple[Tensor, Tensor]:
    """Two standard normal numbers from the two halves of each word; the largest magnitude is 4.9."""
    high, low = (words >> 16).bitwise_and_(0xFFFF), words.bitwise_and(0xFFFF)
    magnitude, angle = (half.float().add_(0.5).mul_(2.0**-16) for half in (high, low))
    magnitude.log_().mul_(-2.0).sqrt_()
    angle.mul_(2 * math.pi)
    return angle.cos().mul_(magnitude), angle.sin().mul_(magnitude)


@dataclass
class Rows:
    """A table of parameters: every field is a tensor, or a table, with one row a frame (or subject, or video), or None."""

    def take(self, rows: slice) -> Self:
        """The table with some of its rows."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        cut = {name: c.take(rows) if isinstance(c, Rows) else c[rows] for name, c in columns.items() if c is not None}
        return type(self)(**(columns | cut))
