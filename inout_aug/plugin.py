"""What a third party implements to add a kind of synthetic defect, and how it is found.

Three protocols, by cost: a `Paster` paints on a host on the fly; a `SampleSource` reads samples made earlier; a
`Generator` is an expensive model whose output is cached before training starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from inout_aug.sample import Distribution, Image, Mask, Params, Sample

ENTRY_POINT_GROUP = "inout_aug.generators"


@runtime_checkable
class Paster(Protocol):
    """Paints a defect on a normal image: cheap, drawn anew at every visit.

    `make_params` holds all the randomness; `apply` is pure, so that recorded parameters replay a sample bit for bit.
    A class attribute `defect_class` (default 1) may name the class of the painted defect.
    """

    def make_params(self, image: Image, rng: np.random.Generator) -> Params:
        """Draw everything random, as JSON-able values.

        Args:
            image: The host, uint8 or uint16, (H, W, C).
            rng: The only source of randomness.
        """
        ...

    def apply(self, image: Image, params: Params) -> tuple[Image, Mask]:
        """Paint.

        Args:
            image: The host; left as it is.
            params: From `make_params`, or read back from JSON.

        Returns:
            A new image of the host's shape and dtype, and its mask: uint8 (H, W), non-zero where and only where a pixel
            may differ from the host, and never empty.

        Raises:
            HostRefused: This host cannot be painted on; another one is drawn.
        """
        ...


class HostRefused(ValueError):
    """A paster cannot paint on this host, for a reason that another host may not have."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One sample asked of a `Generator`. A batch of requests gives exactly what the single requests would.

    Attributes:
        seed: Fixes the sample, with the generator's fingerprint and the fields below.
        height: In pixels.
        width: In pixels.
        channels: 1 or 3.
        defect_class: Class of the defect wanted, from 1.
        prompt: Text condition, for models that take one.
        strength: How strong the defect is, 1 = as learned.
        host: A normal image to change, (H, W, C), for host-conditioned generation.
        region: Where to change it: uint8 (H, W), non-zero inside.
    """

    seed: int
    height: int
    width: int
    channels: int = 3
    defect_class: int = 1
    prompt: str | None = None
    strength: float = 1.0
    host: Image | None = None
    region: Mask | None = None


@runtime_checkable
class Generator(Protocol):
    """An expensive model of real defects. It never runs in a loader worker: its samples are cached first.

    Attributes may say more of it, for the cache that is filled where it is given to `InOutAugment` as it is:
    `masks = False`, that it makes no masks; `dtype = "uint16"`, that it makes 16-bit images; `defect_classes = n`, that
    it can be asked for the classes 1 to n, which are asked for in turn; `hosts = True`, that it changes normal images,
    keeping their dtype: each request then comes with one of the dataset's as `Request.host`.
    """

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that changes a pixel: code version, weights' bytes, parameters."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Make one sample per request, in order. `Sample.label` is the defect class."""
        ...


class Draws(Protocol):
    """Samples ready to be drawn for one dataset: picklable, and pure in `position` and `epoch`."""

    @property
    def classes(self) -> NDArray[np.uint8]:
        """Defect class of each position, shape (count,), the same in every epoch."""
        ...

    def __call__(self, position: int, epoch: int) -> Sample:
        """Return the sample at `position` in [0, count); its label is the defect class."""
        ...


@runtime_checkable
class SampleSource(Protocol):
    """Samples that exist already and cost microseconds to read."""

    @property
    def fingerprint(self) -> str:
        """Hex digest that identifies the samples."""
        ...

    def bind(self, count: int, like: Sample, seed: int) -> Draws:
        """Get ready for a dataset; called once, in the main process.

        Args:
            count: Synthetic samples wanted per epoch.
            like: A real normal sample; draws have its size, channels and dtype.
            seed: Base seed of the wrapped dataset.

        Raises:
            ValueError: There are not enough samples, or they do not fit `like`.
        """
        ...


Member = Paster | SampleSource | Generator


def name_of(member: object) -> str:
    """Return the name a member has in summaries and in `Origin.generator`."""
    return str(getattr(member, "name", None) or type(member).__name__)


def fingerprint_of(member: object) -> str:
    """Return the member's own fingerprint, or a digest of its class and settings: its repr, else its attributes."""
    own = getattr(member, "fingerprint", None)
    if own is not None:
        return str(own)
    kind = type(member)
    # the default repr holds an address, which says nothing
    settings = repr(member) if kind.__repr__ is not object.__repr__ else repr(sorted(vars(member).items()))
    return hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}:{settings}".encode()).hexdigest()[:16]


def distribution_of(member: object) -> Distribution:
    """Return "out" for what is painted and "in" for what was learned from real defects, unless the member says."""
    own = getattr(member, "distribution", None)
    if own is None:
        return "out" if isinstance(member, Paster) else "in"
    if own not in ("in", "out"):
        raise ValueError(f"{name_of(member)}.distribution must be 'in' or 'out'; got {own!r}")
    return "in" if own == "in" else "out"


def available() -> dict[str, EntryPoint]:
    """Return what is installed under the entry point group `inout_aug.generators`, by name; loads nothing.

    Example:
        >>> "memseg" in available()
        True
    """
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def create(name: str, /, *args: Any, **kwargs: Any) -> Member:
    """Construct the installed paster or generator of this name.

    Args:
        name: Entry point name, as listed by `available`.
        args: Passed to the constructor.
        kwargs: Passed to the constructor.

    Raises:
        KeyError: Nothing of this name is installed.
        TypeError: It is none of `Paster`, `SampleSource` and `Generator`.
    """
    points = available()
    if name not in points:
        raise KeyError(f"no generator {name!r} is installed; there are {sorted(points)}. Is its package installed?")
    member = points[name].load()(*args, **kwargs)
    if not isinstance(member, Paster | SampleSource | Generator):
        raise TypeError(
            f"entry point {name!r} gives a {type(member).__name__}, which is no Paster (make_params, apply), "
            "SampleSource (bind) or Generator (generate)"
        )
    return member
