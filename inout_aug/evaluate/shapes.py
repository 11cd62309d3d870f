"""What masks look like, in numbers: area, parts, place and elongation, of real against synthetic defects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inout_aug.sample import Mask

# in units of the Kolmogorov distribution, at the 5 % level
_KOLMOGOROV = 1.3581
_QUANTILES = (5, 50, 95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A mask in numbers.

    Attributes:
        area: Share of the image, in (0, 1].
        parts: Number of connected parts, corners connecting.
        x: Centre of the defective pixels, from the left edge, 0, to the right one, 1.
        y: Likewise, from the top to the bottom.
        elongation: Length over width of the largest part, by its second moments: 1 for discs and squares.
    """

    area: float
    parts: int
    x: float
    y: float
    elongation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One number of many masks, real against synthetic.

    Attributes:
        name: A field of `Shape`.
        real: Its 5th, 50th and 95th percentile.
        synthetic: Likewise.
        ks: Kolmogorov and Smirnov's distance between the distributions, in [0, 1].
        ks_limit: What it exceeds in 5 % of the cases for masks of one kind.
    """

    name: str
    real: tuple[float, float, float]
    synthetic: tuple[float, float, float]
    ks: float
    ks_limit: float


def shape_of(mask: Mask) -> Shape:
    """Return a mask in numbers, whatever its defect classes.

    Raises:
        ValueError: It is empty.

    Example:
        >>> mask = np.zeros((32, 32), np.uint8)
        >>> mask[8:10, 0:16] = 1
        >>> shape_of(mask)
        Shape(area=0.03125, parts=1, x=0.25, y=0.28125, elongation=8.0)
    """
    solid = (mask > 0).astype(np.uint8)
    if not solid.any():
        raise ValueError("an empty mask has no shape. Leave the sample out")
    count, labels, stats, _ = cv2.connectedComponentsWithStats(solid)
    rows, columns = np.nonzero(solid)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return Shape(
        area=len(rows) / solid.size,
        parts=count - 1,
        x=(float(columns.mean()) + 0.5) / solid.shape[1],
        y=(float(rows.mean()) + 0.5) / solid.shape[0],
        elongation=_elongation(np.argwhere(labels == largest)),
    )


def compare_shapes(real: Sequence[Shape], synthetic: Sequence[Shape]) -> tuple[Comparison, ...]:
    """Compare the numbers of real masks with those of synthetic ones, one after the other."""
    limit = _KOLMOGOROV * math.sqrt((len(real) + len(synthetic)) / (len(real) * len(synthetic)))
    found = []
    for name in Shape.__slots__:
        a, b = ([float(getattr(shape, name)) for shape in shapes] for shapes in (real, synthetic))
        found.append(
            Comparison(name=name, real=_quantiles(a), synthetic=_quantiles(b), ks=kolmogorov(a, b), ks_limit=limit)
        )
    return tuple(found)


def kolmogorov(a: ArrayLike, b: ArrayLike) -> float:
    """Return the largest difference between the distribution functions of two samples.

    Example:
        >>> kolmogorov([1, 2, 3, 4], [3, 4, 5, 6])
        0.5
    """
    one, other = np.sort(np.asarray(a, np.float64)), np.sort(np.asarray(b, np.float64))
    at = np.concatenate([one, other])
    shares = [np.searchsorted(values, at, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def heatmap(masks: Sequence[Mask], cells: int = 32) -> NDArray[np.float64]:
    """Return where defects are, on average: the share of defective pixels in `cells` × `cells` parts of the image."""
    shares = [cv2.resize((mask > 0).astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA) for mask in masks]
    return np.asarray(np.mean(shares, axis=0), np.float64)


def _elongation(pixels: NDArray[np.int64]) -> float:
    # a pixel is a square, not a point: so a line one pixel wide has a width
    moments = np.cov(pixels.T, bias=True) + np.eye(2) / 12
    low, high = np.linalg.eigvalsh(moments)
    return float(np.sqrt(high / low))


def _quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, _QUANTILES).tolist()
    return low, middle, high
