"""A shard in the making: a row for each of its sample indices, some of them still empty."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.errors import CacheDamaged
from inout_aug.cache.plan import describe
from inout_aug.cache.shard import Arrays, Layout
from inout_aug.plugin import Request
from inout_aug.sample import Origin, Sample


class Draft:
    """The arrays of a shard, filled row by row in any order; the rows present so far make a valid shard.

    Args:
        layout: Of the shard.
        indices: The sample indices that belong into it, ascending.
    """

    def __init__(self, layout: Layout, indices: NDArray[np.int64]) -> None:
        self.layout = layout
        self.indices = indices
        self.present = np.zeros(len(indices), bool)
        self._records = [b""] * len(indices)
        self._columns: Arrays = {
            name: np.empty(field.shape, field.dtype)
            for name, field in layout.fields(len(indices), 0).items()
            if name not in ("record", "record_end")
        }
        self._columns["index"][:] = indices

    @property
    def missing(self) -> list[int]:
        """Rows that are still empty."""
        return [int(row) for row in np.flatnonzero(~self.present)]

    def adopt(self, arrays: Arrays) -> None:
        """Take over the rows of an earlier version of the same shard.

        Raises:
            CacheDamaged: It has samples that do not belong into this shard, or records that cannot be cut apart.
        """
        known = np.isin(arrays["index"], self.indices)
        ends = arrays["record_end"]
        starts = np.concatenate([[0], ends[:-1]])
        if not known.all() or (np.diff(arrays["index"]) <= 0).any():
            raise CacheDamaged("it holds samples that do not belong there")
        if (starts > ends).any() or starts[0] != 0 or ends[-1] != len(arrays["record"]):
            raise CacheDamaged("its records cannot be told apart")
        rows = np.searchsorted(self.indices, arrays["index"])
        for name, column in self._columns.items():
            column[rows] = arrays[name]
        for row, start, end in zip(rows, starts, ends, strict=True):
            self._records[row] = arrays["record"][start:end].tobytes()
        self.present[rows] = True

    def put(
        self, row: int, sample: Sample, request: Request, scores: Sequence[float], rejections: Sequence[int]
    ) -> None:
        """Fill a row.

        Args:
            row: Which.
            sample: What the generator made; it has passed `check`.
            request: What it was asked for.
            scores: One for each of the layout's score names.
            rejections: How many earlier attempts each of the layout's gates rejected.

        Raises:
            TypeError: The sample's parameters are no JSON-able values.
        """
        self._records[row] = encode_record(request, sample.origin)
        self._columns["seed"][row] = request.seed
        self._columns["label"][row] = sample.label
        self._columns["defect_class"][row] = request.defect_class
        self._columns["score"][row] = scores
        self._columns["rejections"][row] = rejections
        self._columns["image"][row] = sample.image
        if sample.mask is not None:
            self._columns["mask"][row] = sample.mask
        # last, so that a row interrupted half-way still counts as empty
        self.present[row] = True

    def check(self, sample: Sample) -> None:
        """Raise ValueError unless the sample fits the layout."""
        shape = (self.layout.height, self.layout.width, self.layout.channels)
        if sample.image.shape != shape:
            raise ValueError(f"an image of shape {shape} was asked for; the generator gave {sample.image.shape}")
        if sample.image.dtype != self.layout.dtype:
            raise ValueError(
                f"{self.layout.dtype} images were asked for; the generator gave {sample.image.dtype}. "
                f"Fill with dtype={str(sample.image.dtype)!r}"
            )
        if (sample.mask is None) == self.layout.masks:
            gave = "no mask" if sample.mask is None else "a mask"
            raise ValueError(f"the generator gave {gave}. Fill with masks={sample.mask is not None}")

    def arrays(self) -> Arrays:
        """Return what a shard of the present rows holds."""
        rows = np.flatnonzero(self.present)
        records = [self._records[row] for row in rows]
        # a complete draft is written from where it is, without a copy
        columns = self._columns if len(rows) == len(self.indices) else {n: c[rows] for n, c in self._columns.items()}
        return {
            **columns,
            "record_end": np.cumsum([len(record) for record in records], dtype="<i8"),
            "record": np.frombuffer(b"".join(records), np.uint8),
        }


def encode_record(request: Request, origin: Origin) -> bytes:
    """Return what is kept about a sample beside its columns, as JSON: what was asked for, and what the generator drew.

    Raises:
        TypeError: `origin.params` holds something that JSON has no form for.
    """
    record: dict[str, Any] = describe(request)
    if origin.params:
        record["params"] = dict(origin.params)
    if origin.host is not None:
        record["host"] = origin.host
    try:
        return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise TypeError(f"Origin.params of a generated sample must be JSON-able values: {error}") from None


def decode_record(record: bytes) -> Mapping[str, Any]:
    """Return what `encode_record` kept.

    Raises:
        CacheDamaged: It is no JSON object.
    """
    try:
        value = json.loads(record)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CacheDamaged("the record of a sample is not what was written")
    return value
