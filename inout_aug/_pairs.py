"""An order of draws in which a synthetic sample comes right before its host, where both are drawn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.intp]


def match(hosts: NDArray[np.int64], normals: NDArray[np.int64]) -> tuple[Places, Places]:
    """Return which draws of synthetic samples have a draw of their host to themselves, and which that is.

    Args:
        hosts: Of each synthetic draw; negative for none.
        normals: What is drawn of the normals.

    Example:
        >>> match(np.array([7, -1, 7, 3]), np.array([3, 7, 5]))
        (array([3, 0]), array([0, 1]))
    """
    with_host = np.flatnonzero(hosts >= 0)
    # the second draw of a sample that has the same host goes with the host's second draw
    times = max(len(hosts), len(normals)) + 1
    wanted = hosts[with_host] * times + _times_before(hosts[with_host])
    drawn = normals * times + _times_before(normals)
    _, synthetic, normal = np.intersect1d(wanted, drawn, assume_unique=True, return_indices=True)
    return with_host[synthetic], normal


def shuffled(total: int, first: Places, second: Places, rng: np.random.Generator) -> Places:
    """Return a random order of `total` draws, in which each of `first` comes right before that of `second`.

    Pairs begin at even places, so that batches of an even size hold them whole.
    """
    single = np.ones(total, bool)
    single[first] = single[second] = False
    others = rng.permutation(np.flatnonzero(single))
    paired = len(others) // 2 * 2
    couples = np.concatenate([np.stack([first, second], axis=1), others[:paired].reshape(-1, 2)])
    return np.append(rng.permutation(couples), others[paired:])


def _times_before(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each value occurs before."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    times = np.empty(len(values), np.int64)
    times[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered)
    return times
