"""A sampler that keeps the real positives' share of what the loop draws, however many synthetic ones there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from inout_aug._epochs import RankedEpochs
from inout_aug._pairs import match, shuffled
from inout_aug._pools import draw_evenly
from inout_aug.seeding import EpochIndex, stream

HostsOf: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]

# from so many different real positives on they make half of what is drawn
_REMEMBERED = 8
# of twice as many, and more, the synthetic ones are no more than so many
_ENOUGH = 10


class PositivesSampler(RankedEpochs[int], DistributedSampler[int]):
    """Draws fixed numbers of normals, real positives and synthetic positives, shuffled, each pool used evenly.

    A pool is gone through in a random order and then again in another one, on across epochs, so that no sample is drawn
    twice before all were drawn once. Where a synthetic sample and its host are both drawn in an epoch, they come one
    after the other, so that a batch holds both, and the host is read and decoded once. Draws depend on `(seed, epoch)`
    alone. On several ranks each gets every num_replicas-th two draws, all equally many; it is a `DistributedSampler`,
    so that frameworks which shard samplers by themselves let it be.

    Args:
        normals: Indices of normal samples.
        real: Indices of real positives; may be empty.
        synthetic: Indices of synthetic positives; may be empty.
        positives: Share of positives, in (0, 1].
        real_share: Share of real samples among the positives, in [0, 1]; None for `default_real_share`.
        num_samples: Draws per epoch over all ranks, at least 1; rounded up to a multiple of the ranks.
        seed: Base seed.
        num_replicas: Number of ranks; None asks `torch.distributed`, when iterated.
        rank: This process's rank; goes with `num_replicas`.
        hosts: From indices of synthetic samples, and how often each was drawn before, to those of their hosts, -1 for
            none; None if it does not matter what comes when.

    Raises:
        ValueError: A share is out of range, or a pool that must give samples is empty.
    """

    def __init__(
        self,
        *,
        normals: NDArray[np.int64],
        real: NDArray[np.int64],
        synthetic: NDArray[np.int64],
        positives: float,
        real_share: float | None,
        num_samples: int,
        seed: int,
        num_replicas: int | None = None,
        rank: int | None = None,
        hosts: HostsOf | None = None,
    ) -> None:
        if not 0 < positives <= 1:
            raise ValueError(f"positives is a share in (0, 1]; got {positives}")
        if real_share is None:
            real_share = default_real_share(len(real))
        if not 0 <= real_share <= 1:
            raise ValueError(f"real is a share in [0, 1]; got {real_share}")
        if isinstance(num_samples, bool) or not isinstance(num_samples, int | np.integer) or num_samples < 1:
            raise ValueError(f"num_samples must be an integer >= 1; got {num_samples!r}")
        if not len(real) and not len(synthetic):
            raise ValueError("there are no positives to draw, real or synthetic. Raise ratio= or n_aug=")
        if positives < 1 and not len(normals):
            raise ValueError("there are no normal samples to draw. Pass positives=1.0")
        # not super().__init__(): it fixes ranks now, and the process group may come later
        self._begin(seed, num_replicas, rank)
        self._pools = (normals, real, synthetic)
        self._positives = positives
        self._real_share = 1.0 if not len(synthetic) else 0.0 if not len(real) else real_share
        self._wanted = int(num_samples)
        self._hosts = hosts

    def __len__(self) -> int:
        """Return the number of draws of this rank in an epoch."""
        return -(-self._wanted // self._world()[0])

    def _draws(self, epoch: int, start: int) -> Iterator[int]:
        """Yield this rank's indices; each carries how often its sample was drawn before, for a fresh synthetic draw."""
        num_replicas, rank = self._world()
        total = len(self) * num_replicas
        n_positive = round(self._positives * total)
        n_real = round(self._real_share * n_positive)
        counts = (total - n_positive, n_real, n_positive - n_real)
        drawn = [
            draw_evenly(pool, count, epoch, self.seed, number)
            for number, (pool, count) in enumerate(zip(self._pools, counts, strict=True))
        ]
        indices, turns = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        first = second = np.empty(0, np.intp)
        if self._hosts is not None and counts[-1]:
            first, second = match(self._hosts(*drawn[-1]), drawn[0][0])
            first += total - counts[-1]
        order = shuffled(total, first, second, stream(self.seed, epoch))
        for i in _share(order, num_replicas, rank)[start:].tolist():
            yield EpochIndex(int(indices[i]), int(turns[i]))


def _share(order: NDArray[np.intp], num_replicas: int, rank: int) -> NDArray[np.intp]:
    """Return a rank's draws: every num_replicas-th two, so that at each step the ranks together go on in the order."""
    each = len(order) // num_replicas
    in_twos, rest = np.split(order, [each // 2 * 2 * num_replicas])
    return np.append(in_twos.reshape(-1, num_replicas, 2)[:, rank], rest[rank::num_replicas])


def default_real_share(real: int) -> float:
    """Return the share of real ones among the positives to draw, for so many different ones.

    A handful of real defects drowns among many synthetic ones; at half of the positives, two or three of them are shown
    so often that a network learns them by heart. Where there are many, synthetic ones have less to add, and at half of
    the positives take away from what real ones teach: on magnetic tiles the best of the shares tried was a tenth for 3
    real defects, a half for 20, and nine tenths for 89 (`benchmarks/results/real_share.json`). So it is n / (n + 8) up
    to 8 of them, a half up to 20, and from there on 1 - 10 / n.

    Args:
        real: Number of real positives.

    Example:
        >>> [round(default_real_share(n), 2) for n in (0, 2, 8, 20, 89, 200)]
        [0.0, 0.2, 0.5, 0.5, 0.89, 0.95]
    """
    return max(min(0.5, real / (real + _REMEMBERED)), 1 - _ENOUGH / max(real, 1))
