"""One shard after the other: ask the generator, judge, replace what was rejected, put the shard in place."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from inout_aug.cache.access import find_shard, map_verified
from inout_aug.cache.draft import Draft
from inout_aug.cache.errors import CacheChanged, CacheDamaged, Failure
from inout_aug.cache.folder import Folder
from inout_aug.cache.manifest import Group
from inout_aug.cache.plan import Gate, request_seed
from inout_aug.cache.shard import Arrays, encode
from inout_aug.plugin import Generator, Request
from inout_aug.sample import Sample

# a generator that fails this often in a row is broken: asking it for the rest would only cost time
_GIVE_UP_AFTER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all shards of a fill have in common. Pickles.

    Attributes:
        folder: Where the shards go.
        identity: For their headers.
        seed: Base seed.
        gates: Quality gates, in order.
        batch_size: Requests handed to the generator at a time; halved when memory runs out.
        max_attempts: Seeds tried for one sample.
        checkpoint_seconds: An unfinished shard is stored this often.
    """

    folder: Folder
    identity: Mapping[str, str]
    seed: int
    gates: Sequence[Gate]
    batch_size: int
    max_attempts: int
    checkpoint_seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """One shard to fill. Pickles.

    Attributes:
        group: It belongs to.
        number: In the group.
        indices: Of its samples.
        requests: The first request for each of them.
    """

    group: Group
    number: int
    indices: NDArray[np.int64]
    requests: Sequence[Request]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    Attributes:
        failures: Samples that could not be made.
        gave_up: Whether so many failed in a row that the rest was not tried.
    """

    failures: tuple[Failure, ...]
    gave_up: bool = False


class Watch:
    """How a job reports on its way, and hears that it should stop. This one hears and says nothing."""

    def progress(self, accepted: int, rejected: int) -> None:
        """Take note of so many more samples accepted, and so many more attempts rejected."""

    def stopped(self) -> bool:
        """Return whether to end early, keeping what there is."""
        return False


@dataclass(slots=True)
class _Pending:
    """A sample that is not there yet, and what became of the attempts at it."""

    row: int
    request: Request
    rejections: list[int]


class Producer:
    """Makes shards with one generator.

    Args:
        generator: The generator.
        settings: Common to all shards.
        watch: Told of progress.
    """

    def __init__(self, generator: Generator, settings: Settings, watch: Watch) -> None:
        self._generator = generator
        self._settings = settings
        self._watch = watch
        self._batch_size = settings.batch_size
        self._failed_in_a_row = 0

    def make(self, job: Job) -> tuple[Draft, Outcome]:
        """Return the shard of a job, as far as it could be made, starting from what is stored of it."""
        draft = self._resume(job)
        pending = deque(_Pending(row, job.requests[row], [0] * len(self._settings.gates)) for row in draft.missing)
        failures: list[Failure] = []
        stored = time.monotonic()
        while pending and self._failed_in_a_row < _GIVE_UP_AFTER and not self._watch.stopped():
            batch = [pending.popleft() for _ in range(min(self._batch_size, len(pending)))]
            results = self._generate([item.request for item in batch])
            # memory ran out: what was not made goes back to the head of the queue, in order
            pending.extendleft(reversed(batch[len(results) :]))
            for item, result in zip(batch, results, strict=False):
                verdict = self._judge(item, result, draft, job)
                if isinstance(verdict, Failure):
                    failures.append(verdict)
                    self._failed_in_a_row += 1
                elif verdict is not None:
                    pending.append(verdict)
            if pending and time.monotonic() - stored > self._settings.checkpoint_seconds:
                publish(draft, job, self._settings)
                stored = time.monotonic()
        return draft, Outcome(tuple(failures), self._failed_in_a_row >= _GIVE_UP_AFTER)

    def _resume(self, job: Job) -> Draft:
        """Return what is stored of a shard; what is damaged is set aside."""
        draft = Draft(job.group.layout, job.indices)
        folder = self._settings.folder
        try:
            shard = find_shard(folder, job.group, job.number, self._settings.identity)
            if shard is not None:
                arrays = map_verified(folder, shard)
                # a filler that wants more samples than this one may have put them into what is the last shard here
                known = arrays if len(job.indices) == job.group.shard_size else _up_to(int(job.indices[-1]), arrays)
                if len(known["index"]):
                    draft.adopt(known)
        except CacheChanged:
            # another filler has put a fuller one in place this very moment
            return self._resume(job)
        except CacheDamaged as error:
            aside = folder.set_aside(job.group.name(job.number), str(error))
            warnings.warn(f"damaged: {error}; set aside as {aside}, made anew", RuntimeWarning, stacklevel=2)
            return Draft(job.group.layout, job.indices)
        return draft

    def _generate(self, requests: Sequence[Request]) -> list[Sample | Exception]:
        """Return what each request gives, or raises; fewer results than requests when memory ran out."""
        try:
            samples = list(self._generator.generate(requests))
            if len(samples) != len(requests):
                raise ValueError(f"generate returned {len(samples)} samples for {len(requests)} requests")
        except Exception as error:
            if len(requests) == 1:
                return [error]
            if _out_of_memory(error):
                self._batch_size = max(1, len(requests) // 2)
                _free_memory()
                return []
            return [result for request in requests for result in self._generate([request])]
        return list(samples)

    def _judge(self, item: _Pending, result: Sample | Exception, draft: Draft, job: Job) -> _Pending | Failure | None:
        """Store a sample, or return what to ask for instead, or why there will be none."""
        index = int(job.indices[item.row])
        try:
            if isinstance(result, Exception):
                raise result
            draft.check(result)
            rejected_by, scores = self._pass(result)
            if rejected_by is None:
                draft.put(item.row, result, item.request, scores, item.rejections)
        except Exception as error:
            return Failure(index, item.request.seed, f"{type(error).__name__}: {error}")
        if rejected_by is None:
            self._failed_in_a_row = 0
            self._watch.progress(1, 0)
            return None
        self._watch.progress(0, 1)
        item.rejections[rejected_by] += 1
        attempts = sum(item.rejections)
        if attempts >= self._settings.max_attempts:
            counts = zip(draft.layout.gates, item.rejections, strict=True)
            why = ", ".join(f"{name} {count}" for name, count in counts if count)
            return Failure(index, item.request.seed, f"all {attempts} attempts were rejected ({why})")
        seed = request_seed(self._settings.seed, index, attempts)
        return _Pending(item.row, replace(item.request, seed=seed), item.rejections)

    def _pass(self, sample: Sample) -> tuple[int | None, list[float]]:
        """Return which gate rejects the sample, None for none, and the scores up to there."""
        scores: list[float] = []
        for number, gate in enumerate(self._settings.gates):
            keep, measured = gate.judge(sample)
            if len(measured) != len(gate.score_names):
                raise ValueError(f"gate {gate.name} gave {len(measured)} scores for {len(gate.score_names)} names")
            scores.extend(measured)
            if not keep:
                return number, scores
        return None, scores


def publish(draft: Draft, job: Job, settings: Settings) -> None:
    """Put a shard in place, unless it has no samples, or no more than the one that is there.

    Raises:
        CacheNotWritten: It could not be written.
    """
    present = int(draft.present.sum())
    try:
        stored = find_shard(settings.folder, job.group, job.number, settings.identity)
    except CacheDamaged:
        stored = None
    if present <= (stored.header.rows if stored is not None else 0):
        return
    parts = encode(job.group.layout, draft.arrays(), settings.identity, job.number)
    settings.folder.write(job.group.name(job.number), parts)


def _up_to(last: int, arrays: Arrays) -> Arrays:
    """Return the rows of a shard up to that of the sample `last`."""
    rows = int(np.count_nonzero(arrays["index"] <= last))
    known = {name: column[:rows] for name, column in arrays.items()}
    return {**known, "record": arrays["record"][: int(known["record_end"][-1]) if rows else 0]}


def _out_of_memory(error: Exception) -> bool:
    # the CPU allocator of torch raises a plain RuntimeError
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
    )


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
