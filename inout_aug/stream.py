"""An iterable dataset with synthetic positives between its real samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch.distributed
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from inout_aug import containers
from inout_aug.injector import Host, Injector, Slot, forward
from inout_aug.labels import label_of
from inout_aug.layout import Fields, Layout, get_field, replace_fields
from inout_aug.seeding import EpochClock, permuted

# synthetic samples come in this rhythm of generators, over and over, so that shares are exact in any such stretch
PERIOD = 1000
_HOST_BUFFER = 64
_MAX_WORKERS = 4096


class InOutIterableDataset(IterableDataset[Any]):
    """What `InOutAugment` makes of an iterable dataset: its samples in order, synthetic positives evenly between them.

    After j real samples, `ratio * j` synthetic ones, rounded, have come, once there is a normal host; hosts are among
    the last 64 normal samples. Sharding is the wrapped dataset's own: each worker adds to what it reads, so that
    together they add `ratio` per real sample, each its own draws.

    Args:
        dataset: The wrapped dataset.
        injector: Makes the synthetic items.
        rhythm: Member of each synthetic sample, repeated, uint8, shape (PERIOD,).
        ratio: Synthetic samples per real one.
        seed: Base seed.
        resample: Draw anew in every epoch.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        injector: Injector,
        rhythm: NDArray[np.uint8],
        ratio: float,
        seed: int,
        resample: bool,
    ) -> None:
        self.dataset = dataset
        self.seed = seed
        self.ratio = ratio
        self._injector = injector
        self._rhythm = rhythm
        self._clock = EpochClock(_MAX_WORKERS)
        self._resample = resample
        self._world = (1, 0)
        if not resample:
            self._clock.set(0)

    def __len__(self) -> int:
        """Return the number of real plus synthetic samples, where the wrapped dataset has a length."""
        n_real = len(self.dataset)
        return n_real + math.floor(self.ratio * n_real + 0.5)

    def __getattr__(self, name: str) -> Any:
        return forward(self, name)

    def __getstate__(self) -> dict[str, Any]:
        # a spawned worker has no process group to ask
        return {**self.__dict__, "_world": self._find_world()}

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; otherwise each iteration is the next epoch.

        Raises:
            ValueError: `epoch` is not an integer >= 0.
        """
        if self._resample:
            self._clock.set(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[Any]:
        """Yield real items in order, with synthetic ones between them.

        Raises:
            ValueError: An item's label is neither normal nor that of synthetic positives; or no sample was normal.
        """
        shard, shards, worker = self._shard()
        epoch = self._clock.tick(worker)
        layout, rule = self._injector.layout, self._injector.rule
        hosts: list[Host] = []
        count = normals = emitted = 0
        for count, item in enumerate(self.dataset, start=1):
            label = label_of(item, layout)
            if label == rule.normal:
                host = (count - 1, _owned(item, layout))
                hosts[normals % _HOST_BUFFER : normals % _HOST_BUFFER + 1] = [host]
                normals += 1
            elif not rule.knows(label) and not (isinstance(layout, Fields) and layout.label is None):
                raise ValueError(
                    f"sample {count - 1} has label {label}; normal samples have {rule.normal}, synthetic positives "
                    f"{rule.positive}. Pass normal_label= and positive_label="
                )
            yield self._injector.real(item)
            # shares of one ratio over equal shards: these floors add up to the ratio of all (Hermite's identity)
            due = math.floor(self.ratio * count + (shard + 0.5) / shards)
            while hosts and emitted < due:
                yield self._injector.item(
                    self._slot(emitted * shards + shard, epoch), _Recent(hosts, self.seed, emitted)
                )
                emitted += 1
        if count and self.ratio and not normals:
            raise ValueError(f"none of {count} samples was normal, label {rule.normal}, so none was painted on")

    def _shard(self) -> tuple[int, int, int]:
        """Return this worker's number among all of all ranks, how many there are, and its number on its rank."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        ranks, rank = self._find_world()
        return rank * workers + worker, ranks * workers, worker

    def _find_world(self) -> tuple[int, int]:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_world_size(), torch.distributed.get_rank()
        return self._world

    def _slot(self, index: int, epoch: int) -> Slot:
        turn, beat = divmod(index, len(self._rhythm))
        member = int(self._rhythm[beat])
        position = int(np.count_nonzero(self._rhythm[:beat] == member))
        return Slot(member, position, (epoch << 32) + turn, (self.seed, epoch, index))


class _Recent:
    """Hosts among the last normal samples."""

    def __init__(self, hosts: list[Host], seed: int, turn: int) -> None:
        self.hosts, self.key = hosts, (seed, turn)

    def __call__(self, attempt: int) -> Host:
        return self.hosts[permuted(attempt % len(self.hosts), len(self.hosts), *self.key)]


def _owned(item: Any, layout: Layout) -> Any:
    """Return an item whose image and mask nobody writes to: not the loop it is yielded to, nor the next one read."""
    if not isinstance(layout, Fields):
        return copy.deepcopy(item)
    keys = [layout.image] if layout.mask is None else [layout.image, layout.mask]
    return replace_fields(item, {key: containers.copied(get_field(item, key)) for key in keys})
