"""Where a list of pixels is seen in another picture, and what values it has there.

An affine map is a float64 (2, 3) matrix that takes (y, x, 1) in pixels to (y, x) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.paste.textures import Fit
from inout_aug.sample import Image

Affine: TypeAlias = NDArray[np.float64]
Floats: TypeAlias = NDArray[np.float32]
Indices: TypeAlias = NDArray[np.int32]

# from rows and columns of pixels, (N,) each, to y and x, (N,) each
Follow: TypeAlias = Callable[[Indices, Indices], tuple[Floats, Floats]]

# so many pixels' coordinates stay in a core's cache; cv2.remap takes less than 2**15 columns
_BLOCK = 2**13


def turn(size: tuple[int, int], mirror: Sequence[bool], rotation: float) -> Affine:
    """Return the map through which an image is seen mirrored, then rotated counter-clockwise about its centre.

    Args:
        size: Height and width.
        mirror: Upside down, left to right.
        rotation: In degrees.

    Example:
        >>> turn((4, 6), (True, False), 0.0) @ [0, 0, 1]
        array([3., 0.])
    """
    cosine, sine = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
    flip_y, flip_x = -1.0 if mirror[0] else 1.0, -1.0 if mirror[1] else 1.0
    yy, yx, xy, xx = flip_y * cosine, flip_y * sine, -flip_x * sine, flip_x * cosine
    y, x = (size[0] - 1) / 2, (size[1] - 1) / 2
    return np.array([[yy, yx, y - yy * y - yx * x], [xy, xx, x - xy * y - xx * x]])


def crop(size: tuple[int, int], picture: tuple[int, int], fit: Fit, at: Sequence[float]) -> Affine:
    """Return the map from an image to a picture laid over it.

    Args:
        size: Height and width of the image.
        picture: Height and width of the picture.
        fit: "cover" enlarges or shrinks the picture by one scale, just to fill the image; "stretch" by one scale each.
        at: Which part of the picture is seen where it is larger: (0, 0) the upper left, (1, 1) the lower right.

    Example:
        >>> crop((10, 10), (20, 30), "cover", (0.0, 1.0)) @ [9.5, 9.5, 1]  # the lower right corner
        array([19.5, 29.5])
    """
    scales = [there / here for there, here in zip(picture, size, strict=True)]
    if fit == "cover":
        scales = [min(scales)] * 2
    (down, right), (top, left) = (
        scales,
        [
            (there - scale * here) * part + scale / 2 - 0.5
            for there, here, scale, part in zip(picture, size, scales, at, strict=True)
        ],
    )
    return np.array([[down, 0.0, top], [0.0, right, left]])


def compose(second: Affine, first: Affine) -> Affine:
    """Return the map that does `first`, then `second`."""
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def affine(to_picture: Affine) -> Follow:
    """Return where an affine map sends pixels."""
    (yy, yx, top), (xy, xx, left) = to_picture.astype(np.float32)

    def follow(y: Indices, x: Indices) -> tuple[Floats, Floats]:
        down, right = y.astype(np.float32), x.astype(np.float32)
        return yy * down + yx * right + top, xy * down + xx * right + left

    return follow


def shuffled(to_picture: Affine, size: tuple[int, int], grid: Sequence[int], shuffle: Sequence[int]) -> Follow:
    """Return where an affine map sends pixels after the cells of a grid over the image have been shuffled.

    Args:
        to_picture: The map.
        size: Height and width of the image; they need not be multiples of the grid's.
        grid: Rows and columns of cells.
        shuffle: For each cell, row by row, the cell whose content it gets.
    """
    rows, columns = grid
    corners, row_of, column_of = _cells(size, rows, columns)
    moved = np.take(corners, shuffle, axis=1) - corners
    offset = (to_picture[:, :2] @ moved + to_picture[:, 2:]).reshape(2, rows, columns)
    # what each row of pixels adds in each column of cells, and what each column of pixels adds: many pixels look it up
    by_row = (np.take(offset, row_of, axis=1) + to_picture[:, :1, None] * np.arange(size[0])[:, None]).reshape(2, -1)
    by_column = to_picture[:, 1:2] * np.arange(size[1])
    (down, right), (beside_down, beside_right) = by_row.astype(np.float32), by_column.astype(np.float32)

    def follow(y: Indices, x: Indices) -> tuple[Floats, Floats]:
        at = y * np.int32(columns) + np.take(column_of, x)
        return np.take(down, at) + np.take(beside_down, x), np.take(right, at) + np.take(beside_right, x)

    return follow


@lru_cache(maxsize=64)
def _cells(size: tuple[int, int], rows: int, columns: int) -> tuple[Affine, Indices, Indices]:
    """Return y and x of the upper left corners of a grid's cells, (2, rows * columns), and rows' and columns' cells."""
    height, width = size
    corners = np.indices((rows, columns)).reshape(2, -1) * [[height / rows], [width / columns]]
    row_of, column_of = np.arange(height) * rows // height, np.arange(width) * columns // width
    return corners, row_of.astype(np.int32), column_of.astype(np.int32)


def sample(picture: Image, where: NDArray[np.intp], width: int, follow: Follow) -> Image:
    """Return the values of a picture, as it is seen at pixels of an image: bilinear, mirrored beyond its edges.

    Args:
        picture: uint8 or uint16, (H, W, C).
        where: Flat indices of the pixels, (N,).
        width: Of the image.
        follow: Where in the picture each pixel sees.

    Returns:
        (N, C), of the picture's dtype.

    Example:
        >>> ramp = np.arange(0, 100, 10, dtype=np.uint8).reshape(1, 10, 1)
        >>> mirrored = affine(turn((1, 10), (False, True), 0.0))
        >>> sample(ramp, np.array([0, 3]), 10, mirrored).ravel()
        array([90, 60], dtype=uint8)
    """
    values = np.empty((len(where), picture.shape[2]), picture.dtype)
    for start in range(0, len(where), _BLOCK):
        part = slice(start, start + _BLOCK)
        flat = where[part].astype(np.int32)  # which divides faster
        row = flat // np.int32(width)
        y, x = follow(row, flat - row * np.int32(width))
        seen = cv2.remap(picture, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        values[part] = seen.reshape(-1, picture.shape[2])
    return values
