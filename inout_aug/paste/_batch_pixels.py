"""The pixels of a batch that are computed: the painted ones alone, or all.

Which picture a pixel is of is told for each of the K slots that paint. Values of pixels have shape (C, *S): S is (n,)
for n painted pixels, slot by slot, and (K, H, W) for all pixels.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

# Of pixels in pictures; each class below has its own.
Place: TypeAlias = Any


class Everywhere:
    """All pixels, on any device: to find the painted ones would mean to wait for it.

    Args:
        painted: Which pixels of each slot are painted, bool (K, H, W).

    Attributes:
        y: Row of each pixel, of a shape that broadcasts to S; likewise:
        x: Its column.
        number: Its number, counted along rows.
        any: Which slots have painted pixels, bool (K,).
    """

    def __init__(self, painted: Tensor) -> None:
        self._painted = painted
        slot, y, self.x = (torch.arange(length, device=painted.device) for length in painted.shape)
        self._slot, self.y = slot[:, None, None], y[:, None]
        self.number = self.y * painted.shape[2] + self.x
        self.any = painted.amax((1, 2))

    def spread(self, values: Tensor) -> Tensor:
        """Give each pixel what its slot has: (..., K) to (..., *S)."""
        return values[..., None, None]

    def look_up(self, table: Tensor, at: Tensor) -> Tensor:
        """Return for each pixel an entry of its slot's row in a table, (K, L)."""
        return table[self._slot, at]

    def place(self, pictures: Tensor, which: Tensor, number: Tensor) -> Place:
        """Say where pixels of some numbers are in pictures (N, C, H, W): in which is told for each slot, int64 (K,)."""
        return which, number

    def read(self, pictures: Tensor, place: Place) -> Tensor:
        """Return the pixels at a place, (C, *S)."""
        which, number = place
        return pictures.flatten(2).movedim(1, 0)[:, self.spread(which), number]

    def write(self, pictures: Tensor, place: Place, values: Tensor) -> None:
        """Write values that broadcast to (C, *S) to the painted pixels; the place is that of their own numbers."""
        which, _ = place
        pictures[which] = torch.where(self._painted[:, None], values.movedim(0, 1), pictures[which])


class Painted:
    """The painted pixels, on the CPU, where to find them takes less than to compute them all.

    Args:
        painted: As for `Everywhere`; likewise the attributes and methods.
    """

    def __init__(self, painted: Tensor) -> None:
        slots, height, width = painted.shape
        # numpy finds, repeats and divides several times faster than torch
        flat = np.flatnonzero(painted.numpy())
        first = np.arange(slots + 1) * (height * width)
        self._count = np.diff(np.searchsorted(flat, first))
        number = (flat - np.repeat(first[:-1], self._count)).astype(np.int32)
        y = number // np.int32(width)
        self.y, self.x, self.number = (torch.from_numpy(part) for part in (y, number - y * np.int32(width), number))
        self.any = torch.from_numpy(self._count > 0)

    def spread(self, values: Tensor) -> Tensor:
        """Give each pixel what its slot has."""
        return torch.from_numpy(np.repeat(values.numpy(), self._count, axis=-1))

    def look_up(self, table: Tensor, at: Tensor) -> Tensor:
        """Return for each pixel an entry of its slot's row in a table."""
        return torch.take(table, self.spread(torch.arange(0, table.numel(), table.shape[1])) + at)

    def place(self, pictures: Tensor, which: Tensor, number: Tensor) -> Place:
        """Say where pixels are in the memory of pictures of any format: one index is followed fastest."""
        (_, channels, _, width), (of_picture, of_channel, of_row, of_column) = pictures.shape, pictures.stride()
        if of_row != width * of_column:
            number = number // width * of_row + number % width * of_column
        elif of_column != 1:
            number = number * of_column
        return self.spread(which * of_picture) + number + torch.arange(channels)[:, None] * of_channel

    def read(self, pictures: Tensor, place: Place) -> Tensor:
        """Return the pixels at a place."""
        return torch.take(_memory(pictures), place)

    def write(self, pictures: Tensor, place: Place, values: Tensor) -> None:
        """Write values to the pixels at a place."""
        _memory(pictures)[place] = values


Pixels: TypeAlias = Everywhere | Painted


def _memory(pictures: Tensor) -> Tensor:
    """Return the memory of pictures, from the first value to the last, as one row."""
    last = sum((length - 1) * stride for length, stride in zip(pictures.shape, pictures.stride(), strict=True))
    return pictures.as_strided((last + 1,), (1,))
