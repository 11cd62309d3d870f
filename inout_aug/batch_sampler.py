"""A batch sampler that puts equally many synthetic samples into every batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from inout_aug._epochs import RankedEpochs
from inout_aug._pools import draw_evenly
from inout_aug.dataset import InOutDataset
from inout_aug.seeding import EpochIndex, stream

_REAL, _SYNTHETIC = 0, 1


class InOutBatchSampler(RankedEpochs[list[int]], Sampler[list[int]]):
    """Fills every batch with `round(share * batch_size)` synthetic samples, the rest with real ones, shuffled.

    Both kinds are gone through in a random order and then again in another one, on across epochs, so that none is drawn
    twice before all were drawn once. An epoch is as many full batches as there are real samples for. Draws depend on
    `(seed, epoch)` alone; ranks get different batches, equally many.

    Args:
        dataset: What `InOutAugment` returned.
        batch_size: Samples in each batch, on each rank.
        share: Share of synthetic samples in a batch, in [0, 1].
        num_batches: Batches in an epoch, on each rank.
        seed: Default: that of the dataset.
        num_replicas: Number of ranks; default from `torch.distributed`, when iterated. Give 1, and rank 0, where the
            framework shares out a sampler's batches itself, as accelerate does.
        rank: This process's rank; goes with `num_replicas`.

    Attributes:
        n_synthetic: Synthetic samples in each batch.

    Raises:
        TypeError: `dataset` is not a wrapped map-style dataset.
        ValueError: An option is out of range, or there are no samples of a kind that is wanted.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from inout_aug import InOutAugment, MemSegPaste
        >>> from inout_aug.datasets import Surfaces
        >>> train = InOutAugment(generators=[MemSegPaste()], ratio=0.5)(Surfaces(40, size=(32, 32), binary=True))
        >>> loader = DataLoader(train, batch_sampler=InOutBatchSampler(train, batch_size=8, share=0.25))
        >>> len(loader), [int((np.array(batch) >= 40).sum()) for batch in loader.batch_sampler][:3]
        (6, [2, 2, 2])
    """

    _unit = "batches"

    def __init__(
        self,
        dataset: InOutDataset,
        *,
        batch_size: int,
        share: float,
        num_batches: int | None = None,
        seed: int | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        if not isinstance(dataset, InOutDataset):
            raise TypeError(
                f"dataset is what InOutAugment(...) makes of a map-style dataset; got {type(dataset).__name__}. Others "
                "take BatchPaste(share=...), as collate_fn or in the loop"
            )
        for name, value in (("batch_size", batch_size), ("num_batches", num_batches)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer >= 1; got {value!r}")
        if not 0 <= share <= 1:
            raise ValueError(f"share is that of synthetic samples in a batch, in [0, 1]; got {share}")
        self._begin(dataset.seed if seed is None else seed, num_replicas, rank)
        self.batch_size = batch_size
        self.drop_last = True
        self.n_synthetic = round(share * batch_size)
        n_real = dataset.n_real
        self._pools = np.arange(n_real), np.arange(n_real, len(dataset))
        self._num_batches = num_batches
        if self.n_synthetic and not len(self._pools[_SYNTHETIC]):
            raise ValueError(f"share={share} wants synthetic samples, but the dataset has none. Raise ratio= or n_aug=")
        if not len(self):
            raise ValueError(
                f"{n_real} real samples do not fill one batch of {batch_size} on each rank. Lower batch_size or raise "
                "share, or give num_batches="
            )

    def __len__(self) -> int:
        """Return the number of batches of this rank in an epoch."""
        if self._num_batches is not None:
            return self._num_batches
        # all synthetic: as many batches as there are synthetic samples for
        kind = _REAL if self.n_synthetic < self.batch_size else _SYNTHETIC
        return len(self._pools[kind]) // (self._counts()[kind] * self._world()[0])

    def _draws(self, epoch: int, start: int) -> Iterator[list[int]]:
        num_replicas, rank = self._world()
        batches, total = len(self), len(self) * num_replicas
        drawn = [
            draw_evenly(pool, count * total, epoch, self.seed, self.batch_size, kind)
            for kind, (pool, count) in enumerate(zip(self._pools, self._counts(), strict=True))
        ]
        for done in range(start, batches):
            number = done * num_replicas + rank
            parts = [
                (index[number * count : (number + 1) * count], turn[number * count : (number + 1) * count])
                for (index, turn), count in zip(drawn, self._counts(), strict=True)
            ]
            indices, turns = (np.concatenate(part) for part in zip(*parts, strict=True))
            order = stream(self.seed, epoch, number).permutation(self.batch_size)
            yield [EpochIndex(int(indices[i]), int(turns[i])) for i in order]

    def _settings(self) -> dict[str, int]:
        return {**super()._settings(), "batch_size": self.batch_size, "n_synthetic": self.n_synthetic}

    def _counts(self) -> tuple[int, int]:
        """Return the numbers of real and synthetic samples in a batch."""
        return self.batch_size - self.n_synthetic, self.n_synthetic
