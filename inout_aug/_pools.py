"""Drawing evenly from a set of indices, over and over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inout_aug.seeding import stream


def draw_evenly(
    pool: NDArray[np.int64], count: int, epoch: int, *key: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the next `count` indices of an endlessly reshuffled pool, and which time round each of them is.

    Args:
        pool: To draw from.
        count: Drawn in every epoch.
        epoch: How often as many were drawn before.
        key: Fixes the order.
    """
    if not count:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, offset = divmod(epoch * count, len(pool))
    last = (epoch * count + count - 1) // len(pool)
    rounds = range(first, last + 1)
    order = np.concatenate([pool[stream(*key, turn).permutation(len(pool))] for turn in rounds])
    turns = np.repeat(np.array(rounds), len(pool))
    return order[offset : offset + count], turns[offset : offset + count]
