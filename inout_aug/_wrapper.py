"""What wrapped datasets, map-style and iterable, have in common."""

from __future__ import annotations

from typing import Any

from inout_aug.injector import Injector
from inout_aug.seeding import EpochClock
from inout_aug.transform import Transform


class Wrapper:
    """A dataset, what is injected into it, and a clock; attributes of the dataset are available.

    A subclass calls `_wrap` when it is constructed.
    """

    dataset: Any
    seed: int
    _injector: Injector
    _clock: EpochClock
    _resample: bool

    def _wrap(self, dataset: Any, injector: Injector, *, draws: int, seed: int, resample: bool) -> None:
        """Set what every wrapped dataset has.

        Args:
            dataset: The user's.
            injector: Makes the synthetic items.
            draws: Numbers of which the clock counts visits.
            seed: Base seed.
            resample: False stops the clock at epoch 0.
        """
        self.dataset = dataset
        self.seed = seed
        self._injector = injector
        self._resample = resample
        self._clock = EpochClock(draws)
        if not resample:
            self._clock.set(0)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the wrapped dataset, but none of its methods: they know of no synthetic samples.

        Raises:
            AttributeError: There is none, or it is a method, special ones as `__getitems__` included.
        """
        dataset = self.__dict__.get("dataset")
        if dataset is None or name.startswith("__"):
            raise AttributeError(name)
        value, kind = getattr(dataset, name), type(dataset).__name__
        if getattr(value, "__self__", None) is dataset:
            raise AttributeError(
                f"{name} is a method of the wrapped {kind}, which knows nothing of synthetic samples. Call it before "
                f"wrapping, or as .dataset.{name}"
            )
        return value

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is, for all workers, as for a DistributedSampler; no effect with `resample=False`.

        Without a call, a synthetic sample is in the epoch that counts its earlier visits, or the passes through an
        iterable dataset, also what a loader prefetched and threw away: call it where epochs may end early.

        Raises:
            ValueError: `epoch` is not an integer >= 0.
        """
        if self._resample:
            self._clock.set(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    @property
    def transform(self) -> Any:
        """The transform of real and synthetic items alike; setting it replaces it, as some libraries' loaders do."""
        wrapped = self._injector.transform
        return None if wrapped is None else wrapped.transform

    @transform.setter
    def transform(self, transform: Transform | None) -> None:
        self._injector = self._injector.with_transform(transform)
