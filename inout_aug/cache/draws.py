"""Which sample of a cache comes at which position of which epoch: a pure function, that any worker can have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.fitted import original_of
from inout_aug.cache.reaugment import Reaugment
from inout_aug.cache.review import relabelled
from inout_aug.cache.store import SampleCache
from inout_aug.sample import Sample
from inout_aug.seeding import permuted, stream

# what a stream is for, so that the same integers give unrelated numbers
_ORDER, _PICK, _AUGMENT = range(3)
_SEEDS = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The samples of one defect class.

    Attributes:
        positions: Theirs in the cache.
        count: Draws per epoch.
        weights: Chance of each to be drawn, up to a factor, float64; None for draws without replacement.
    """

    positions: NDArray[np.integer[Any]]
    count: int
    weights: NDArray[np.float64] | None = None


class CachedDraws:
    """The draws of one dataset; see `Draws`. Pickles as the name of a file, and two numbers for each position.

    Without replacement, the j-th draw from a pool of m samples, counted over all epochs, is the (j mod m)-th in an
    order fixed by the seed; which of an epoch's draws falls on which position is permuted anew in each epoch. So up to
    m draws an epoch are different samples, and over the epochs each comes equally often, give or take one.

    Args:
        cache: Where the samples are.
        pools: Of each defect class.
        seed: Base seed.
        relabelled: Defect class of those positions of the cache that have another one than when generated.
        fitted: Whether `cache` was made by `fit_cache`.
        augment: What each draw goes through; None for nothing.

    Attributes:
        classes: Defect class at each position, uint8, (count,).
    """

    def __init__(
        self,
        cache: SampleCache | Sequence[Sample],
        pools: Mapping[int, Pool],
        *,
        seed: int,
        relabelled: Mapping[int, int] | None = None,
        fitted: bool = False,
        augment: Reaugment | None = None,
    ) -> None:
        self._cache, self._fitted = cache, fitted
        self._seed = seed
        self._relabelled = dict(relabelled or {})
        self._augment = augment
        self._pools: dict[int, Pool] = {}
        for label, pool in pools.items():
            order = stream(seed, label, _ORDER).permutation(len(pool.positions))
            weights = None if pool.weights is None else np.cumsum(pool.weights[order])
            if weights is not None:
                weights /= weights[-1]
            self._pools[label] = Pool(pool.positions[order].astype(np.int32), pool.count, weights)
        # spread evenly, so that any stretch of positions has its share of each class
        counts = [pool.count for pool in pools.values()]
        due = np.concatenate([np.empty(0), *((np.arange(count) + 0.5) / count for count in counts if count)])
        slots = np.argsort(due, kind="stable")
        self.classes: NDArray[np.uint8] = np.repeat(np.fromiter(pools, np.uint8, len(counts)), counts)[slots]
        ranks = [np.arange(count, dtype=np.int32) for count in counts]
        self._ranks = np.concatenate([np.empty(0, np.int32), *ranks])[slots]

    def __call__(self, position: int, epoch: int) -> Sample:
        """Return the sample at `position` in [0, count); its label is the defect class."""
        place = self._place(position, epoch)
        sample = self._cache[place]
        origin = original_of(sample) if self._fitted else sample.origin
        sample = relabelled(sample, self._relabelled.get(place, sample.label))
        image, mask = sample.image, sample.mask
        if self._augment is not None:
            seed = int(stream(self._seed, epoch, position, _AUGMENT).integers(_SEEDS))
            image, mask = self._augment(image, mask, seed)
            origin = replace(origin, params={**origin.params, "augment_seed": seed})
        # a host that the generator used is none of the wrapped dataset's
        return Sample(image, mask, sample.label, origin if origin.host is None else replace(origin, host=None))

    def _place(self, position: int, epoch: int) -> int:
        """Return which sample of the cache is drawn."""
        label = int(self.classes[position])
        pool = self._pools[label]
        if pool.weights is not None:
            chance = stream(self._seed, epoch, position, _PICK).random()
            return int(pool.positions[np.searchsorted(pool.weights, chance, side="right")])
        turn = epoch * pool.count + permuted(int(self._ranks[position]), pool.count, self._seed, epoch, label)
        return int(pool.positions[turn % len(pool.positions)])
