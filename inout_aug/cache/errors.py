"""What can go wrong with a cache, each with its own name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class CacheError(RuntimeError):
    """A cache cannot be used as asked."""


class CacheDamaged(CacheError):
    """A file of the cache is not what was written: torn, altered, or never one of ours."""


class CacheChanged(CacheError):
    """A shard was replaced or removed after this cache was opened."""


class CacheMismatch(CacheError):
    """The folder holds samples of another generator, seed, shape, condition or gate."""


class CacheTooNew(CacheError):
    """A later version of the package wrote this cache."""


class CacheNotWritten(CacheError):
    """A file could not be written: no space, no permission, a size limit."""


class EngineError(CacheError):
    """The processes that fill a cache cannot be started, or keep dying."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One sample that could not be made.

    Attributes:
        index: Its index in the cache.
        seed: Seed of the request that failed.
        reason: The generator's exception, or which gates rejected every attempt.
    """

    index: int
    seed: int
    reason: str

    def __str__(self) -> str:
        return f"sample {self.index} (seed {self.seed}): {self.reason}"


class FillIncomplete(CacheError):
    """Some samples could not be made; all others are stored.

    Attributes:
        failures: The samples that failed, by index.
    """

    _SHOWN = 10

    def __init__(self, summary: str, failures: Sequence[Failure]) -> None:
        self.failures = tuple(sorted(failures, key=lambda failure: failure.index))
        shown = [f"  {failure}" for failure in self.failures[: self._SHOWN]]
        if len(self.failures) > self._SHOWN:
            shown.append(f"  … and {len(self.failures) - self._SHOWN} more")
        super().__init__("\n".join([summary, *shown]))
