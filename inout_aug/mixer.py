"""Which generator makes the next synthetic positive: exact shares, evenly interleaved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from inout_aug.plugin import Member, distribution_of, name_of

_MAX_MEMBERS = 255


class InOutMixer:
    """Shares synthetic positives among generators.

    By default half are in-distribution and half out-of-distribution (In&Out, section 3.3: N_aug/2 each), shared evenly
    inside each half; with one kind only, that kind makes all.

    Args:
        members: Pasters, sample sources and generators; at least one.
        weights: Relative shares, one per member in order, or by name; members left out of a mapping get none. Members
            of one name are numbered: `Name-1`, `Name-2`.

    Raises:
        ValueError: No members, or weights that are negative, not finite, all zero, or of another length.

    Example:
        >>> from inout_aug import MemSegPaste, StrokePaste
        >>> InOutMixer([MemSegPaste(), StrokePaste()], weights=[3, 1]).counts(10)
        [8, 2]
    """

    def __init__(self, members: Sequence[Member], weights: Mapping[str, float] | Sequence[float] | None = None) -> None:
        if not members:
            raise ValueError("give at least one generator, for example generators=[MemSegPaste()]")
        if len(members) > _MAX_MEMBERS:
            raise ValueError(f"there can be {_MAX_MEMBERS} generators; got {len(members)}")
        self.members = tuple(members)
        self.names = _unique_names([name_of(member) for member in members])
        self.weights = self._shares(weights)
        self._weighted = weights is not None

    def __getitem__(self, name: str) -> Member:
        """Return a member by the name that `Origin.generator` and summaries give it."""
        if name not in self.names:
            raise KeyError(f"no generator is named {name!r}; they are {list(self.names)}")
        return self.members[self.names.index(name)]

    def counts(self, total: int) -> list[int]:
        """Return how many of `total` each member makes, by largest remainder; they add up to `total`.

        Of an odd number shared by halves, the in-distribution half is the larger.
        """
        exact = [weight * total for weight in self.weights]
        counts = [math.floor(value) for value in exact]
        painted = [distribution_of(member) == "out" for member in self.members]
        by_remainder = sorted(range(len(counts)), key=lambda i: (counts[i] - exact[i], painted[i], i))
        for i in by_remainder[: total - sum(counts)]:
            counts[i] += 1
        return counts

    def among(self, chosen: Sequence[int]) -> InOutMixer:
        """Return the mixer of some of the members, by number; shares that were given keep their proportions.

        Raises:
            ValueError: The weights give nothing to any of them.
        """
        weights = [self.weights[member] for member in chosen] if self._weighted else None
        if weights is not None and not sum(weights):
            raise ValueError(f"weights= give nothing to {[self.names[k] for k in chosen]}, but they are needed")
        return InOutMixer([self.members[member] for member in chosen], weights)

    def _shares(self, weights: Mapping[str, float] | Sequence[float] | None) -> list[float]:
        if weights is None:
            kinds = [distribution_of(member) for member in self.members]
            return [1 / len(set(kinds)) / kinds.count(kind) for kind in kinds]
        if isinstance(weights, Mapping):
            unknown = set(weights) - set(self.names)
            if unknown:
                raise ValueError(f"weights name {sorted(unknown)}, but the generators are {list(self.names)}")
            values = [float(weights.get(name, 0)) for name in self.names]
        else:
            values = [float(weight) for weight in weights]
        if len(values) != len(self.members):
            raise ValueError(f"give one weight per generator: {len(self.members)} generators, {len(values)} weights")
        if not all(math.isfinite(value) and value >= 0 for value in values) or not sum(values):
            raise ValueError(f"weights are finite, not negative and not all zero; got {values}")
        return [value / sum(values) for value in values]


def interleave(counts: Sequence[int]) -> NDArray[np.uint8]:
    """Return numbers 0, 1, ..., the k-th `counts[k]` times, spread evenly so that any stretch is mixed."""
    due = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in counts])
    return np.repeat(np.arange(len(counts), dtype=np.uint8), counts)[np.argsort(due, kind="stable")]


def _unique_names(names: list[str]) -> tuple[str, ...]:
    """Number the members of one name, in order, so that each can be told from the others."""
    return tuple(
        name if names.count(name) == 1 else f"{name}-{names[: i + 1].count(name)}" for i, name in enumerate(names)
    )
