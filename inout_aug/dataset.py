"""A map-style dataset with synthetic positives after its real samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from inout_aug._hosting import HostOrder, Reads
from inout_aug._wrapper import Wrapper
from inout_aug.injector import Host, Injector, Slot, Summary, as_int
from inout_aug.plugin import Paster
from inout_aug.sample import Sample
from inout_aug.sampler import PositivesSampler
from inout_aug.seeding import EpochIndex, check_state


class InOutDataset(Wrapper, Dataset[Any]):
    """What `InOutAugment` makes of a map-style dataset: its samples untouched and in order, then the synthetic ones.

    `len(train) == n_real + n_synthetic`, the same on every rank; `n_real == len(dataset)` unless `normals=` leaves some
    out, which then serve as hosts only. Synthetic sample k of epoch e depends on `(seed, e, k)` alone, whatever the
    workers. Attributes of the wrapped dataset are available; `targets` covers the synthetic samples too.

    Args:
        dataset: The wrapped dataset.
        injector: Makes the synthetic items.
        schedule: Injector's member of each synthetic index, uint8, shape (n_synthetic,).
        labels: Of the samples of `dataset`, int64, shape (len(dataset),).
        real: Indices of those that are samples of the wrapped dataset too, in order.
        seed: Base seed.
        resample: Draw anew at every visit; False gives the same synthetic samples in every epoch.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        injector: Injector,
        schedule: NDArray[np.uint8],
        labels: NDArray[np.int64],
        real: range | NDArray[np.int64],
        seed: int,
        resample: bool,
    ) -> None:
        self._wrap(dataset, injector, draws=len(schedule), seed=seed, resample=resample)
        self._schedule = schedule
        self._positions = _positions_within(schedule)
        self._real = real
        self._labels = labels if isinstance(real, range) else labels[real]
        self._order = HostOrder(np.flatnonzero(labels == injector.rule.normal), seed)

    def __len__(self) -> int:
        return self.n_real + len(self._schedule)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return several items, as loaders ask for a batch; a host that is drawn as well is read once for both."""
        positions = [as_int(index, len(self)) for index in indices]
        real = [int(self._real[position]) for position in positions if position < self.n_real]
        reads = Reads(self.dataset, real, self._injector.shared)
        return [self._item(index, position, reads) for index, position in zip(indices, positions, strict=True)]

    def __repr__(self) -> str:
        return f"InOutDataset({self.n_real} real + {len(self._schedule)} synthetic, {type(self.dataset).__name__})"

    def __getattr__(self, name: str) -> Any:
        # `labels` only where the wrapped dataset has them, as `targets` for the synthetic samples too
        return self.targets if name == "labels" and hasattr(self.dataset, name) else super().__getattr__(name)

    @property
    def n_real(self) -> int:
        """Number of real samples, which come first."""
        return len(self._real)

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """Label of every sample, real and synthetic, int64, shape (len(self),)."""
        synthetic = np.empty(len(self._schedule), np.int64)
        for member in np.unique(self._schedule):
            slots = self._schedule == member
            synthetic[slots] = self._injector.labels(int(member), int(np.count_nonzero(slots)))
        return np.concatenate([self._labels, synthetic])

    def state_dict(self) -> dict[str, Any]:
        """Return what later draws depend on, for torchdata's StatefulDataLoader, or to save between epochs.

        Draws through `sampler()`, or after `set_epoch`, depend on nothing that is not told anew; the others on visits.
        """
        state = {**self._settings(), **self._clock.state_dict()}
        return state | ({"dataset": self.dataset.state_dict()} if hasattr(self.dataset, "state_dict") else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state.

        Args:
            state: From `state_dict`.

        Raises:
            ValueError: It was saved with another seed, or other numbers of samples.
        """
        check_state(state, **self._settings())
        if "dataset" in state:
            self.dataset.load_state_dict(state["dataset"])
        self._clock.load_state_dict(state)
        if self._clock.told is None and state["epoch"] is not None:
            self.set_epoch(state["epoch"])

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Return a sample before the transform, with its origin: to look at, explain or replay.

        Args:
            index: As for `self[index]`.
            epoch: Epoch of a synthetic sample.

        Raises:
            IndexError: `index` is out of range.
        """
        position = as_int(index, len(self))
        synthetic = position - self.n_real
        if synthetic < 0:
            return self._injector.layout.unpack(self.dataset[int(self._real[position])])
        hosts = self._hosts(synthetic, epoch, self.dataset.__getitem__)
        return self._injector.sample(self._slot(synthetic, epoch), hosts)[0]

    def summary(self) -> Summary:
        """Print and return how many samples there are of each kind, and the share of positives."""
        names = self._injector.names
        counts = dict.fromkeys(names, 0)
        for name, count in zip(names, np.bincount(self._schedule, minlength=len(names)).tolist(), strict=True):
            counts[name] += count
        positives = int(np.count_nonzero(self._labels != self._injector.rule.normal))
        summary = Summary(self.n_real, positives, counts)
        print(summary)
        return summary

    def sampler(
        self,
        *,
        positives: float = 0.5,
        real: float | None = None,
        num_samples: int | None = None,
        seed: int | None = None,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> PositivesSampler:
        """Return a sampler that fixes the share of positives, and of real ones among them: the recommended way.

        Few real defects would otherwise drown among many synthetic ones.

        Args:
            positives: Share of positives in what the loop draws, in (0, 1].
            real: Share of real samples among the positives, in [0, 1]. Default: a half from 8 to 20 different
                ones, less of fewer, which would be learned by heart, and more of more, which teach better
                (`default_real_share`). Where there are no synthetic ones it is 1, and 0 where there are no real ones.
            num_samples: Draws per epoch over all ranks; default `len(self)`.
            seed: Default: that of the dataset.
            num_replicas: Number of ranks; default from `torch.distributed`, else 1.
            rank: This process's rank; default likewise.

        Raises:
            ValueError: A share is out of range, or there is nothing to draw from.
        """
        is_positive = self._labels != self._injector.rule.normal
        return PositivesSampler(
            normals=np.flatnonzero(~is_positive),
            real=np.flatnonzero(is_positive),
            synthetic=np.arange(self.n_real, len(self)),
            positives=positives,
            real_share=real,
            num_samples=len(self) if num_samples is None else num_samples,
            seed=self.seed if seed is None else seed,
            num_replicas=num_replicas,
            rank=rank,
            hosts=self.hosts_of,
        )

    def hosts_of(self, synthetic: NDArray[np.int64], epochs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of each synthetic sample's host.

        Args:
            synthetic: Indices of synthetic samples, int64 (N,).
            epochs: In which epoch each is drawn, int64 (N,).

        Returns:
            int64 (N,): -1 where there is no host, or it is no sample of this dataset, as `normals=` leaves some out.
        """
        numbers = synthetic - self.n_real
        at = self._order.of(numbers, epochs if self._resample else np.zeros_like(epochs))
        painted = np.array([isinstance(member, Paster) for member in self._injector.members])[self._schedule[numbers]]
        if not isinstance(self._real, range):
            places = np.searchsorted(self._real, at)
            painted &= np.append(self._real, -1)[places] == at
            at = places
        return np.where(painted, at, -1)

    def _settings(self) -> dict[str, int]:
        """Return what a saved state must have in common with this dataset."""
        return {"seed": self.seed, "real": self.n_real, "synthetic": len(self._schedule)}

    def _epoch_of(self, index: int, synthetic: int) -> int:
        if isinstance(index, EpochIndex) and self._resample:
            return index.epoch
        return self._clock.tick(synthetic)

    def _slot(self, synthetic: int, epoch: int) -> Slot:
        member, position = int(self._schedule[synthetic]), int(self._positions[synthetic])
        return Slot(member, position, epoch, (self.seed, epoch, synthetic))

    def _hosts(self, synthetic: int, epoch: int, read: Callable[[int], Any]) -> Callable[[int], Host]:
        def host_at(attempt: int) -> Host:
            index = self._order.at(synthetic, epoch, attempt)
            return index, read(index)

        return host_at

    def _item(self, index: int, position: int, reads: Reads) -> Any:
        synthetic = position - self.n_real
        if synthetic < 0:
            return self._injector.real(reads.real(int(self._real[position])))
        epoch = self._epoch_of(index, synthetic)
        return self._injector.item(self._slot(synthetic, epoch), self._hosts(synthetic, epoch, reads.host))


def _positions_within(schedule: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return for each slot how many earlier slots have the same member."""
    positions = np.empty(len(schedule), np.int32)
    for member in np.unique(schedule):
        slots = np.flatnonzero(schedule == member)
        positions[slots] = np.arange(len(slots))
    return positions
