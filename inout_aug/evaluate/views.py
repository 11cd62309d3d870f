"""What a network is shown of a sample, by one rule for real and synthetic ones: the image, or a crop of its defect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.features import Features, Vectors, unit
from inout_aug.sample import Image, Mask, Sample

# a typical defect fills half of a crop's side, a large one more than all; fewer pixels than the least tell little
_MARGIN, _STEP, _LEAST = 2, 16, 64
# a crop of more of the image than this is no close-up
_WHOLE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Feature vectors of views.

    Attributes:
        pooled: Means over the view, of length √C each, (N, C): for FID and KID. Of raw features the kernel of KID would
            mostly measure the lengths, whose scale is any network's own.
        pictures: Means over 3 × 3 parts, of length 1 together, (N, 9 C): what is where, for distances between views.
    """

    pooled: Vectors
    pictures: Vectors

    def __len__(self) -> int:
        return len(self.pooled)


def crop_side(real: Sequence[Sample]) -> int | None:
    """Return the side of a square that shows the defects of real samples close up; None for whole images.

    It is twice the median of the defects' longer sides, in steps of 16 from 64, and at most the shorter side of the
    images. Where such a square covers more than half of an image, whole images are better.

    Args:
        real: With masks that are not empty.

    Example:
        >>> mask = np.zeros((256, 640), np.uint8)
        >>> mask[100:104, 40:90] = 1
        >>> crop_side([Sample(mask[..., None], mask)])
        112
    """
    extents = [max(_largest(mask)[2:]) for mask in (sample.mask for sample in real) if mask is not None]
    if not extents:
        return None
    wanted = max(_LEAST, _STEP * int(np.ceil(_MARGIN * np.median(extents) / _STEP)))
    shorter = int(np.median([min(sample.size) for sample in real]))
    area = float(np.median([sample.size[0] * sample.size[1] for sample in real]))
    side = min(wanted, shorter)
    return side if side**2 <= _WHOLE * area else None


def view(sample: Sample, side: int | None) -> Image:
    """Return a square of `side` pixels, none of them resampled, around a sample's largest defect; or the whole image.

    The square is moved where it would leave the image, and an image that is smaller is continued by reflection.

    Args:
        sample: With a mask that is not empty, if `side` is given.
        side: In pixels; None for the image.

    Raises:
        ValueError: There is no defect to look at.
    """
    if side is None:
        return sample.image
    if sample.mask is None or not sample.mask.any():
        raise ValueError("a crop shows the defect, and the sample's mask has none. Compare whole images: crop=None")
    top, left, height, width = _largest(sample.mask)
    missing = [max(0, side - length) for length in sample.size]
    (above, before), (below, after) = ([gap // 2 for gap in missing], [gap - gap // 2 for gap in missing])
    image = cv2.copyMakeBorder(sample.image, above, below, before, after, cv2.BORDER_REFLECT_101)
    y = min(max(0, top + height // 2 + above - side // 2), image.shape[0] - side)
    x = min(max(0, left + width // 2 + before - side // 2), image.shape[1] - side)
    crop = image[y : y + side, x : x + side].reshape(side, side, -1)
    return cast(Image, np.ascontiguousarray(crop))


def looks(features: Features, views: Sequence[Image], tick: Callable[[], object] = lambda: None) -> Looks:
    """Return what a network sees in views; `tick` is called after each."""
    pooled, pictures = [], []
    for image in views:
        mean = features.map(image).mean(axis=(1, 2))
        pooled.append(unit(mean) * np.sqrt(len(mean)))
        pictures.append(features.picture(image))
        tick()
    return Looks(np.stack(pooled), np.stack(pictures))


def turned_pictures(features: Features, views: Sequence[Image], tick: Callable[[], object] = lambda: None) -> Vectors:
    """Return the pictures of views in all positions in which a generator may repeat them, (N, S, 9 C).

    These are the four mirrorings, of squares with quarter turns too, so that S is 8 if all views are squares, else 4.
    The first is the view as it is. `tick` is called after each view.
    """
    quarters = (0, 1, 2, 3) if all(image.shape[0] == image.shape[1] for image in views) else (0, 2)
    turns = [(quarter, mirrored) for quarter in quarters for mirrored in (False, True)]
    found = []
    for image in views:
        found.append(np.stack([features.picture(_turn(image, *turn)) for turn in turns]))
        tick()
    return np.stack(found)


def distances(a: Vectors, b: Vectors) -> NDArray[np.float64]:
    """Return the distances between vectors of length 1, in [0, 2]; (N, C), (M, C) -> (N, M)."""
    return np.sqrt(np.maximum(2 - 2 * unit(a) @ unit(b).T, 0))


def _turn(image: Image, quarter: int, mirrored: bool) -> Image:
    turned = np.rot90(image[:, ::-1] if mirrored else image, quarter)
    return cast(Image, np.ascontiguousarray(turned))


def _largest(mask: Mask) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the largest connected part of a mask."""
    stats = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))[2]
    left, top, width, height, _ = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())].tolist()
    return top, left, height, width
