"""How different samples are from each other: all of them, and those that resemble the same real image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inout_aug.evaluate.fidelity import Interval, interval_of, pair_mean
from inout_aug.seeding import check_seed, stream

_DRAWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """Mean distances between pairs of images, in [0, 2].

    Attributes:
        pairwise: Of all pairs.
        pairwise_interval: In which it lies with 95 %, by resampling the images.
        within_clusters: Of the pairs with the same nearest real image, averaged over these; None if there are no such.
        clusters: How many images have which nearest real image.
    """

    pairwise: float
    pairwise_interval: Interval
    within_clusters: float | None
    clusters: dict[int, int]


def diversity(distances: ArrayLike, nearest: ArrayLike, *, seed: int = 0) -> Diversity:
    """Return how different images are.

    The mean within clusters tells new defects from a few repeated ones with little variation: Ojha et al., "Few-shot
    image generation via cross-domain correspondence", CVPR 2021, section 4.1, which uses LPIPS as distance.

    Args:
        distances: Between all images, (N, N), symmetric.
        nearest: Which real image is the nearest to each, (N,).
        seed: Draws the weights of the Bayesian bootstrap.

    Raises:
        ValueError: There are fewer than two images, or sizes do not fit.

    Example:
        >>> between = [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
        >>> found = diversity(between, [5, 5, 7])
        >>> found.pairwise, found.within_clusters, found.clusters
        (2.0, 1.0, {5: 2, 7: 1})
    """
    matrix, owners = np.asarray(distances, np.float64), np.asarray(nearest)
    count = len(matrix)
    if count < 2 or matrix.shape != (count, count) or owners.shape != (count,):
        raise ValueError(
            f"distances are (N, N) and the nearest (N,), of at least two images; got {matrix.shape}, {owners.shape}"
        )
    weights = stream(check_seed(seed)).dirichlet(np.ones(count), _DRAWS)
    members = [np.flatnonzero(owners == owner) for owner in np.unique(owners)]
    within = [mean_of_pairs(matrix[np.ix_(some, some)]) for some in members if len(some) > 1]
    return Diversity(
        pairwise=mean_of_pairs(matrix),
        pairwise_interval=interval_of(pair_mean(matrix, weights)),
        within_clusters=float(np.mean(within)) if within else None,
        clusters={int(owners[some[0]]): len(some) for some in members},
    )


def mean_of_pairs(matrix: NDArray[np.float64]) -> float:
    """Return the mean over all pairs of two different images, (N, N)."""
    return float(pair_mean(matrix, np.ones((1, len(matrix))))[0])
