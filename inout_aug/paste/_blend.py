"""Mixing a source's colours into a host's, so that the difference stands out of the host's noise."""

from __future__ import annotations

import math
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.paste._colour import Floats, full_scale, to_levels
from inout_aug.plugin import HostRefused
from inout_aug.sample import Image

_LAG = 4  # pixels; longer than grain
_PROBES = 16  # per shorter side
_NOISE_LIMITS = (0.01, 0.05)  # of full scale


def blend(
    values: Image, colours: Image, opacity: float, *, fade: Floats | None, host: Image, min_contrast: float
) -> Image:
    """Return `(1 - opacity) * values + opacity * colours`, made brighter or darker where that is too faint.

    Args:
        values: The host's, (N, C), uint8 or uint16.
        colours: The source's at the same pixels, (N, C), of the same dtype.
        opacity: In (0, 1].
        fade: Factor of the change at each pixel, float32 (N, 1), in (0, 1]; None for 1.
        host: (H, W, C).
        min_contrast: Least change of the mean, in standard deviations of the host's noise.

    Returns:
        (N, C), of the host's dtype.

    Raises:
        HostRefused: Nothing would change.
    """
    level = _mean(values)
    if fade is None:
        shift = opacity * (_mean(colours) - level)
        more = _least(shift, level, host, min_contrast) - shift
        painted = cast(Image, cv2.addWeighted(colours, opacity, values, 1 - opacity, more))
    else:
        change = (colours.astype(np.float32) - values) * (np.float32(opacity) * fade)
        shift = _mean(change)
        more = _least(shift, level, host, min_contrast) - shift
        change += np.float32(more / _mean(fade)) * fade + values
        painted = to_levels(change, host.dtype)
    # a mean that is further from zero is that of some pixels that changed
    if abs(shift) <= 1 and np.array_equal(painted, values):
        raise HostRefused(
            "the paste leaves the host as it is, so it would be a positive without a defect; the host may be "
            "constant. Use min_contrast > 0, or textures"
        )
    return painted


def fade_in(mask: NDArray[np.bool_], feather: float) -> Floats:
    """Return weights that rise from the mask's edge, over `feather` pixels, to 1; positive in all of the mask."""
    depth = cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return cast(Floats, np.minimum(depth / np.float32(feather + 1), 1))


def noise_of(host: Image) -> float:
    """Return a robust standard deviation of a host's noise, from 1 to 5 % of full scale.

    Differences of pixels a few apart see grain, but not shading; along stripes they do not see the stripes either.
    """
    values = host[..., host.shape[2] // 2]
    step = max(1, min(values.shape) // _PROBES)
    near, far = slice(None, -_LAG, step), slice(_LAG, None, step)
    apart = np.abs(np.stack([values[far, near], values[near, far]]) - values[near, near].astype(np.float32))
    apart = apart.reshape(2, -1)
    middle = apart.shape[1] // 2
    deviation = float(np.partition(apart, middle, axis=1)[:, middle].min()) * 1.4826 / math.sqrt(2)
    least, most = (share * full_scale(host) for share in _NOISE_LIMITS)
    return min(max(deviation, least), most)


def _least(shift: float, level: float, host: Image, min_contrast: float) -> float:
    """Return a change of the mean from `level` as it is, or where it is too small the least that is not."""
    white = full_scale(host)
    if abs(shift) >= min_contrast * _NOISE_LIMITS[1] * white:  # whatever the noise is
        return shift
    least = min_contrast * noise_of(host)
    if abs(shift) >= least:
        return shift
    # of the same sign, unless the range ends there
    return math.copysign(least, shift if least <= level <= white - least else white / 2 - level)


def _mean(values: Image | Floats) -> float:
    """Return the mean of values (N, C), which OpenCV takes for one channel; numpy's is slower."""
    return float(cv2.mean(values)[0])
