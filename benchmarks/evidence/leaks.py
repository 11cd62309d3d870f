"""Whether a scored image is among the images that a network is trained on, or a synthetic sample was painted on one.

Features of a pretrained network are of no use here: they forgive what tells two parts of one product apart. Compared
are small grey pictures of equal level and contrast instead, of which a defect may cover some: exposures of one part are
near-duplicates too. Two images are, if they differ little more than an image does from itself when it is moved by a
pixel, brightened and compressed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from evidence.images import Images
from inout_aug.cache import SampleCache
from inout_aug.datasets._files import fit_mask
from inout_aug.sample import Image, Mask

_SIDE = 48
_LEAST_SEEN = 0.25  # of a sample must not be defect, or it tells nothing of its host
_SHOWN = 5
_MARGIN = 1.75  # different parts of ksdd1 are 2.3 apart or more, exposures of one magnetic tile up to that
_STRETCH, _GLANCES = 1.1, 64
_QUALITY, _GAIN = 80, 1.03

# an image, and where its defect is
Known: TypeAlias = tuple[Image, Mask | None]
# grey levels, and whether they are no defect's, both (N, pixels)
Pictures: TypeAlias = tuple[NDArray[np.float32], NDArray[np.bool_]]


def find_leaks(test: Images, known: Sequence[Known]) -> list[tuple[int, int]]:
    """Return which images are equal to scored ones, or nearly so, as pairs: its position, that of the scored one.

    Args:
        test: The scored images.
        known: The others, of any sizes, each with the mask of its defect or None.
    """
    scored = [item["image"] for item in test.items]
    digests = {_digest(image): position for position, image in enumerate(scored)}
    pairs = {(k, digests[_digest(image)]) for k, (image, _) in enumerate(known) if _digest(image) in digests}
    own, again = pictures([(image, None) for image in scored]), pictures([(moved(image), None) for image in scored])
    limits = _MARGIN * np.abs(_levelled(own[0]) - _levelled(again[0])).mean(axis=1)
    near = np.nonzero(distances(pictures(known), own) <= limits)
    return sorted(pairs | set(zip(near[0].tolist(), near[1].tolist(), strict=True)))


def refuse_other_product(training: Images, test: Images, cache: SampleCache) -> None:
    """Check that the samples of a cache look like the training images, as far as the scored ones do.

    Raises:
        ValueError: Most are farther from all training images than any scored image, or have other proportions.
    """
    heights, widths = zip(*((g.layout.height, g.layout.width) for g, _ in cache.groups), strict=True)
    ratios = [height / width for height, width in zip(heights, widths, strict=True)]
    height, width = training.items[0]["image"].shape[:2]
    usual_ratios = [*training.proportions, height / width]
    low, high = min(usual_ratios) / _STRETCH, max(usual_ratios) * _STRETCH
    if not low <= min(ratios) <= max(ratios) <= high:
        raise ValueError(
            f"{cache.folder.url} has images of {heights[0]}×{widths[0]}, whose height is {ratios[0]:.2f} of the width; "
            f"those of the dataset have {low:.2f} to {high:.2f}. Fill a cache of this product"
        )
    known = pictures([(item["image"], None) for item in training.items])
    usual = distances(pictures([(item["image"], item["mask"]) for item in test.items]), known).min(axis=1)
    samples = [cache[k] for k in range(0, len(cache), -(-len(cache) // _GLANCES))]
    found = distances(pictures([(sample.image, sample.mask) for sample in samples]), known).min(axis=1)
    if np.median(found) > usual.max():
        raise ValueError(
            f"{cache.folder.url} shows another product: its samples differ from the nearest training image by "
            f"{np.median(found):.2f} of their contrast, scored images by {usual.max():.2f} at most"
        )


def refuse_leaks(test: Images, cache: SampleCache) -> None:
    """Check that no sample of a cache was made of a scored image.

    Raises:
        ValueError: Some were.
    """
    samples = (cache[position] for position in range(len(cache)))
    pairs = find_leaks(test, [(sample.image, sample.mask) for sample in samples])
    if pairs:
        told = "; ".join(f"sample {k} looks like {test.items[i]['path']}" for k, i in pairs[:_SHOWN])
        raise ValueError(
            f"{len({k for k, _ in pairs})} samples of {cache.folder.url} show images that are to be scored: {told}. "
            "Fill a cache with training images as hosts"
        )


def pictures(images: Sequence[Known]) -> Pictures:
    """Return small grey pictures, and where they show no defect."""
    values, seen = [], []
    for image, mask in images:
        grey = image.mean(axis=2, dtype=np.float32) * np.float32(255 / np.iinfo(image.dtype).max)
        values.append(cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).ravel())
        defect = np.zeros((_SIDE, _SIDE), np.uint8) if mask is None else fit_mask(mask, (_SIDE, _SIDE))
        # the area around it is blended into it
        seen.append(cv2.dilate(defect, np.ones((3, 3), np.uint8)).ravel() == 0)
    return np.stack(values), np.stack(seen)


def distances(samples: Pictures, own: Pictures) -> NDArray[np.float64]:
    """Return mean absolute differences, (samples, own), as a share of the contrast; infinite where a defect hides all.

    Args:
        samples: Compared where they show no defect.
        own: Compared with, wherever.
    """
    found = np.full((len(samples[0]), len(own[0])), np.inf)
    whole = _levelled(own[0])
    for row, (values, seen) in enumerate(zip(*samples, strict=True)):
        if seen.mean() >= _LEAST_SEEN:
            others = whole if seen.all() else _levelled(own[0][:, seen])
            found[row] = np.abs(others - _levelled(values[None, seen])).mean(axis=1)
    return found


def _levelled(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring pictures, (N, pixels), to one level and contrast."""
    centred = values - np.median(values, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(1, np.abs(centred).mean(axis=1, keepdims=True)), np.float32)


def moved(image: Image) -> Image:
    """Return an image one pixel aside, a little brighter and compressed: what a copy may have gone through."""
    eight = (image.astype(np.float32) * (255 / np.iinfo(image.dtype).max) * _GAIN).clip(0, 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", np.roll(eight, 1, axis=1), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    read = cv2.imdecode(code, cv2.IMREAD_UNCHANGED)
    return read if read.ndim == 3 else read[..., None]


def _digest(image: Image) -> str:
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
