"""Quality gates that look at a sample's pixels and mask. Those that compare it with real images are in `likeness`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inout_aug.cache.fingerprint import digest_of
from inout_aug.paste.foreground import Foreground
from inout_aug.plugin import fingerprint_of
from inout_aug.sample import Image, Mask, Sample

MASK_SHARE = "mask_share"

Bounds = tuple[float, float]


class ScoreGate(ABC):
    """A gate that measures numbers and keeps what lies within bounds, these included; a NaN never does.

    Attributes:
        name: Names the reason of a rejection.
        score_names: What it measures.
        bounds: Lowest and highest value to keep, for each score.
    """

    name: str
    score_names: tuple[str, ...]
    bounds: tuple[Bounds, ...]

    @abstractmethod
    def measure(self, sample: Sample) -> tuple[float, ...]:
        """Return one number for each of `score_names`."""

    def settings(self) -> Mapping[str, Any]:
        """Return what decides the scores beside the sample, as plain values."""
        return {}

    @property
    def fingerprint(self) -> str:
        """Identifies all that changes a verdict."""
        bounds = [[float(end).hex() for end in pair] for pair in self.bounds]
        kind = f"{type(self).__module__}.{type(self).__qualname__}"
        return digest_of({"gate": kind, "bounds": bounds, "settings": self.settings()})

    def judge(self, sample: Sample) -> tuple[bool, tuple[float, ...]]:
        """Return whether to keep the sample, and its scores."""
        scores = self.measure(sample)
        return all(low <= score <= high for score, (low, high) in zip(scores, self.bounds, strict=True)), scores

    def __repr__(self) -> str:
        ends = ", ".join(
            f"{low:.4g} <= {name} <= {high:.4g}"
            for name, (low, high) in zip(self.score_names, self.bounds, strict=True)
        )
        return f"{type(self).__name__}({ends})"


class NotBlank(ScoreGate):
    """Rejects images that show nothing: constant ones, as NaN in a model becomes, and ones with blank parts.

    Scores: `contrast`, the standard deviation of all values, black to white being 1; `flat_share`, the share of pixels
    that equal their right-hand neighbours in all channels.

    Args:
        min_contrast: By default half a grey level of 8 bit, which rounding alone can make.
        max_flat: By default no limit.

    Example:
        >>> NotBlank().judge(Sample(np.full((32, 32, 3), 7, np.uint8)))
        (False, (0.0, 1.0))
    """

    name = "blank"
    score_names = ("contrast", "flat_share")

    def __init__(self, *, min_contrast: float = 0.5 / 255, max_flat: float = 1.0) -> None:
        self.bounds = ((min_contrast, math.inf), (0.0, max_flat))

    @classmethod
    def calibrated(cls, real: Iterable[Sample], *, percentile: float = 2.0) -> Self:
        """Set the bounds so that at most `percentile` percent of some real images lie beyond each."""
        contrast, flat = np.array([cls().measure(sample) for sample in real]).T
        return cls(min_contrast=floor_of(contrast, percentile), max_flat=ceiling_of(flat, percentile))

    def measure(self, sample: Sample) -> tuple[float, ...]:
        """Return contrast and flat share."""
        image = sample.image
        same = image[:, 1:] == image[:, :-1]
        return float(image.std() / np.iinfo(image.dtype).max), float(same.all(axis=2).mean())


class MaskShare(ScoreGate):
    """Rejects masks that are empty or cover the whole image, or are smaller or larger than they should be.

    Score: `mask_share`, the share of the image's pixels that are defective.

    Args:
        min_share: Lowest share to keep; 0 itself is never kept.
        max_share: Highest share to keep; 1 itself is never kept.

    Example:
        >>> mask = np.eye(32, dtype=np.uint8)
        >>> MaskShare().judge(Sample(mask[..., None], mask))
        (True, (0.03125,))
    """

    name = "mask size"
    score_names = (MASK_SHARE,)

    def __init__(self, *, min_share: float = 0.0, max_share: float = 1.0) -> None:
        self.bounds = ((max(min_share, math.nextafter(0, 1)), min(max_share, math.nextafter(1, 0))),)

    @classmethod
    def calibrated(cls, positives: Iterable[Sample], *, percentile: float = 2.0) -> Self:
        """Set the bounds so that at most `percentile` percent of some real defects lie beyond each."""
        shares = [cls().measure(sample)[0] for sample in positives]
        return cls(min_share=floor_of(shares, percentile), max_share=ceiling_of(shares, percentile))

    def measure(self, sample: Sample) -> tuple[float, ...]:
        """Return the mask's share of the image."""
        mask = mask_of(sample, self.name)
        return (int(np.count_nonzero(mask)) / mask.size,)


class OnProduct(ScoreGate):
    """Rejects masks on the background.

    Score: `on_product`, the share of the mask's pixels that lie on the product. Holes of the product belong to it: a
    dark defect makes one.

    Args:
        foreground: Finds the product on an image; see `inout_aug.paste.foreground`.
        min_share: Lowest share to keep, in [0, 1].

    Example:
        >>> from inout_aug.paste.foreground import Otsu
        >>> image = np.full((32, 32, 1), 30, np.uint8)
        >>> image[:, 8:24] = 200
        >>> OnProduct(Otsu(), min_share=0.9).judge(Sample(image, (image[..., 0] < 99).astype(np.uint8)))
        (False, (0.0,))
    """

    name = "off product"
    score_names = ("on_product",)

    def __init__(self, foreground: Foreground, *, min_share: float) -> None:
        self._foreground = foreground
        self.bounds = ((min_share, 1.0),)

    @classmethod
    def calibrated(cls, positives: Iterable[Sample], foreground: Foreground, *, percentile: float = 2.0) -> Self:
        """Set the bound so that at most `percentile` percent of some real defects lie below it."""
        gate = cls(foreground, min_share=0.0)
        return cls(foreground, min_share=floor_of([gate.measure(sample)[0] for sample in positives], percentile))

    def settings(self) -> Mapping[str, Any]:
        """Return what finds the product."""
        finder = self._foreground
        # the repr of a function is an address, which differs from run to run
        named = getattr(finder, "__qualname__", None)
        return {"foreground": f"{finder.__module__}.{named}" if named else fingerprint_of(finder)}

    def measure(self, sample: Sample) -> tuple[float, ...]:
        """Return how much of the mask is on the product; 1 for an empty mask, which is `MaskShare`'s business."""
        defect = mask_of(sample, self.name) != 0
        product = _without_holes(self._foreground(sample.image), sample.image)
        size = int(np.count_nonzero(defect))
        return (int(np.count_nonzero(product & defect)) / size if size else 1.0,)


def mask_of(sample: Sample, gate: str) -> Mask:
    """Return a sample's mask.

    Raises:
        ValueError: It has none.
    """
    if sample.mask is None:
        raise ValueError(f"the gate {gate!r} needs masks, and the sample has none. Leave the gate out")
    return sample.mask


def floor_of(scores: ArrayLike, percentile: float) -> float:
    """Return the highest of some scores below which at most `percentile` percent of them lie.

    Raises:
        ValueError: There are no scores, or `percentile` is not in [0, 50].

    Example:
        >>> floor_of(range(100), 2)
        1.0
    """
    values = np.asarray(scores, np.float64)
    if not 0 <= percentile <= 50:
        raise ValueError(
            f"percentile is the percentage of real samples that a bound may cut off, in [0, 50]; got {percentile}"
        )
    if not values.size:
        raise ValueError("a gate is calibrated on real samples of its kind, and there are none. Set its bounds by hand")
    return float(np.percentile(values, percentile, method="lower"))


def ceiling_of(scores: ArrayLike, percentile: float) -> float:
    """Return the lowest of some scores above which at most `percentile` percent of them lie; see `floor_of`."""
    return -floor_of(-np.asarray(scores, np.float64), percentile)


def _without_holes(mask: ArrayLike, image: Image) -> NDArray[np.bool_]:
    inside = np.asarray(mask)
    if inside.shape != image.shape[:2]:
        raise ValueError(f"a foreground mask has its image's height and width, {image.shape[:2]}; got {inside.shape}")
    filled = (inside != 0).astype(np.uint8)
    outlines: Sequence[Any] = cv2.findContours(filled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    cv2.drawContours(filled, outlines, -1, 1, cv2.FILLED)
    return np.asarray(filled, np.bool_)
