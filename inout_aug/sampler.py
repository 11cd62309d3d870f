"""A sampler that keeps the real positives' share of what the loop draws, however many synthetic ones there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch.distributed
from numpy.typing import NDArray
from torch.utils.data import Sampler

from inout_aug.seeding import EpochIndex, check_seed, stream


class PositivesSampler(Sampler[int]):
    """Draws fixed numbers of normals, real positives and synthetic positives, shuffled, each pool used evenly.

    A pool is gone through in a random order and then again in another one, on across epochs, so that no sample is drawn
    twice before all were drawn once. Draws depend on `(seed, epoch)` alone. On several ranks each gets every
    num_replicas-th draw, all equally many.

    Args:
        normals: Indices of normal samples.
        real: Indices of real positives; may be empty.
        synthetic: Indices of synthetic positives; may be empty.
        positives: Share of positives, in (0, 1].
        real_share: Share of real samples among the positives, in [0, 1].
        num_samples: Draws per epoch over all ranks, at least 1; rounded up to a multiple of the ranks.
        seed: Base seed.
        num_replicas: Number of ranks; None asks `torch.distributed`.
        rank: This process's rank; None asks `torch.distributed`.

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
        real_share: float,
        num_samples: int,
        seed: int,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        if not 0 < positives <= 1:
            raise ValueError(f"positives is a share in (0, 1]; got {positives}")
        if not 0 <= real_share <= 1:
            raise ValueError(f"real is a share in [0, 1]; got {real_share}")
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1; got {num_samples}")
        if not len(real) and not len(synthetic):
            raise ValueError("there are no positives to draw, real or synthetic. Raise ratio= or n_aug=")
        if positives < 1 and not len(normals):
            raise ValueError("there are no normal samples to draw. Pass positives=1.0")
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.num_replicas = num_replicas or (torch.distributed.get_world_size() if distributed else 1)
        self.rank = rank if rank is not None else (torch.distributed.get_rank() if distributed else 0)
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"rank must be in [0, {self.num_replicas}); got {self.rank}")
        self.seed = check_seed(seed)
        self._per_rank = -(-num_samples // self.num_replicas)
        total = self._per_rank * self.num_replicas
        if not len(synthetic):
            real_share = 1.0
        elif not len(real):
            real_share = 0.0
        n_positive = round(positives * total)
        n_real = round(real_share * n_positive)
        self._pools = (normals, real, synthetic)
        self._counts = (total - n_positive, n_real, n_positive - n_real)
        self._epoch: int | None = None
        self._passes = 0

    def __len__(self) -> int:
        """Return the number of draws of this rank in an epoch."""
        return self._per_rank

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices; each carries how often its sample was drawn before, for a fresh synthetic draw."""
        epoch = self._passes if self._epoch is None else self._epoch
        self._passes = epoch + 1
        drawn = [
            self._draw(pool, count, epoch, number)
            for number, (pool, count) in enumerate(zip(self._pools, self._counts, strict=True))
        ]
        indices = np.concatenate([part[0] for part in drawn])
        turns = np.concatenate([part[1] for part in drawn])
        order = stream(self.seed, epoch).permutation(len(indices))[self.rank :: self.num_replicas]
        for i in order.tolist():
            yield EpochIndex(int(indices[i]), int(turns[i]))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; otherwise each iteration is the next epoch.

        Raises:
            ValueError: `epoch` is negative.
        """
        if epoch < 0:
            raise ValueError(f"epoch must be an integer >= 0; got {epoch!r}")
        self._epoch = epoch

    def _draw(
        self, pool: NDArray[np.int64], count: int, epoch: int, number: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the next `count` indices of an endlessly reshuffled pool, and which time round each of them is."""
        if not count:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        first, offset = divmod(epoch * count, len(pool))
        last = (epoch * count + count - 1) // len(pool)
        rounds = range(first, last + 1)
        order = np.concatenate([pool[stream(self.seed, number, turn).permutation(len(pool))] for turn in rounds])
        turns = np.repeat(np.array(rounds), len(pool))
        return order[offset : offset + count], turns[offset : offset + count]
