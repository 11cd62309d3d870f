"""Pixels as nets take them: floats in [-1, 1]."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inout_aug.sample import Image


def scale(images: Image) -> NDArray[np.float32]:
    """Return integers as float32 in [-1, 1], black as -1 and the dtype's white as 1."""
    return cast(NDArray[np.float32], images.astype(np.float32) * np.float32(2 / np.iinfo(images.dtype).max) - 1)


def unscale(values: NDArray[np.float32], dtype: DTypeLike) -> Image:
    """Return floats in [-1, 1] as the nearest integers: the inverse of `scale`."""
    white = np.iinfo(np.dtype(dtype)).max
    return cast(Image, np.rint((np.clip(values, -1, 1).astype(np.float64) + 1) * (white / 2)).astype(dtype))
