"""Filling a cache: once, resumably, and to the same bytes whoever does it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.access import Shard, find_shard, first_record, map_verified
from inout_aug.cache.engines import Engine, Source, engine_of
from inout_aug.cache.engines.base import GeneratorLike
from inout_aug.cache.errors import CacheChanged, CacheDamaged, CacheMismatch, EngineError, Failure, FillIncomplete
from inout_aug.cache.folder import Folder, open_folder, user_cache_dir
from inout_aug.cache.manifest import MANIFEST, Group, Manifest, read_manifest, write_manifest
from inout_aug.cache.plan import Conditions, Gate, Plan, Shape, describe
from inout_aug.cache.produce import Job, Outcome, Settings
from inout_aug.cache.progress import FillWatch
from inout_aug.cache.shard import DType, Layout
from inout_aug.cache.store import SampleCache

_SHARD_BYTES = 64 << 20
_SHARD_SAMPLES = 1 << 16
# few samples per shard where few are wanted, so that there is work for several workers
_SHARDS_AT_LEAST, _SMALLEST_SHARD = 32, 16
# what vanished meanwhile, or was overwritten by another filler that knew less, is made again, but not for ever
_ROUNDS = 3


def fill_cache(
    generator: GeneratorLike,
    path: str | os.PathLike[str] | None,
    n: int,
    *,
    shape: Shape | Callable[[int], Shape],
    seed: int = 0,
    conditions: Conditions | Sequence[Conditions] | Callable[[int], Conditions] | None = None,
    gates: Sequence[Gate] = (),
    dtype: DType = "uint8",
    masks: bool = True,
    batch_size: int = 8,
    engine: str | Engine = "local",
    max_attempts: int = 20,
    shard_size: int | None = None,
    checkpoint_seconds: float = 60.0,
    verify: bool = False,
    progress: bool = True,
) -> SampleCache:
    """Fill a cache with `n` samples, or what is missing of them, and open it.

    Sample k depends on the generator's fingerprint, `shape`, `seed`, `conditions`, `gates`, `dtype` and `masks` alone;
    batch size, engine, order and interruptions change no byte. Killed at any moment, the same call goes on where it
    was. Asked for more samples than before, it adds them; a cache never shrinks. Damaged shards are set aside and made
    again. Several processes may fill one folder at once: they repeat work, but do no harm.

    Args:
        generator: A `Generator`, or a function that builds one (and is called again in each worker process).
        path: A folder, or an fsspec URL (`s3://bucket/tile`). None for a folder of the user's cache that is named after
            the content: see `cache_path`.
        n: Samples wanted.
        shape: See `Plan`.
        seed: See `Plan`.
        conditions: See `Plan`.
        gates: See `Plan`.
        dtype: See `Plan`.
        masks: See `Plan`.
        batch_size: Requests handed to the generator at a time; halved when memory runs out.
        engine: "local", "process", "ray", or an engine with its settings: `ProcessEngine(workers=4)`,
            `RayEngine(num_gpus=1, address="auto")`.
        max_attempts: Seeds tried for a sample that gates reject, before it counts as failed.
        shard_size: Samples per shard, for a new cache; by default 64 MiB or a thirty-second of the cache.
        checkpoint_seconds: An unfinished shard is stored this often: what a kill may cost.
        verify: Check every byte of what is there first, not only headers and sizes: the repair of a cache.
        progress: Whether to draw a progress bar on stderr.

    Raises:
        CacheMismatch: The folder holds samples of something else.
        CacheNotWritten: No room, no permission.
        CacheTooNew: A later version of the package wrote the cache.
        EngineError: The workers cannot be started, or keep dying.
        FillIncomplete: The generator failed on some requests, or gates rejected all attempts; the rest is stored.
        KeyboardInterrupt: After Ctrl-C; what was made is stored.

    Warns:
        RuntimeWarning: Something damaged was set aside.
    """
    numbers = {"n": n, "batch_size": batch_size, "max_attempts": max_attempts, "shard_size": shard_size}
    for name, number in numbers.items():
        _check_positive(name, number)
    plan = Plan(shape=shape, seed=seed, conditions=conditions, gates=tuple(gates), dtype=dtype, masks=masks)
    runner, source = engine_of(engine), Source(generator)
    where = _default_path(source, plan) if path is None else path
    folder = open_folder(where)
    folder.clear_abandoned()
    manifest = _claim(folder, source, plan, n, shard_size)
    stock = _Stock(folder, manifest, plan, verify=verify)
    settings = Settings(
        folder=folder,
        identity=manifest.identity,
        seed=seed,
        gates=plan.gates,
        batch_size=batch_size,
        max_attempts=max_attempts,
        checkpoint_seconds=checkpoint_seconds,
    )
    failures: list[Failure] = []
    gave_up = False
    with FillWatch(manifest.count, stock.there, progress) as watch:

        def done(outcome: Outcome) -> None:
            nonlocal gave_up
            failures.extend(outcome.failures)
            if outcome.gave_up:
                gave_up = True
                watch.stop()

        for _ in range(_ROUNDS):
            if not stock.incomplete or failures or watch.stopped():
                break
            runner.run(source, stock.jobs(), settings, watch, done)
            stock = _Stock(folder, manifest, plan)
    cache = SampleCache(where)
    there = f"{len(cache)} of {manifest.count} samples are stored in {folder.url}"
    if failures:
        why = "the generator failed too often in a row; " if gave_up else ""
        raise FillIncomplete(f"{why}{there}. The same fill asks again for the missing ones only. Failed:", failures)
    if stock.incomplete and watch.interrupted:
        raise KeyboardInterrupt(f"{there}. Run the same fill again to go on")
    if stock.incomplete:
        raise EngineError(
            f"{there}, though all were made. Do the workers write to another disk (give a shared folder or URL), or "
            "does something remove shards?"
        )
    return cache


def cache_path(generator: GeneratorLike, plan: Plan, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder that is named after the content: another generator or plan never gets the same one.

    Args:
        generator: As for `fill_cache`.
        plan: What is to be made.
        root: Where such folders lie; by default `user_cache_dir()`.
    """
    return _default_path(Source(generator), plan, root)


def _default_path(source: Source, plan: Plan, root: str | os.PathLike[str] | None = None) -> Path:
    name = "".join(c if c.isalnum() or c in "-_" else "-" for c in source.name)
    return Path(root or user_cache_dir()) / f"{name}-{plan.key(source.fingerprint)[:16]}"


def _check_positive(name: str, number: int | None) -> None:
    if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
        raise ValueError(f"{name} must be an int of at least 1; got {number!r}")


def _claim(folder: Folder, source: Source, plan: Plan, n: int, shard_size: int | None) -> Manifest:
    """Write the manifest, or check that the one which is there is of this plan and grow it."""
    try:
        known = read_manifest(folder)
    except CacheDamaged as error:
        _set_aside(folder, MANIFEST, str(error))
        known = None
    count = max(n, known.count) if known is not None else n
    groups = []
    for shape, indices in plan.groups(count).items():
        layout = plan.layout(shape)
        groups.append(Group(layout=layout, shard_size=shard_size or _shard_size(layout, n), count=len(indices)))
    asked = Manifest(
        key=plan.key(source.fingerprint),
        generator=source.name,
        fingerprint=source.fingerprint,
        seed=plan.seed,
        groups=tuple(groups),
    )
    if known is not None and known.key != asked.key:
        raise CacheMismatch(
            f"{folder.url} holds samples of {_difference(known, asked)}. Give another folder, or None for one that is "
            "named after the content"
        )
    manifest = known.grown(asked.groups) if known is not None else asked
    if manifest.count != count:
        raise CacheMismatch(f"{folder.url} holds samples of other shapes; give another folder")
    if shard_size is not None and any(group.shard_size != shard_size for group in manifest.groups):
        raise CacheMismatch(f"the shard size of {folder.url} was fixed when it was first filled; leave shard_size out")
    if manifest != known:
        write_manifest(folder, manifest)
    return manifest


def _difference(known: Manifest, asked: Manifest) -> str:
    if known.fingerprint != asked.fingerprint:
        theirs, ours = (f"{manifest.generator} {manifest.fingerprint[:12]}" for manifest in (known, asked))
        return f"another generator: {theirs}, not {ours}"
    if known.seed != asked.seed:
        return f"seed {known.seed}, not {asked.seed}"
    return "another shape, dtype, condition, gate or choice of masks"


def _shard_size(layout: Layout, n: int) -> int:
    most = max(1, min(_SHARD_SAMPLES, _SHARD_BYTES // layout.sample_bytes))
    return min(most, max(_SMALLEST_SHARD, n // _SHARDS_AT_LEAST))


def _set_aside(folder: Folder, name: str, reason: str) -> None:
    aside = folder.set_aside(name, reason)
    warnings.warn(f"{name} in {folder.url}: {reason}; set aside as {aside}, made anew", RuntimeWarning, stacklevel=4)


class _Stock:
    """What is there already, and what is still to be made.

    Attributes:
        there: Samples stored.
        incomplete: The shards that lack samples.
    """

    def __init__(self, folder: Folder, manifest: Manifest, plan: Plan, *, verify: bool = False) -> None:
        self._folder, self._manifest, self._plan = folder, manifest, plan
        self._indices = plan.groups(manifest.count)
        self.there = 0
        self.incomplete: list[tuple[Group, int]] = []
        for group in manifest.groups:
            for number in group.shards():
                shard = self._find(group, number, verify)
                rows = shard.header.rows if shard is not None else 0
                self.there += rows
                if rows < len(self._indices_of(group, number)):
                    self.incomplete.append((group, number))

    def _find(self, group: Group, number: int, verify: bool) -> Shard | None:
        """Return a shard that can be kept; one that is damaged is set aside."""
        try:
            shard = find_shard(self._folder, group, number, self._manifest.identity)
            if shard is not None and verify:
                map_verified(self._folder, shard)
            # the key knows the first result of functions only, and who filled it before may have given some
            if shard is not None:
                self._compare(shard)
        except CacheChanged:
            # another filler is at it; who makes the shard looks again
            return None
        except CacheDamaged as error:
            _set_aside(self._folder, group.name(number), str(error))
            return None
        return shard

    def _compare(self, shard: Shard) -> None:
        index, record = first_record(self._folder, shard)
        kept = {name: value for name, value in record.items() if name not in ("params", "host")}
        wanted = self._indices_of(shard.group, shard.number)
        if index not in wanted or kept != describe(self._plan.request(index)):
            raise CacheMismatch(
                f"{self._folder.url} was filled with other conditions or shapes: sample {index} was asked for with "
                f"{kept}. Give another folder"
            )

    def _indices_of(self, group: Group, number: int) -> NDArray[np.int64]:
        layout = group.layout
        return self._indices[layout.height, layout.width, layout.channels][group.rows(number)]

    def jobs(self) -> Iterator[Job]:
        """Yield a job for each incomplete shard; what is asked for is worked out when it is needed."""
        for group, number in self.incomplete:
            indices = self._indices_of(group, number)
            yield Job(group, number, indices, [self._plan.request(int(index)) for index in indices])
