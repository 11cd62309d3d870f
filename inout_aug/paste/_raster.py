"""Soft strokes as pixels: the union of discs with soft edges, anti-aliased at any size."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

# a disc below this radius could slip between pixel centres: it is drawn at this size, and as much fainter
_SMALLEST_RADIUS = 1.2
_SPACING = 0.3


def rasterise(strokes: Iterable[ArrayLike], height: int, width: int) -> tuple[NDArray[np.float32], int, int]:
    """Draw strokes, each an (n, 4) array of (y, x, radius, opacity).

    Returns:
        Opacity (h, w) in [0, 1] of the part of a (height, width) image that the strokes can touch, and the row and
        column of its corner. The part is empty if they miss the image.
    """
    discs = [_discs(np.asarray(stroke, np.float32)) for stroke in strokes]
    reach = [math.floor(d[:, 2].max() + 0.5) for d in discs]
    top_left = np.min([d[:, :2].min(axis=0) - r for d, r in zip(discs, reach, strict=True)], axis=0)
    bottom_right = np.max([d[:, :2].max(axis=0) + r for d, r in zip(discs, reach, strict=True)], axis=0)
    y, x = np.floor(top_left).astype(int).tolist()
    bottom, right = np.ceil(bottom_right).astype(int).tolist()
    canvas = np.zeros((bottom + 1 - y, right + 1 - x), np.float32)
    for d, r in zip(discs, reach, strict=True):
        _stamp(canvas, d - np.array([y, x, 0, 0], np.float32), r)
    top, left = max(y, 0), max(x, 0)
    return canvas[top - y : max(height - y, 0), left - x : max(width - x, 0)], top, left


def _discs(stroke: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return discs so dense along a stroke that their union shows no beads."""
    y, x, radius, opacity = stroke.T
    drawn = np.maximum(radius, _SMALLEST_RADIUS)
    spacing = _SPACING * (drawn[1:] + drawn[:-1]) / 2
    passed = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(y), np.diff(x)) / spacing)])
    at = np.linspace(0, passed[-1], math.ceil(passed[-1]) + 1)
    columns = [np.interp(at, passed, values) for values in (y, x, drawn, opacity * np.minimum(radius / drawn, 1))]
    return np.stack(columns, axis=1).astype(np.float32)


def _stamp(canvas: NDArray[np.float32], discs: NDArray[np.float32], reach: int) -> None:
    """Take the maximum of `canvas` and each disc's soft edge (1 - (d / radius)^2)^2.

    Everything is float32 and in place: `maximum.at` is twenty times slower where it has to convert.
    """
    y, x, radius, opacity = discs.T[:, :, None]
    row, column = np.rint(y), np.rint(x)
    offset = np.arange(-reach, reach + 1)
    dy = np.square((offset.astype(np.float32) + (row - y)) / radius)
    dx = np.square((offset.astype(np.float32) + (column - x)) / radius)
    edge = (1 - dy)[:, :, None] - dx[:, None, :]
    np.square(np.maximum(edge, 0, out=edge), out=edge)
    edge *= opacity[:, :, None]
    stride = canvas.shape[1]
    centre = row.astype(np.intp) * stride + column.astype(np.intp)
    where = centre[:, :, None] + (offset[:, None] * stride + offset)
    np.maximum.at(canvas.reshape(-1), where.reshape(-1), edge.reshape(-1))
