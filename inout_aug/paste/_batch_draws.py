"""Everything random about the pastes of one batch, drawn on the CPU and sent to the device in three small tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inout_aug.seeding import stream

_LEAST_CELL = 4  # pixels
_MOST_CELLS = 128  # along the diagonal: very elongated pictures have coarser cells across
_CONTRAST = (0.7, 1.3)
_SHIFT = (0.1, 0.3)  # away from zero, so that the structure of an even surface shows on it
_SATURATION = (0.5, 1.5)
_HUE = (-60.0, 60.0)  # degrees
_SEEDS = 1 << 24  # the integers that float32 holds
_PURPOSE = 0x626174636870  # keeps the streams of a seed apart from those of the datasets


class Slots(NamedTuple):
    """What is drawn for each sample that may be painted: columns of float32 (K,), and the shuffled grid (K, cells)."""

    power_y: Tensor  # as many noise cells along the height as this power of two
    power_x: Tensor
    angle: Tensor
    seed: Tensor
    opacity: Tensor
    texture: Tensor  # index, or -1 for the structure source
    crop_y: Tensor
    crop_x: Tensor
    mirror_y: Tensor
    mirror_x: Tensor
    contrast: Tensor
    shift: Tensor
    saturation: Tensor
    hue: Tensor
    shuffle: Tensor


_COLUMNS = len(Slots._fields) - 1


class BatchDraws(NamedTuple):
    """The random numbers of one batch. Shapes follow from the batch's: a new one can be copied over an old one's.

    Attributes:
        table: A row for each sample that may be painted, float32 (K, columns).
        order: Which samples' turn it is first, int64 (B,).
        pace: The share's numerator and denominator, the step, and the numerator's remainder before step 0, int64 (4,).
    """

    table: Tensor
    order: Tensor
    pace: Tensor

    def slots(self) -> Slots:
        """Return the table by column."""
        columns = self.table[:, :_COLUMNS].unbind(1)
        return Slots._make((*columns, self.table[:, _COLUMNS:]))

    def due(self, normals: Tensor) -> Tensor:
        """Return how many of so many normal samples are painted, int64 ().

        Steps with equally many normals add up to the share of them all, to within one sample: with p = share * normals
        and a remainder r this is `floor(p * (step + 1) + r) - floor(p * step + r)`.
        """
        numerator, denominator, step, remainder = self.pace.unbind()
        before = normals * numerator * step + remainder
        return (before + normals * numerator) // denominator - before // denominator

    def to(self, device: torch.device) -> BatchDraws:
        """Return the draws on a device, without waiting for it."""
        if device.type != "cuda" or self.table.is_cuda:
            return BatchDraws(*(part.to(device) for part in self))
        return BatchDraws(*(part.pin_memory().to(device, non_blocking=True) for part in self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """What is drawn from; see `BatchPaste`."""

    share: Fraction
    exact: bool
    cells: tuple[int, int]
    angle: tuple[float, float]
    opacity: tuple[float, float]
    p_texture: float
    textures: int
    grid: tuple[int, int]

    def powers(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the range of exponents of two that the lattice cells along height and width have."""
        diagonal = math.hypot(*size)
        low, high = (cells.bit_length() - 1 for cells in self.cells)
        most = (max(1, min(side // _LEAST_CELL, int(_MOST_CELLS * side / diagonal))) for side in size)
        highest_y, highest_x = (min(high, number.bit_length() - 1) for number in most)
        return (min(low, highest_y), highest_y), (min(low, highest_x), highest_x)

    def finest(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the most lattice cells along height and width."""
        (_, high_y), (_, high_x) = self.powers(size)
        return 1 << high_y, 1 << high_x

    def grid_along(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of the shuffled cells: the larger number goes along the longer side."""
        fewer, more = sorted(self.grid)
        return (more, fewer) if size[0] > size[1] else (fewer, more)


def draw(ranges: Ranges, size: tuple[int, int], batch: int, key: tuple[int, ...]) -> BatchDraws:
    """Draw all that is random about a batch. A row of the table depends on the key and its number alone.

    Args:
        ranges: What to draw from.
        size: Height and width of the pictures.
        batch: Samples in it.
        key: `(seed, epoch, step)`.
    """
    slots = math.ceil(ranges.share * batch)
    cells = ranges.grid[0] * ranges.grid[1]
    rng = stream(_PURPOSE, *key)
    order = rng.permutation(batch)
    uniform = stream(_PURPOSE, *key, 1).random((slots, _COLUMNS + 3 + cells))

    def between(column: int, low: float, high: float) -> NDArray[np.float64]:
        return low + (high - low) * uniform[:, column]

    def power(column: int, low: int, high: int) -> NDArray[np.float64]:
        return np.floor(between(column, low, high + 1))

    powers_y, powers_x = ranges.powers(size)
    table = np.empty((slots, _COLUMNS + cells), np.float32)
    is_texture = uniform[:, _COLUMNS] < (ranges.p_texture if ranges.textures else 0)
    sign = np.where(uniform[:, _COLUMNS + 1] < 0.5, -1, 1)
    columns = {
        "power_y": power(0, *powers_y),
        "power_x": power(1, *powers_x),
        "angle": between(2, *ranges.angle),
        "seed": np.floor(uniform[:, 3] * _SEEDS),
        "opacity": between(4, *ranges.opacity),
        "texture": np.where(is_texture, np.floor(uniform[:, 5] * ranges.textures), -1),
        "crop_y": uniform[:, 6],
        "crop_x": uniform[:, 7],
        "mirror_y": uniform[:, 8] < 0.5,
        "mirror_x": uniform[:, 9] < 0.5,
        # a texture keeps its colours
        "contrast": np.where(is_texture, 1, between(10, *_CONTRAST)),
        "shift": np.where(is_texture, 0, sign * between(11, *_SHIFT)),
        "saturation": np.where(is_texture, 1, between(12, *_SATURATION)),
        "hue": np.where(is_texture, 0, between(13, *_HUE)),
    }
    for number, name in enumerate(Slots._fields[:-1]):
        table[:, number] = columns[name]
    table[:, _COLUMNS:] = uniform[:, _COLUMNS + 3 :].argsort(axis=1)
    numerator, denominator = ranges.share.numerator, ranges.share.denominator
    if ranges.exact:
        pace = (2 * numerator, 2 * denominator, 0, denominator)  # rounds half up
    else:
        pace = (numerator, denominator, key[-1], int(stream(_PURPOSE, *key[:-1]).integers(denominator)))
    return BatchDraws(torch.from_numpy(table), torch.from_numpy(order), torch.tensor(pace))
