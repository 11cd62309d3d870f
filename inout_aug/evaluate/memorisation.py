"""Whether a generator repeats its training images: how near its samples are to them, and how near real ones are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inout_aug.cache.features import Vectors
from inout_aug.evaluate.fidelity import Interval
from inout_aug.evaluate.views import distances

Reference = Literal["held-out", "leave-one-out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memorisation:
    """Distances to the nearest training image, in [0, 2].

    Attributes:
        reference: Which real images the samples are compared with: held-out ones, or each training image with the
            others.
        threshold: Percentile of the real distances.
        share: Of the samples that are not nearer than that.
        share_interval: In which the share lies with 95 % (Wilson, 1927).
        distances: Of each sample.
        nearest: Which training image is the nearest to each sample.
        real: Distances of the real images.
        real_nearest: Which training image is the nearest to each of these.
    """

    reference: Reference
    threshold: float
    share: float
    share_interval: Interval
    distances: tuple[float, ...]
    nearest: tuple[int, ...]
    real: tuple[float, ...]
    real_nearest: tuple[int, ...]


def memorisation(
    synthetic: ArrayLike, training: ArrayLike, held_out: ArrayLike | None = None, *, percentile: float = 5.0
) -> Memorisation:
    """Compare the samples' distances to the nearest training image with those of real images.

    A real image that the generator never saw has a distance to the nearest training image too. A sample nearer than
    all but `percentile` percent of those may be a copy; of honest samples that is true of `percentile` percent.

    Args:
        synthetic: Feature vectors, (N, C).
        training: Those of the images that the generator was trained on, (M, C); or of each in S positions, (M, S, C),
            the first being that as it is: the nearest counts.
        held_out: Those of other real images, (K, C). Without, each training image is compared with all others.
        percentile: Of the real distances, in [0, 50].

    Raises:
        ValueError: There are no images to compare with, or the vectors do not fit.

    Example:
        >>> training, held_out = np.eye(4)[:2], np.eye(4)[2:]
        >>> memorisation([[1, 0, 0, 0], [0, 0, 0, 1]], training, held_out).share
        0.5
    """
    samples, known = np.asarray(synthetic, np.float64), np.asarray(training, np.float64)
    known = known[:, None] if known.ndim == 2 else known
    others = None if held_out is None else np.asarray(held_out, np.float64)
    if samples.ndim != 2 or known.ndim != 3 or samples.shape[1] != known.shape[2] or not len(samples):
        raise ValueError(
            f"vectors are (N, C), those of training images (M, C) or (M, S, C); got {samples.shape}, {known.shape}"
        )
    if not 0 <= percentile <= 50:
        raise ValueError(f"percentile is in [0, 50]; got {percentile}")
    if len(known) < (2 if others is None else 1) or (others is not None and not len(others)):
        raise ValueError(
            f"there are {len(known)} training images and {0 if others is None else len(others)} others. Give at least "
            "one of both, or two training images"
        )
    found = to_nearest(samples, known)
    if others is None:
        between = to_nearest(known[:, 0], known)
        np.fill_diagonal(between, np.inf)
    else:
        between = to_nearest(others, known)
    near, real = found.min(axis=1), between.min(axis=1)
    threshold = float(np.percentile(real, percentile))
    kept = int((near >= threshold).sum())
    return Memorisation(
        reference="leave-one-out" if others is None else "held-out",
        threshold=threshold,
        share=kept / len(near),
        share_interval=wilson(kept, len(near)),
        distances=tuple(near.tolist()),
        nearest=tuple(found.argmin(axis=1).tolist()),
        real=tuple(real.tolist()),
        real_nearest=tuple(between.argmin(axis=1).tolist()),
    )


def to_nearest(vectors: Vectors, known: Vectors) -> NDArray[np.float64]:
    """Return the distance of each vector to the nearest position of each image; (N, C), (M, S, C) -> (N, M)."""
    images, positions, width = known.shape
    every = distances(vectors, known.reshape(-1, width))
    return np.asarray(every.reshape(len(vectors), images, positions).min(axis=2))


def wilson(count: int, total: int) -> Interval:
    """Return Wilson's 95 % interval of a share.

    Example:
        >>> low, high = wilson(19, 20)
        >>> round(low, 3), round(high, 3)
        (0.764, 0.991)
    """
    z2, share = 1.959964**2, count / total
    middle = share + z2 / (2 * total)
    half = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total**2)))
    return max(0.0, (middle - half) / (1 + z2 / total)), min(1.0, (middle + half) / (1 + z2 / total))
