"""Normal images for the generators that put a defect into one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inout_aug.layout import Layout
from inout_aug.plugin import Generator, Request, fingerprint_of, name_of
from inout_aug.sample import Image, Sample
from inout_aug.seeding import stream

# looked at for the fingerprint: enough to tell another dataset
_WITNESSES = 12
_MAX_DRAWS = 50


class Hosts(Protocol):
    """Normal samples by number; a list of them is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Sample: ...


@dataclass(frozen=True, slots=True, eq=False)
class DatasetHosts:
    """The normal samples of a dataset, read when they are asked for.

    Attributes:
        dataset: Map-style.
        indices: Of its normal samples.
        layout: How its items are read.
    """

    dataset: Any
    indices: NDArray[np.integer[Any]]
    layout: Layout

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int, /) -> Sample:
        return self.layout.unpack(self.dataset[int(self.indices[number])])


class OnHosts:
    """A generator whose requests get a host: which one depends on the request's seed alone.

    `InOutAugment` does this for a generator with `hosts = True`; it serves a fill by hand too.

    Args:
        generator: One that changes hosts.
        hosts: Normal samples; those of the size and channels asked for are used.

    Raises:
        ValueError: There are no hosts.

    Example:
        >>> from inout_aug.sample import Sample
        >>> class Blot:
        ...     fingerprint = "blot 1"
        ...     def generate(self, requests):
        ...         return [Sample(request.host, np.ones((32, 32), np.uint8), 1) for request in requests]
        >>> hosts = [Sample(np.full((32, 32, 1), k, np.uint8)) for k in range(9)]
        >>> [sample] = OnHosts(Blot(), hosts).generate([Request(seed=5, height=32, width=32, channels=1)])
        >>> sample.origin.host == sample.image[0, 0, 0]
        np.True_
    """

    def __init__(self, generator: Generator, hosts: Hosts) -> None:
        if not len(hosts):
            raise ValueError(f"{name_of(generator)} changes normal images, and there are none")
        self._generator, self._hosts = generator, hosts
        self.name = name_of(generator)

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the generator's fingerprint, of the number of hosts, and of some of them."""
        digest = hashlib.sha256(f"{fingerprint_of(self._generator)} {len(self._hosts)}".encode())
        for number in np.linspace(0, len(self._hosts) - 1, min(len(self._hosts), _WITNESSES)).astype(int):
            image = self._hosts[int(number)].image
            digest.update(f" {image.dtype} {image.shape} ".encode())
            digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Make one sample per request, in order, each with its host's number as `Origin.host`."""
        drawn = [self._draw(request) for request in requests]
        hosted = [replace(request, host=image) for request, (_, image) in zip(requests, drawn, strict=True)]
        return [
            replace(sample, origin=replace(sample.origin, host=number))
            for sample, (number, _) in zip(self._generator.generate(hosted), drawn, strict=True)
        ]

    def _draw(self, request: Request) -> tuple[int, Image]:
        """Return a host that fits, and its number.

        Raises:
            ValueError: None was found.
        """
        shape = (request.height, request.width, request.channels)
        rng = stream(request.seed)
        for _ in range(_MAX_DRAWS):
            number = int(rng.integers(len(self._hosts)))
            image = self._hosts[number].image
            if image.shape == shape:
                return number, image
        raise ValueError(
            f"none of {_MAX_DRAWS} of {len(self._hosts)} hosts, drawn at random, has the shape asked for, {shape}. "
            "Give hosts of that shape, or let the dataset resize its images before it is wrapped"
        )
