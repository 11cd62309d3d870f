"""Which normal sample each synthetic one is painted on."""

from __future__ import annotations

from dataclasses import dataclass

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
