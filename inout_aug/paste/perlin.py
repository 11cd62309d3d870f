"""Perlin noise by small matrix products, at any size and angle."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, Protocol, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

# So many samples per cell are interpolated, on the canvas and again when the field is enlarged. It is then off by less
# than 0.03, and its area above 0.5 by a hundredth on average (measured).
_SAMPLES = 8
# Coarser ones would show, as corners of the outline of a mask.
_GREATEST_STEP = 4


class Field(Protocol):
    """A smooth random field, zero on average, that exceeds 0.5 on a few per cent of its area."""

    def __call__(self, height: int, width: int, *, cells: tuple[int, int], angle: float, seed: int) -> Floats:
        """Draw the field of a seed.

        Args:
            height: In pixels.
            width: In pixels.
            cells: Number of lattice cells along the height and along the width before rotation: more is finer.
            angle: Rotation in degrees, counter-clockwise.
            seed: Fixes the field.

        Returns:
            float32, (height, width).
        """
        ...


class Perlin:
    """Perlin's gradient noise (Perlin, "Improving noise", 2002), scaled by √2 as in the DRAEM and MemSeg code.

    Unlike theirs it needs no divisibility of the size by the number of cells, and a rotated field has no empty
    corners: it is sampled on the bounding canvas of the rotated image, which one affine warp rotates. Of cells many
    pixels wide both have fewer samples than pixels. Without rotation the field is exact.

    Args:
        zero_corners: Rotate the image canvas itself and fill its corners with zeros, as the published codes do. On
            elongated images this leaves much of the field empty.

    Example:
        >>> Perlin()(64, 100, cells=(2, 4), angle=30.0, seed=7).shape
        (64, 100)
    """

    def __init__(self, *, zero_corners: bool = False) -> None:
        self.zero_corners = zero_corners

    def __repr__(self) -> str:
        return f"Perlin(zero_corners={self.zero_corners})"

    def __call__(self, height: int, width: int, *, cells: tuple[int, int], angle: float, seed: int) -> Floats:
        """Draw the field of a seed; see `Field`.

        Raises:
            ValueError: A size or a number of cells is below 1.
        """
        if min(height, width, *cells) < 1:
            raise ValueError(f"a field has at least 1 pixel and 1 cell per axis; got {height}×{width}, cells={cells}")
        if angle == 0:
            return perlin_field(*random_gradients(*cells, seed), height, width)
        if self.zero_corners:
            upright = perlin_field(*random_gradients(*cells, seed), height, width)
            turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
            return cast(Floats, cv2.warpAffine(upright, turn, (width, height)))
        return _rotated(height, width, cells, angle, seed)


def random_gradients(rows: int, columns: int, seed: int) -> tuple[Floats, Floats]:
    """Draw unit gradients for a lattice of cells.

    Args:
        rows: Number of cells along y.
        columns: Number of cells along x.
        seed: Fixes them.

    Returns:
        Their y and x components, float32, (rows + 1, columns + 1) each.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    direction = rng.random((rows + 1, columns + 1), dtype=np.float32) * np.float32(2 * math.pi)
    return np.sin(direction), np.cos(direction)


def perlin_field(
    gradient_y: Floats, gradient_x: Floats, height: int, width: int, blur: tuple[float, float] = (0.0, 0.0)
) -> Floats:
    """Return √2 times the Perlin noise of given gradients.

    With `Wy` the fade weights of each row of pixels for the lattice lines, `Dy` these weights times the row's offset to
    the line, and `Wx`, `Dx` likewise for columns, the noise is `(Wy @ Gx) @ Dx.T + (Dy @ Gy) @ Wx.T`. A pixel has only
    two lattice lines beside it, so the products are taken cell by cell: cheaper than the whole, mostly zero matrices,
    and too small for a BLAS library to start threads inside a loader worker.

    Args:
        gradient_y: y components on the lattice, (rows + 1, columns + 1), in units of the noise per cell.
        gradient_x: x components, likewise.
        height: Pixels sampled along y; pixel i lies at `i * rows / height` cells.
        width: Pixels sampled along x.
        blur: Sharpen the field along y and x against an interpolation of its samples, which adds these multiples of its
            second derivatives on average; in squares of a cell.

    Returns:
        float32, (height, width).

    Example:
        >>> y, x = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
        >>> float(perlin_field(y, x, 4, 4)[0, 2])  # half way between two opposed ramps
        0.0
    """
    rows, columns = (lines - 1 for lines in gradient_y.shape)
    along_y, along_x = _axis(height, rows, blur[0]), _axis(width, columns, blur[1])
    ramps = _spread(gradient_x, along_x.offset, along_x.pixels)
    fades = _spread(gradient_y, along_x.fade, along_x.pixels)
    beside = np.stack([ramps[:-1], ramps[1:], fades[:-1], fades[1:]], axis=1)
    field: Floats = (along_y.both @ beside).reshape(-1, width)
    return field if along_y.pixels is None else field[along_y.pixels]


class _Axis(NamedTuple):
    """What the two lattice lines around each pixel of an axis contribute to it.

    Cells hold differing numbers of pixels unless the size is a multiple, so each has as many slots as the fullest.
    """

    fade: Floats  # (cells or 1, slots, 2)
    offset: Floats  # (cells or 1, slots, 2): fade times the distance to the line, in cells
    both: Floats  # (cells or 1, slots, 4): √2 times fade, then offset
    pixels: NDArray[np.intp] | None  # which slots are pixels; None if all are


@lru_cache(maxsize=512)
def _axis(size: int, cells: int, blur: float) -> _Axis:
    pixel = np.arange(size)
    cell = pixel * cells // size
    t = pixel * (cells / size) - cell
    slot = pixel - np.searchsorted(cell, cell)
    slots = int(slot.max()) + 1
    beside = np.stack([t, 1 - t], axis=1)  # distances from the lines before and after
    fade = np.zeros((cells, slots, 2), np.float32)
    offset = np.zeros_like(fade)
    fade[cell, slot], offset[cell, slot] = _fade_and_ramp(beside, blur)
    offset[..., 1] *= -1
    uniform = cells * slots == size
    if uniform:
        fade, offset = fade[:1], offset[:1]
    both = np.concatenate([fade, offset], axis=2) * np.float32(math.sqrt(2))
    return _Axis(fade, offset, both, None if uniform else cell * slots + slot)


def _fade_and_ramp(t: NDArray[np.float64], blur: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the fade weight at distances from a line, in cells, and that times the distance, less `blur` times f''."""
    rest = 1 - t
    fade = 1 - t**3 * (t * (6 * t - 15) + 10)
    bend = 60 * t * rest
    return fade + blur * bend * (rest - t), t * fade + blur * bend * (t * (rest - t) + t * rest)


def _spread(gradient: Floats, weight: Floats, pixels: NDArray[np.intp] | None) -> Floats:
    """Carry one gradient component from the lattice points to the pixels along each lattice line."""
    cells = gradient[:, :-1, None] * weight[..., 0] + gradient[:, 1:, None] * weight[..., 1]
    spread: Floats = cells.reshape(len(gradient), -1)
    return spread if pixels is None else spread[:, pixels]


def _rotated(height: int, width: int, cells: tuple[int, int], angle: float, seed: int) -> Floats:
    cell_y, cell_x = height / cells[0], width / cells[1]
    step = min(max(int(min(cell_y, cell_x)) // _SAMPLES, 1), _GREATEST_STEP)
    # One sample beyond each edge, to interpolate to; none is needed where each pixel is a sample.
    margin = 0 if step == 1 else 1
    samples_y, samples_x = -(-height // step) + 2 * margin, -(-width // step) + 2 * margin
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    # The bounding box of the samples in the rotated frame, in cells.
    extent_y = step * (abs(cosine) * samples_y + abs(sine) * samples_x) / cell_y
    extent_x = step * (abs(cosine) * samples_x + abs(sine) * samples_y) / cell_x
    rows, columns = math.ceil(extent_y + 2 / _SAMPLES), math.ceil(extent_x + 2 / _SAMPLES)
    # Interpolation between samples at distance h is off by h² f'' / 12 on average; the second one is that of pixels.
    blur_y, blur_x = (((1 / _SAMPLES) ** 2 + (margin * step / cell) ** 2) / 12 for cell in (cell_y, cell_x))
    gradients = random_gradients(rows, columns, seed)
    canvas = perlin_field(*gradients, rows * _SAMPLES, columns * _SAMPLES, (blur_y, blur_x))
    by_y, by_x = step * _SAMPLES / cell_y, step * _SAMPLES / cell_x
    to_canvas = np.array([[by_x * cosine, -by_x * sine, 0.0], [by_y * sine, by_y * cosine, 0.0]])
    middle = np.array([columns, rows]) * (_SAMPLES / 2)
    to_canvas[:, 2] = middle - to_canvas[:, :2] @ [margin + (side / step - 1) / 2 for side in (width, height)]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    field = cv2.warpAffine(canvas, to_canvas, (samples_x, samples_y), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if step > 1:
        field = cv2.resize(field, (samples_x * step, samples_y * step), interpolation=cv2.INTER_LINEAR)
        field = field[step : step + height, step : step + width]
    return cast(Floats, field)
