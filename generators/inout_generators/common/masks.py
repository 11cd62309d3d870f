"""Masks of generated defects: without specks, of the class that was wanted, or drawn where no model gives any."""

from __future__ import annotations

import cv2
import numpy as np

from inout_aug.paste.perlin import Perlin
from inout_aug.sample import Mask


def without_specks(mask: Mask, min_area: int) -> Mask:
    """Return the mask without the connected parts (8 neighbours, one class each) of fewer than `min_area` pixels.

    Example:
        >>> mask = np.zeros((16, 16), np.uint8)
        >>> mask[2, 2], mask[5:9, 5:9] = 1, 2
        >>> np.unique(without_specks(mask, 4)).tolist()
        [0, 2]
    """
    cleaned = mask.copy()
    for k in np.unique(mask[mask > 0]).tolist():
        _, parts, stats, _ = cv2.connectedComponentsWithStats((mask == k).astype(np.uint8), connectivity=8)
        small = stats[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False  # what is not of this class
        cleaned[small[parts]] = 0
    return cleaned


def shows(mask: Mask, defect_class: int, min_area: int = 1) -> bool:
    """Return whether a class has at least `min_area` pixels, and no other class more of them.

    Example:
        >>> mask = np.repeat(np.array([0, 1, 2, 2], np.uint8), 64).reshape(16, 16)
        >>> [shows(mask, k) for k in (1, 2, 3)]
        [False, True, False]
    """
    areas = np.bincount(mask.ravel(), minlength=256)
    return bool(areas[defect_class] >= max(1, min_area) and areas[defect_class] == areas[1:].max())


def perlin_region(height: int, width: int, rng: np.random.Generator) -> Mask:
    """Draw a region without holes or islands: where Perlin noise of random grain and angle is high.

    Args:
        height: In pixels.
        width: In pixels.
        rng: The source of randomness.

    Returns:
        uint8 (height, width), 1 inside; at least one pixel.

    Example:
        >>> perlin_region(64, 96, np.random.default_rng(0)).shape
        (64, 96)
    """
    rows, columns = (int(2 ** rng.integers(1, 5)) for _ in range(2))
    angle, seed = float(rng.uniform(-90, 90)), int(rng.integers(1 << 32))
    field = Perlin()(height, width, cells=(rows, columns), angle=angle, seed=seed)
    # the published threshold, or less where the noise does not reach it
    _, parts = cv2.connectedComponents((field >= min(0.5, 0.8 * float(field.max()))).astype(np.uint8))
    return np.asarray(parts == parts.flat[int(field.argmax())], np.uint8)
