"""Linear changes of colour, for a list of pixels."""

from __future__ import annotations

import math
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.sample import Image

Floats: TypeAlias = NDArray[np.float32]
Matrix: TypeAlias = NDArray[np.float64]

_LUMA = (0.299, 0.587, 0.114)
TO_GREY: Matrix = np.tile(_LUMA, (3, 1))


def full_scale(of: Image | np.dtype[Any]) -> int:
    """Return the largest value of a dtype, or of an image's; np.iinfo is slow."""
    return int((1 << 8 * of.itemsize) - 1)


def to_levels(values: NDArray[np.floating[Any]], dtype: np.dtype[Any]) -> Image:
    """Return real values as the nearest ones of a dtype: rounded and clipped."""
    return cast(Image, np.clip(np.rint(values), 0, full_scale(dtype)).astype(dtype))


def with_channels(values: Floats, channels: int) -> Floats:
    """Return values (H, W, 1 or 3) with as many channels as wanted: grey by luma, or grey repeated."""
    if values.shape[2] == 3 and channels == 1:
        return cv2.cvtColor(values, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    return values if values.shape[2] == channels else np.repeat(values, 3, axis=2)


def with_depth(colours: Image, dtype: np.dtype[Any]) -> Image:
    """Return uint8 or uint16 colours as values of a dtype, of the same brightness."""
    if colours.dtype == dtype:
        return colours
    return to_levels(colours * (full_scale(dtype) / full_scale(colours)), dtype)


def colour_matrix(saturation: float, hue: float) -> NDArray[np.float64]:
    """Return the (3, 3) matrix that changes the saturation, then turns the hue about the grey axis.

    Args:
        saturation: 0 makes grey, 1 changes nothing.
        hue: In degrees.

    Example:
        >>> bool(np.allclose(colour_matrix(0.5, 40.0) @ [7, 7, 7], 7))  # grey stays grey
        True
    """
    cosine, sine = math.cos(math.radians(hue)), math.sin(math.radians(hue)) / math.sqrt(3)
    third = (1 - cosine) / 3
    # a turn leaves the luma's share of grey as it is, so that can be added last
    same, before, after = (saturation * part for part in (cosine + third, third - sine, third + sine))
    red, green, blue = ((1 - saturation) * luma for luma in _LUMA)
    return np.array(
        [
            [same + red, before + green, after + blue],
            [after + red, same + green, before + blue],
            [before + red, after + green, same + blue],
        ]
    )


def recolour(colours: Image, *, matrix: Matrix, shift: float) -> Image:
    """Return `matrix @ colour + shift` for each colour, rounded and clipped.

    Args:
        colours: (N, C), uint8 or uint16. The weights of uint8 ones are used to a thousandth, so that one value in
            twenty or so is off by 1.
        matrix: (C, C).
        shift: In units of the colours.

    Returns:
        (N, C), of the same dtype.
    """
    affine = np.column_stack([matrix, np.full(len(matrix), shift)])
    return cast(Image, cv2.transform(colours[None], affine).reshape(colours.shape))


def is_grey(image: Image) -> bool:
    """Return whether all channels of (..., C) values are equal."""
    if image.shape[-1] == 1:
        return True
    red, green, blue = (image[..., channel] for channel in range(3))
    return bool((red == green).all() and (green == blue).all())
