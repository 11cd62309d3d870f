"""What a cache is to hold: which requests, in which shapes, past which gates. Sample k depends on nothing else."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.fingerprint import digest_of
from inout_aug.cache.shard import FORMAT, DType, Layout
from inout_aug.plugin import Request
from inout_aug.sample import Sample
from inout_aug.seeding import check_seed

Shape: TypeAlias = tuple[int, int, int]
Conditions: TypeAlias = Mapping[str, Any]

_CONDITIONS = frozenset({"defect_class", "prompt", "strength", "host", "region"})


@runtime_checkable
class Gate(Protocol):
    """Judges a sample at fill: what it rejects is made again from another seed.

    Its verdict depends on the sample alone, never on other samples or on their order; comparisons inside a cache are
    made afterwards, and stored as review decisions. It pickles, for the engines that fill in other processes.

    Attributes:
        name: Names the reason of a rejection in counts and reports.
        score_names: What it measures; different from those of any other gate of the same fill.
        fingerprint: Identifies all that changes a verdict: features, thresholds, reference images.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - described above, as the other two

    @property
    def score_names(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def fingerprint(self) -> str: ...  # noqa: D102

    def judge(self, sample: Sample) -> tuple[bool, tuple[float, ...]]:
        """Return whether to keep the sample, and its scores: one float32 for each of `score_names`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides the samples of a cache, except their number and the generator.

    Args:
        shape: (H, W, C) of the images: one for all, or a function of the sample's index.
        seed: Base seed, in [0, 2**64).
        conditions: What is asked for beside the shape, as fields of `Request` (`defect_class`, `prompt`, `strength`,
            `host`, `region`): one mapping for all samples, a sequence that is gone through again and again, or a pure
            function of the sample's index.
        gates: Quality gates, asked in this order; the first to reject decides.
        dtype: Of the images.
        masks: Whether the samples have masks.

    Raises:
        TypeError: A gate lacks a part of the `Gate` protocol.
        ValueError: A setting is out of range, a condition is unknown, or two gates share a name.

    Example:
        >>> plan = Plan(shape=(64, 64, 3), seed=7, conditions=[{"prompt": "a crack"}, {"prompt": "a dent"}])
        >>> [plan.request(k).prompt for k in range(3)]
        ['a crack', 'a dent', 'a crack']
    """

    shape: Shape | Callable[[int], Shape]
    seed: int = 0
    conditions: Conditions | Sequence[Conditions] | Callable[[int], Conditions] | None = None
    gates: Sequence[Gate] = ()
    dtype: DType = "uint8"
    masks: bool = True

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for gate in self.gates:
            if not isinstance(gate, Gate):
                raise TypeError(
                    f"a gate has name, score_names, fingerprint and judge; {type(gate).__name__} lacks some"
                )
        if isinstance(self.conditions, Sequence) and not self.conditions:
            raise ValueError("conditions is an empty sequence; give None to ask for nothing in particular")
        self.request(0)
        self.layout(self.shape_of(0))

    def shape_of(self, index: int) -> Shape:
        """Return the shape of a sample."""
        shape = self.shape(index) if callable(self.shape) else self.shape
        try:
            height, width, channels = map(operator.index, shape)
        except (TypeError, ValueError):
            raise ValueError(f"a shape is (H, W, C), in whole numbers; got {shape!r} for sample {index}") from None
        return height, width, channels

    def layout(self, shape: Shape) -> Layout:
        """Return what the shards of one shape look like."""
        return Layout(
            height=shape[0],
            width=shape[1],
            channels=shape[2],
            dtype=self.dtype,
            masks=self.masks,
            scores=tuple(name for gate in self.gates for name in gate.score_names),
            gates=tuple(gate.name for gate in self.gates),
        )

    def request(self, index: int, attempt: int = 0) -> Request:
        """Return what is asked of the generator for a sample; a rejected one is asked for again from another seed."""
        height, width, channels = self.shape_of(index)
        conditions = self._conditions_of(index)
        unknown = sorted(set(conditions) - _CONDITIONS)
        if unknown:
            raise ValueError(f"unknown conditions {unknown} for sample {index}; there are {sorted(_CONDITIONS)}")
        seed = request_seed(self.seed, index, attempt)
        return Request(seed=seed, height=height, width=width, channels=channels, **conditions)

    def _conditions_of(self, index: int) -> Conditions:
        if self.conditions is None:
            return {}
        if isinstance(self.conditions, Mapping):
            return self.conditions
        if isinstance(self.conditions, Sequence):
            return self.conditions[index % len(self.conditions)]
        return self.conditions(index)

    def groups(self, count: int) -> dict[Shape, NDArray[np.int64]]:
        """Return the indices of the first `count` samples by shape, shapes in order of first use."""
        if not callable(self.shape):
            return {self.shape_of(0): np.arange(count)}
        groups: dict[Shape, list[int]] = {}
        for index in range(count):
            groups.setdefault(self.shape_of(index), []).append(index)
        return {shape: np.array(indices) for shape, indices in groups.items()}

    def key(self, fingerprint: str) -> str:
        """Return what a cache of this plan is known by: the digest, in hex, of all that decides its samples.

        Of functions (of shape, of conditions) the first request counts here; a fill that goes on compares one request
        of each shard.

        Args:
            fingerprint: The generator's.
        """
        distinct = len(self.conditions) if isinstance(self.conditions, Sequence) else 1
        return digest_of(
            {
                "format": FORMAT,
                "generator": fingerprint,
                "seed": self.seed,
                "shape": self.shape_of(0),
                "dtype": self.dtype,
                "masks": self.masks,
                "conditions": [describe(self.request(index)) for index in range(distinct)],
                "gates": [gate.fingerprint for gate in self.gates],
            }
        )


def request_seed(seed: int, index: int, attempt: int) -> int:
    """Return the seed of a request: 63 bits of BLAKE2b over base seed, sample index and attempt.

    Example:
        >>> 0 <= request_seed(0, 5, 0) < 2**63 and request_seed(0, 5, 0) != request_seed(0, 5, 1)
        True
    """
    key = b"".join(word.to_bytes(8, "little") for word in (seed, index, attempt))
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def describe(request: Request) -> dict[str, Any]:
    """Return what a request asks for beside size and seed, as JSON-able values; images by their digests."""
    asked: dict[str, Any] = {"defect_class": int(request.defect_class)}
    if request.prompt is not None:
        asked["prompt"] = request.prompt
    if request.strength != 1.0:
        asked["strength"] = float(request.strength)
    for name, image in (("host", request.host), ("region", request.region)):
        if image is not None:
            digest = hashlib.sha256(f"{image.dtype} {image.shape} ".encode())
            digest.update(np.ascontiguousarray(image).data)
            asked[f"{name}_sha256"] = digest.hexdigest()
    return asked
