"""What people decided about samples: a file beside the shards that only ever grows, and what follows from it.

`decisions.jsonl` has one JSON object per line::

    {"cache": "3f2a…", "index": 17, "seed": 812…, "verdict": "reject", "label": null, "who": "ana", "why": "blurred",
     "when": "2026-03-01T09:30:00+00:00"}

`cache` (the manifest's key, its first 16 digits), `index` and `seed` identify a sample: a decision never passes on to
another one that takes its place. Of several decisions about one sample the last holds: "accept" and "reject" say
whether it is drawn, "relabel" says of which class it is, independently of that.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inout_aug.cache.errors import CacheNotWritten
from inout_aug.cache.folder import LocalFolder
from inout_aug.cache.store import SampleCache
from inout_aug.cache.verify import DECISIONS
from inout_aug.sample import Sample

Verdict: TypeAlias = Literal["accept", "reject", "relabel"]

_MAX_BYTES = 1 << 32
_KEY_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One line of the file.

    Attributes:
        cache: First digits of the key of the cache.
        index: Of the sample.
        seed: Of the request that gave the sample.
        verdict: "accept", "reject" or "relabel".
        label: The defect class that "relabel" gives, 1 to 255; None for the others.
        who: Who decided.
        why: For what reason.
        when: ISO 8601, UTC.

    Raises:
        ValueError: A field has another type, or is out of range.
    """

    cache: str
    index: int
    seed: int
    verdict: Verdict
    label: int | None = None
    who: str = ""
    why: str = ""
    when: str = ""

    def __post_init__(self) -> None:
        texts, numbers = (self.cache, self.who, self.why, self.when), (self.index, self.seed)
        if not all(type(text) is str for text in texts) or not all(type(number) is int for number in numbers):
            raise ValueError("index and seed of a decision are integers; cache, who, why and when are strings")
        if self.verdict not in get_args(Verdict):
            raise ValueError(f"a verdict is one of {get_args(Verdict)}; got {self.verdict!r}")
        if (self.verdict == "relabel") != (self.label is not None):
            raise ValueError('"relabel" goes with a label, "accept" and "reject" go without')
        if self.label is not None and (type(self.label) is not int or not 1 <= self.label <= 255):
            raise ValueError(
                f"a sample is relabelled to a defect class, 1 to 255; got {self.label!r}. One that shows no defect "
                "is to be rejected"
            )


class Review:
    """The decisions about the samples of a cache. Many may read and add at the same time.

    Args:
        cache: An open cache, or where one lies.

    Attributes:
        cache: The cache.
        history: Decisions about samples that are there, the oldest first.
        stale: How many decisions are about samples that are not there (any more).
        damaged: Numbers of the lines that are no decisions, from 1.

    Raises:
        CacheDamaged: The file is a link, or no file.

    Warns:
        RuntimeWarning: A line is no decision, as when a write was cut short. It is left where it is and ignored.

    Example:
        >>> import tempfile
        >>> from inout_aug.cache.importer import import_dataset
        >>> from inout_aug.datasets import Surfaces
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     review = Review(import_dataset(Surfaces(4, size=(64, 64)), folder, progress=False))
        ...     review.reject([1, 3], who="ana", why="blurred")
        ...     print(review.accepted)
        [ True False  True False]
    """

    def __init__(self, cache: SampleCache | str | os.PathLike[str]) -> None:
        self.cache = cache if isinstance(cache, SampleCache) else SampleCache(cache)
        self._key = self.cache.fingerprint[:_KEY_DIGITS]
        self.reload()

    def reload(self) -> None:
        """Read the file again: others may have added to it."""
        folder = self.cache.folder
        try:
            text, _ = folder.read(DECISIONS, 0, _MAX_BYTES)
        except FileNotFoundError:
            text = b""
        lines = [(number, line) for number, line in enumerate(text.split(b"\n"), start=1) if line.strip()]
        found = {number: _decode(line) for number, line in lines}
        self.damaged = tuple(number for number, decision in found.items() if decision is None)
        if self.damaged:
            warnings.warn(
                f"{DECISIONS} in {folder.url} has {len(self.damaged)} lines that are no decisions, the first is line "
                f"{self.damaged[0]}; they are ignored",
                RuntimeWarning,
                stacklevel=3,
            )
        known = [decision for decision in found.values() if decision is not None]
        self.history = tuple(decision for decision in known if self._is_about_ours(decision))
        self.stale = len(known) - len(self.history)
        for name in ("accepted", "labels"):
            self.__dict__.pop(name, None)

    @cached_property
    def _positions(self) -> dict[int, int]:
        return {int(index): position for position, index in enumerate(self.cache.indices)}

    def _is_about_ours(self, decision: Decision) -> bool:
        position = self._positions.get(decision.index)
        return decision.cache == self._key and position is not None and int(self.cache.seeds[position]) == decision.seed

    @cached_property
    def accepted(self) -> NDArray[np.bool_]:
        """Whether the sample at each position may be drawn: unless it was rejected, yes."""
        accepted = np.ones(len(self.cache), bool)
        for decision in self.history:
            if decision.verdict != "relabel":
                accepted[self._positions[decision.index]] = decision.verdict == "accept"
        return accepted

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Defect class of the sample at each position, as decided, else as generated."""
        labels = self.cache.labels.copy()
        for decision in self.history:
            if decision.label is not None:
                labels[self._positions[decision.index]] = decision.label
        return labels

    def samples(self) -> Iterator[tuple[int, Sample]]:
        """Yield position and sample of all that may be drawn or shown, as decided.

        A sample with a defect class, but nothing of it in its mask, is left out.
        """
        for position in np.flatnonzero(self.accepted).tolist():
            sample = relabelled(self.cache[position], int(self.labels[position]))
            if not sample.label or sample.mask is None or sample.mask.any():
                yield position, sample

    def of(self, index: int) -> Iterator[Decision]:
        """Yield the decisions about a sample, the oldest first."""
        return (decision for decision in self.history if decision.index == index)

    def accept(self, indices: ArrayLike, *, who: str = "", why: str = "") -> None:
        """Say that samples are to be drawn; see `decide`."""
        self.decide(indices, "accept", who=who, why=why)

    def reject(self, indices: ArrayLike, *, who: str = "", why: str = "") -> None:
        """Say that samples are not to be drawn; see `decide`."""
        self.decide(indices, "reject", who=who, why=why)

    def relabel(self, indices: ArrayLike, label: int, *, who: str = "", why: str = "") -> None:
        """Say that samples are of another defect class, and their masks too; see `decide`."""
        self.decide(indices, "relabel", label=label, who=who, why=why)

    def decide(
        self,
        indices: ArrayLike,
        verdict: Verdict,
        *,
        label: int | None = None,
        who: str = "",
        why: str | Iterable[str] = "",
    ) -> None:
        """Add a decision about each of some samples, in one write.

        Args:
            indices: Of the samples; what `SampleCache.indices` lists, not positions.
            verdict: See `Decision`.
            label: See `Decision`.
            who: See `Decision`.
            why: One reason for all, or one for each.

        Raises:
            CacheNotWritten: The file cannot be written: the folder is remote or read-only, or there is no room.
            KeyError: The cache has no such sample.
            ValueError: The verdict or the label is none.
        """
        wanted = np.atleast_1d(np.asarray(indices, np.int64))
        seeds = self.cache.seeds[self.cache.positions_of(wanted)]
        reasons = [why] * len(wanted) if isinstance(why, str) else list(why)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        lines = []
        for index, seed, reason in zip(wanted.tolist(), seeds.tolist(), reasons, strict=True):
            decision = Decision(
                cache=self._key, index=index, seed=seed, verdict=verdict, label=label, who=who, why=reason, when=when
            )
            lines.append(json.dumps(asdict(decision), ensure_ascii=False))
        if lines:
            _append(self._path(), "".join(f"{line}\n" for line in lines).encode())
            self.reload()

    def _path(self) -> Path:
        folder = self.cache.folder
        if not isinstance(folder, LocalFolder):
            raise CacheNotWritten(
                f"decisions are kept beside the shards, and {folder.url} cannot be appended to. Copy the cache to this "
                "machine, decide there, and copy decisions.jsonl back"
            )
        return folder.path / DECISIONS


def relabelled(sample: Sample, label: int) -> Sample:
    """Return a sample as one of another defect class: what its mask had of the old class is of the new one."""
    if label == sample.label:
        return sample
    mask = sample.mask if sample.mask is None else np.where(sample.mask == sample.label, np.uint8(label), sample.mask)
    return Sample(sample.image, mask, label, sample.origin)


def _decode(line: bytes) -> Decision | None:
    """Return the decision of a line, None if it holds none."""
    try:
        fields: dict[str, Any] = json.loads(line)
        # a later version may have more to say
        return Decision(**{name: fields[name] for name in Decision.__slots__ if name in fields})
    except (ValueError, TypeError, RecursionError):
        return None


def _append(path: Path, text: bytes) -> None:
    """Append in one write, which no other writer can get between; start anew after a line that was cut short."""
    # a link would lead the decisions out of the folder; O_BINARY keeps Windows from writing CR
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(path, flags, 0o644)
        try:
            size = os.fstat(file).st_size
            if size:
                os.lseek(file, size - 1, os.SEEK_SET)
                text = text if os.read(file, 1) == b"\n" else b"\n" + text
            written = os.write(file, text)
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise CacheNotWritten(f"could not append to {path}: {error.strerror or error}") from error
    if written < len(text):
        raise CacheNotWritten(f"{path} took {written} of {len(text)} bytes: there is no room left. Decide again")
