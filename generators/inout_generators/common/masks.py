"""Masks of generated defects: without specks, of the class that was wanted, or drawn where no model gives any."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.paste.perlin import Perlin
from inout_aug.sample import Mask


def isodata(values: NDArray[np.floating], *, tolerance: float = 1e-4) -> float:
    """Return the threshold halfway between the means on its two sides (Ridler and Calvard, 1978; ISODATA).

    It splits anything, a uniform map too: `foreground` is the one that can answer that nothing is there.

    Args:
        values: Any shape, finite; at least one value.
        tolerance: Stop when the threshold moves by no more than this, in the units of `values`.

    Raises:
        ValueError: `values` are empty or not finite.

    Example:
        >>> isodata(np.array([-1.0, -1.0, -1.0, 0.5, 0.7]))
        -0.2
    """
    if not values.size or not np.isfinite(values).all():
        raise ValueError("expected finite values to threshold, got none, NaN or infinity; the model has diverged?")
    values = values.astype(np.float64)
    threshold, moved = float(values.mean()), np.inf
    while moved > tolerance and (above := values >= threshold).any() and not above.all():
        previous, threshold = threshold, float(values[above].mean() + values[~above].mean()) / 2
        moved = abs(threshold - previous)
    return threshold


def foreground(
    values: NDArray[np.floating], *, min_contrast: float = 0.4, floor: float = -0.5, tolerance: float = 1e-4
) -> Mask:
    """Binarise a soft mask by ISODATA; what shows no second level is empty, where plain ISODATA halves its noise.

    The defaults are for the decoded masks of diffusion models, of -1 (background) to 1 (defect).

    Args:
        values: Any shape, finite.
        min_contrast: The least difference of the means on both sides of the threshold for anything to be there.
        floor: What is below is background, wherever the threshold falls.
        tolerance: Passed to `isodata`.

    Returns:
        uint8 in the shape of `values`, 1 where the value reaches the threshold.

    Raises:
        ValueError: `values` are empty or not finite.

    Example:
        >>> foreground(np.array([-1.0, -0.9, 0.8])).tolist(), foreground(np.array([-1.0, -0.98, -1.01])).tolist()
        ([0, 0, 1], [0, 0, 0])
    """
    threshold = isodata(values, tolerance=tolerance)
    above = values >= threshold
    if above.all() or not above.any() or values[above].mean() - values[~above].mean() < min_contrast:
        return np.zeros(values.shape, np.uint8)
    return np.asarray(values >= max(threshold, floor), np.uint8)


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
