"""How many synthetic samples a dataset gets, and how many of its normal ones stay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from inout_aug.labels import LabelRule
from inout_aug.seeding import stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """The numbers that `InOutAugment` was given; `ratio`, `n_aug`, `balance` and `uniform` exclude each other.

    Attributes:
        ratio: Synthetic positives per real sample.
        n_aug: How many to add.
        balance: Share of positives to reach, in (0, 1).
        uniform: Samples that each positive label is filled up to.
        normals: Normal samples that stay, per positive, real or synthetic; None keeps all.

    Raises:
        ValueError: Not exactly one of the four is given, or a value is out of range.

    Example:
        >>> Amount(uniform=150).missing(np.repeat([0, 1], [200, 30]), LabelRule(0, 1))
        {None: 120}
    """

    ratio: float | None = None
    n_aug: int | None = None
    balance: float | None = None
    uniform: int | None = None
    normals: float | None = None

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("ratio", "n_aug", "balance", "uniform")}
        if sum(value is not None for value in given.values()) != 1:
            raise ValueError(f"give exactly one of ratio=, n_aug=, balance= and uniform=; got {given}")
        if self.ratio is not None and not _is_share(self.ratio):
            raise ValueError(f"ratio is synthetic positives per real sample, finite and >= 0; got {self.ratio!r}")
        if self.n_aug is not None and not _is_count(self.n_aug, 0):
            raise ValueError(f"n_aug is a number of samples, an integer >= 0; got {self.n_aug!r}")
        if self.balance is not None and not (_is_number(self.balance) and 0 < self.balance < 1):
            raise ValueError(f"balance is the share of positives, in (0, 1); got {self.balance!r}")
        if self.uniform is not None and not _is_count(self.uniform, 1):
            raise ValueError(f"uniform is the number of samples of every class, an integer >= 1; got {self.uniform!r}")
        if self.normals is not None and not _is_share(self.normals):
            raise ValueError(f"normals is normal samples per positive, finite and >= 0; got {self.normals!r}")
        if self.normals is not None and self.balance is not None:
            raise ValueError("balance= and normals= both set the share of positives. Give normals= with another number")

    def __str__(self) -> str:
        values = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return ", ".join(f"{name}={value}" for name, value in values if value is not None)

    def missing(self, labels: NDArray[np.int64], rule: LabelRule) -> dict[int | None, int]:
        """Return how many synthetic samples to add of each label; under None, of whatever the generators make.

        Args:
            labels: Of all real samples.
            rule: Tells which of them are normal, and the labels of synthetic ones.

        Raises:
            ValueError: There are more positives already than `balance` leaves room for; or a label of real samples is
                to be filled up, but synthetic samples never get it.
        """
        if self.uniform is not None:
            return _filled(int(self.uniform), labels, rule)
        if self.balance is not None:
            return {None: _balanced(float(self.balance), labels, rule.normal)}
        return {None: round(self.ratio * len(labels)) if self.ratio is not None else int(self.n_aug or 0)}

    def staying(self, labels: NDArray[np.int64], normal: int, n_synthetic: int, seed: int) -> range | NDArray[np.int64]:
        """Return the indices of the real samples that stay, in order: all positives, and as many normals as wanted.

        A seed goes through the normals in one order: a larger share keeps those of a smaller one, and further ones.

        Raises:
            ValueError: There are fewer normals than wanted.
        """
        if self.normals is None:
            return range(len(labels))
        is_normal = labels == normal
        there, positives = np.flatnonzero(is_normal), int(np.count_nonzero(~is_normal)) + n_synthetic
        wanted = round(self.normals * positives)
        if wanted > len(there):
            most = math.floor(1000 * len(there) / positives) / 1000
            raise ValueError(
                f"normals={self.normals} wants {wanted} normal samples for {positives} positives, but there are "
                f"{len(there)}: at most normals={most}, or None for all"
            )
        return np.sort(np.concatenate([np.flatnonzero(~is_normal), stream(seed).permutation(there)[:wanted]]))


def _filled(wanted: int, labels: NDArray[np.int64], rule: LabelRule) -> dict[int | None, int]:
    there = dict(zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True))
    several = isinstance(rule.positive, Mapping)
    targets = set(rule.positive.values()) if isinstance(rule.positive, Mapping) else {rule.positive}
    for label, count in there.items():
        if label not in {rule.normal, *targets} and count < wanted:
            raise ValueError(
                f"uniform={wanted} fills up every class, but synthetic samples never have label {label}, which "
                f"{count} real ones have. Pass positive_label={{defect class: label, ...}} with all labels"
            )
    counts = {label: max(0, wanted - there.get(label, 0)) for label in sorted(targets)}
    return {(label if several else None): count for label, count in counts.items()}


def _balanced(share: float, labels: NDArray[np.int64], normal: int) -> int:
    positives = int(np.count_nonzero(labels != normal))
    missing = (share * len(labels) - positives) / (1 - share)
    if missing < -0.5:
        raise ValueError(
            f"balance={share} is the share of positives to reach, but {positives} of {len(labels)} samples are "
            "positive already"
        )
    return max(0, round(missing))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_share(value: float) -> bool:
    return _is_number(value) and math.isfinite(value) and value >= 0


def _is_count(value: float, least: int) -> bool:
    return _is_number(value) and float(value).is_integer() and value >= least
