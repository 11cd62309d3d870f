"""A sampler that keeps the real positives' share of what the loop draws, however many synthetic ones there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler

from inout_aug._pools import draw_evenly
from inout_aug._ranks import world
from inout_aug.seeding import EpochIndex, check_epoch, check_seed, check_state, stream


class PositivesSampler(DistributedSampler[int]):
    """Draws fixed numbers of normals, real positives and synthetic positives, shuffled, each pool used evenly.

    A pool is gone through in a random order and then again in another one, on across epochs, so that no sample is drawn
    twice before all were drawn once. Draws depend on `(seed, epoch)` alone. On several ranks each gets every
    num_replicas-th draw, all equally many; it is a `DistributedSampler`, so that frameworks which shard samplers by
    themselves let it be.

    Args:
        normals: Indices of normal samples.
        real: Indices of real positives; may be empty.
        synthetic: Indices of synthetic positives; may be empty.
        positives: Share of positives, in (0, 1].
        real_share: Share of real samples among the positives, in [0, 1].
        num_samples: Draws per epoch over all ranks, at least 1; rounded up to a multiple of the ranks.
        seed: Base seed.
        num_replicas: Number of ranks; None asks `torch.distributed`, when iterated.
        rank: This process's rank; goes with `num_replicas`.

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
        if isinstance(num_samples, bool) or not isinstance(num_samples, int | np.integer) or num_samples < 1:
            raise ValueError(f"num_samples must be an integer >= 1; got {num_samples!r}")
        if not len(real) and not len(synthetic):
            raise ValueError("there are no positives to draw, real or synthetic. Raise ratio= or n_aug=")
        if positives < 1 and not len(normals):
            raise ValueError("there are no normal samples to draw. Pass positives=1.0")
        if (num_replicas is None) != (rank is None):
            raise ValueError(f"give num_replicas and rank together; got {num_replicas} and {rank}")
        if num_replicas is not None and rank is not None and not 0 <= rank < num_replicas:
            raise ValueError(f"rank must be in [0, {num_replicas}); got {rank}")
        # not super().__init__(): it fixes ranks now, and the process group may come later
        self.seed = check_seed(seed)
        self._ranks = None if num_replicas is None or rank is None else (num_replicas, rank)
        self._pools = (normals, real, synthetic)
        self._positives = positives
        self._real_share = 1.0 if not len(synthetic) else 0.0 if not len(real) else real_share
        self._wanted = int(num_samples)
        self._epoch: int | None = None
        self._passes = 0
        self._at: tuple[int, int] | None = None
        self._resumed: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Return the number of draws of this rank in an epoch."""
        return -(-self._wanted // self._world()[0])

    def __iter__(self) -> Iterator[int]:
        """Yield this rank's indices; each carries how often its sample was drawn before, for a fresh synthetic draw."""
        # now, not at the first draw: loaders make iterators that they never use
        self._at, self._resumed = self._resumed, None
        return self._indices(self._at)

    def _indices(self, resumed: tuple[int, int] | None) -> Iterator[int]:
        epoch, start = resumed or (self._next_epoch(), 0)
        self._passes = epoch + 1
        num_replicas, rank = self._world()
        total = len(self) * num_replicas
        n_positive = round(self._positives * total)
        n_real = round(self._real_share * n_positive)
        counts = (total - n_positive, n_real, n_positive - n_real)
        drawn = [
            draw_evenly(pool, count, epoch, self.seed, number)
            for number, (pool, count) in enumerate(zip(self._pools, counts, strict=True))
        ]
        indices = np.concatenate([part[0] for part in drawn])
        turns = np.concatenate([part[1] for part in drawn])
        order = stream(self.seed, epoch).permutation(total)[rank::num_replicas]
        for number, i in enumerate(order[start:].tolist(), start + 1):
            self._at = (epoch, number)
            yield EpochIndex(int(indices[i]), int(turns[i]))

    def _world(self) -> tuple[int, int]:
        """Return the number of ranks, and this process's."""
        return self._ranks or world() or (1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; otherwise each iteration is the next epoch.

        Raises:
            ValueError: `epoch` is not an integer >= 0.
        """
        self._epoch = check_epoch(epoch)
        if self._resumed is not None and self._resumed[0] != epoch:  # that epoch was over when it was saved
            self._resumed = None

    def _next_epoch(self) -> int:
        return self._passes if self._epoch is None else self._epoch

    def state_dict(self) -> dict[str, Any]:
        """Return where this rank is in its epoch: for torchdata's StatefulDataLoader, or to save by hand.

        A plain DataLoader with workers draws ahead; save `{"epoch": epoch, "drawn": batches_done * batch_size}` there.
        """
        epoch, drawn = self._resumed or self._at or (self._next_epoch(), 0)
        return {"seed": self.seed, "num_replicas": self._world()[0], "epoch": epoch, "drawn": drawn}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration be the rest of a saved one.

        Args:
            state: From `state_dict`.

        Raises:
            ValueError: It was saved with another seed or number of ranks, or is out of range.
        """
        check_state(state, seed=self.seed, num_replicas=self._world()[0])
        epoch, drawn = check_epoch(state["epoch"]), state["drawn"]
        if not 0 <= drawn <= len(self):
            raise ValueError(f"drawn must be in [0, {len(self)}], the draws of an epoch; got {drawn}")
        self._passes = epoch + 1
        self._resumed, self._at = (epoch, drawn), None
