"""Masks as boxes, polygons and run lengths that say exactly which pixels are meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.sample import Mask

# corners in pixel units, (N, 2), x before y: pixel (x, y) is the square from (x, y) to (x + 1, y + 1)
Polygon = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One defect: pixels of one class that touch, at corners too.

    Attributes:
        defect_class: From 1.
        left: Of its box, in pixels.
        top: Of its box, in pixels.
        pixels: Its shape within its box, bool, (height, width).
    """

    defect_class: int
    left: int
    top: int
    pixels: NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, width and height, in pixels."""
        height, width = self.pixels.shape
        return self.left, self.top, width, height

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.pixels))

    def outline(self) -> Polygon:
        """Return the outer border, along the edges of the pixels; holes are not seen."""
        return _border(self.pixels) + np.array([self.left, self.top], np.int32)

    def holes(self) -> list[Polygon]:
        """Return the border of each hole."""
        framed = np.pad(~self.pixels, 1, constant_values=True).astype(np.uint8)
        count, labels = cv2.connectedComponents(framed, connectivity=4)
        outside = labels[0, 0]
        offset = np.array([self.left - 1, self.top - 1], np.int32)
        return [_border(labels == k) + offset for k in range(1, count) if k != outside]

    def polygon(self) -> Polygon:
        """Return one polygon of the pixels alone: each hole is reached by a cut of no width."""
        joined = self.outline()
        for hole in self.holes():
            joined = _joined(joined, hole)
        return joined

    def whole(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return its pixels in the whole image, bool, of this height and width."""
        whole = np.zeros(size, bool)
        whole[self.top : self.top + self.pixels.shape[0], self.left : self.left + self.pixels.shape[1]] = self.pixels
        return whole

    def segmentation(self, size: tuple[int, int]) -> Any:
        """Return COCO's `segmentation`: a polygon, or run lengths where there are holes.

        Args:
            size: Height and width of the whole image.
        """
        if self.holes():
            return {"size": list(size), "counts": self.run_lengths(size)}
        return [self.outline().ravel().tolist()]

    def run_lengths(self, size: tuple[int, int]) -> list[int]:
        """Return COCO's uncompressed run lengths: background first, column by column.

        Args:
            size: Height and width of the whole image.
        """
        flat = self.whole(size).ravel(order="F")
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        runs: list[int] = np.diff([0, *changes, flat.size]).tolist()
        return [0, *runs] if flat[0] else runs


def instances(mask: Mask, *, min_pixels: int = 1) -> Iterator[Instance]:
    """Yield the defects of a mask that have at least `min_pixels` pixels.

    Args:
        mask: uint8, (H, W); 0 is background, k is defect class k.
        min_pixels: Smaller ones are left out.

    Example:
        >>> mask = np.zeros((16, 16), np.uint8)
        >>> mask[2:5, 4] = 3
        >>> [(found.defect_class, found.box, found.outline().tolist()) for found in instances(mask)]
        [(3, (4, 2, 1, 3), [[4, 2], [4, 5], [5, 5], [5, 2]])]
    """
    for defect_class in np.unique(mask[mask > 0]).tolist():
        _, labels, stats, _ = cv2.connectedComponentsWithStats((mask == defect_class).astype(np.uint8), connectivity=8)
        for k, (left, top, width, height, area) in enumerate(stats[1:].tolist(), start=1):
            if area >= min_pixels:
                yield Instance(defect_class, left, top, labels[top : top + height, left : left + width] == k)


def _border(pixels: NDArray[np.bool_]) -> Polygon:
    """Return the outer border of connected pixels."""
    # OpenCV's contours run through the centres of pixels. At twice the resolution a pixel's centres 2x and 2x + 1 stand
    # for its edges x and x + 1
    doubled = pixels.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    centres = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0][0][:, 0]
    corners = (centres + 1) // 2
    return np.asarray(corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)], np.int32)


def _joined(outer: Polygon, hole: Polygon) -> Polygon:
    """Return one polygon of two, which goes from the outer one to the hole and back where they are nearest."""
    gaps = np.abs(outer[:, None] - hole[None]).sum(axis=2)
    leave, enter = np.unravel_index(gaps.argmin(), gaps.shape)
    around = np.concatenate([hole[enter:], hole[: enter + 1]])
    return np.concatenate([outer[: leave + 1], around, outer[leave:]])
