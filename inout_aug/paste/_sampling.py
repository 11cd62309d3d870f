"""Where a list of pixels is seen in another picture, and what values it has there.

An affine map is a float64 (2, 3) matrix that takes (y, x, 1) in pixels to (y, x) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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

# cv2.remap takes no more columns.
_COLUMNS = 2**15 - 2


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


def follow(to_picture: Affine, y: Indices, x: Indices) -> tuple[Floats, Floats]:
    """Return where an affine map sends pixels: y and x, (N,) each."""
    (yy, yx, top), (xy, xx, left) = to_picture.astype(np.float32)
    down, right = y.astype(np.float32), x.astype(np.float32)
    return yy * down + yx * right + top, xy * down + xx * right + left


def follow_shuffled(
    to_picture: Affine, y: Indices, x: Indices, *, size: tuple[int, int], grid: Sequence[int], shuffle: Sequence[int]
) -> tuple[Floats, Floats]:
    """Return where an affine map sends pixels after the cells of a grid over the image have been shuffled.

    Args:
        to_picture: The map.
        y: Row of each pixel, (N,).
        x: Column of each pixel, (N,).
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
    at = y * np.int32(columns) + np.take(column_of, x)
    sent_y, sent_x = (
        np.take(down, at) + np.take(right, x)
        for down, right in zip(by_row.astype(np.float32), by_column.astype(np.float32), strict=True)
    )
    return sent_y, sent_x


@lru_cache(maxsize=64)
def _cells(size: tuple[int, int], rows: int, columns: int) -> tuple[Affine, Indices, Indices]:
    """Return y and x of the upper left corners of a grid's cells, (2, rows * columns), and rows' and columns' cells."""
    height, width = size
    corners = np.indices((rows, columns)).reshape(2, -1) * [[height / rows], [width / columns]]
    row_of, column_of = np.arange(height) * rows // height, np.arange(width) * columns // width
    return corners, row_of.astype(np.int32), column_of.astype(np.int32)


def sample(picture: Image, y: Floats, x: Floats) -> Image:
    """Return a picture's values between its pixels, bilinear, mirrored beyond its edges.

    Args:
        picture: uint8 or uint16, (H, W, C).
        y: (N,).
        x: (N,).

    Returns:
        (N, C), of the picture's dtype.

    Example:
        >>> ramp = np.arange(0, 100, 10, dtype=np.uint8).reshape(1, 10, 1)
        >>> sample(ramp, np.zeros(2, np.float32), np.array([2.0, 3.5], np.float32)).ravel()
        array([20, 35], dtype=uint8)
    """
    values = np.empty((len(y), picture.shape[2]), picture.dtype)
    for start in range(0, len(y), _COLUMNS):
        part = slice(start, start + _COLUMNS)
        values[part] = cv2.remap(
            picture, x[None, part], y[None, part], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ).reshape(-1, picture.shape[2])
    return values
