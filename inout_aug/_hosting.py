"""Which normal sample each synthetic one is painted on, and how it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inout_aug.seeding import permuted, permuted_all


@dataclass(frozen=True, slots=True, eq=False)
class HostOrder:
    """Within an epoch all normals are hosts equally often, in an order of that epoch.

    Attributes:
        hosts: Indices of the normal samples in the dataset, int64.
        seed: Base seed.
    """

    hosts: NDArray[np.int64]
    seed: int

    def at(self, synthetic: int, epoch: int, attempt: int) -> int:
        """Return the host of a synthetic sample; of later attempts, where earlier hosts were refused."""
        turn, position = divmod(synthetic + attempt, len(self.hosts))
        return int(self.hosts[permuted(position, len(self.hosts), self.seed, epoch, turn)])

    def of(self, synthetic: NDArray[np.int64], epochs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first host of many synthetic samples, each in an epoch of its own."""
        size = len(self.hosts)
        turns, positions = np.divmod(synthetic, size)
        keys, which = np.unique(np.stack([epochs, turns]), axis=1, return_inverse=True)
        found = np.empty_like(positions)
        for number, (epoch, turn) in enumerate(keys.T.tolist()):
            those = which == number
            found[those] = permuted_all(positions[those], size, self.seed, epoch, turn)
        return self.hosts[found]


class Reads:
    """Reads the items of a batch: once for a synthetic sample and for its host, where that comes later in the batch.

    Args:
        dataset: The wrapped dataset.
        real: Indices of the items that the batch takes from it, as often as it takes each.
        shared: Makes of a host's item one that serves for both; None if what is done to one could change the other.
    """

    def __init__(self, dataset: Any, real: Iterable[int], shared: Callable[[Any], Any | None]) -> None:
        self._dataset = dataset
        self._to_come = Counter(real)
        self._shared = shared
        self._kept: dict[int, Any] = {}

    def host(self, index: int) -> Any:
        """Return an item to paint on."""
        if index in self._kept:
            return self._kept[index]
        item = self._dataset[index]
        if not self._to_come[index] or (shared := self._shared(item)) is None:
            return item
        self._kept[index] = shared
        return shared

    def real(self, index: int) -> Any:
        """Return an item for the loop, whose transform may change it."""
        self._to_come[index] -= 1
        return self._kept.pop(index) if index in self._kept else self._dataset[index]
