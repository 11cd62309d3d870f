"""Near-duplicates inside a cache: found after it was filled, and kept as review decisions.

A gate judges each sample alone, so that a cache is the same whoever fills it in whatever order. Which of two similar
samples stays is therefore decided afterwards: the one with the lower index.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.likeness import NotMemorised, distance_of
from inout_aug.cache.review import Review

_CHUNK = 1024


class Duplicate(NamedTuple):
    """A sample that looks like an earlier one.

    Attributes:
        sample: Its index.
        original: Index of the earlier sample.
        distance: Between the two pictures' features, in [0, 2].
    """

    sample: int
    original: int
    distance: float


def find_duplicates(review: Review, like: NotMemorised, *, progress: bool = True) -> list[Duplicate]:
    """Return the accepted samples that are as near to an earlier accepted one as `like` forbids to training images.

    A sample that is a duplicate itself is no reason to call a third one a duplicate.

    Args:
        review: Of the cache.
        like: Gives the features and, by its calibration, the distance.
        progress: Whether to draw a progress bar on stderr.
    """
    from rich.console import Console
    from rich.progress import track

    cache = review.cache
    positions = np.flatnonzero(review.accepted)
    positions = positions[np.argsort(cache.indices[positions], kind="stable")]
    vectors = np.empty((0, 0), np.float32)
    bar = track(positions.tolist(), "comparing", console=Console(stderr=True), disable=not progress)
    for row, position in enumerate(bar):
        vector = like.features.picture(cache.pixels(position)[0])
        if not row:
            vectors = np.empty((len(positions), len(vector)), np.float32)
        vectors[row] = vector
    return _greedy(vectors, cache.indices[positions], like.min_distance)


def reject_duplicates(review: Review, like: NotMemorised, *, progress: bool = True) -> list[Duplicate]:
    """Reject what `find_duplicates` finds, by review decisions that name the sample it looks like.

    Raises:
        CacheNotWritten: The decisions cannot be stored.
    """
    found = find_duplicates(review, like, progress=progress)
    why = [f"near-duplicate of sample {original}, distance {distance:.3f}" for _, original, distance in found]
    review.decide([duplicate.sample for duplicate in found], "reject", who="inout-aug", why=why)
    return found


def _greedy(vectors: NDArray[np.float32], indices: NDArray[np.int64], min_distance: float) -> list[Duplicate]:
    found = []
    kept = np.ones(len(vectors), bool)
    for start in range(0, len(vectors), _CHUNK):
        chunk = vectors[start : start + _CHUNK]
        distances = distance_of(chunk @ vectors[: start + len(chunk)].T)
        for row, near in enumerate(distances, start=start):
            # only earlier samples that stay can be the original
            near[row:] = np.inf
            near[:row][~kept[:row]] = np.inf
            nearest = int(near.argmin())
            if near[nearest] < min_distance:
                kept[row] = False
                found.append(Duplicate(int(indices[row]), int(indices[nearest]), float(near[nearest])))
    return found
