"""A defect into a host: which window of it a model sees, and how what the model made goes back in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.plugin import Request
from inout_aug.sample import Image, Mask, Sample, check_image

Make: TypeAlias = Callable[[Sequence[Request]], list[Sample]]


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of an image, in pixels.

    Example:
        >>> np.zeros((64, 64))[Window(8, 16, 32, 24).slices].shape
        (32, 24)
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """What cuts it out of an array (H, W, ...)."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def check_host(request: Request) -> None:
    """Raise unless the host of a request is an image as asked for, and region and strength fit it.

    Raises:
        TypeError: The host is no uint8 or uint16 array.
        ValueError: Its shape is another, the region is empty or of another size, or the strength is out of range.
    """
    shape, host, region = (request.height, request.width, request.channels), request.host, request.region
    check_image(host)
    if host is not None and host.shape != shape:
        raise ValueError(f"a host has the shape that is asked for, {shape}; got {host.shape}")
    if region is not None and (region.shape != shape[:2] or not region.any()):
        raise ValueError(
            f"a region has its host's size, {shape[:2]}, and is not empty; got {region.shape} with "
            f"{np.count_nonzero(region)} pixels inside"
        )
    if not 0 < request.strength <= 1:
        raise ValueError(f"strength is a share of the noise, in (0, 1]; got {request.strength}")


def host_of(request: Request) -> Image:
    """Return the host of a request that has one."""
    return cast(Image, request.host)


def answered(requests: Sequence[Request], *, whole: Make, inserted: Make) -> list[Sample]:
    """Make the requests without a host together, and those with one, and return the samples in the requests' order."""
    samples: dict[int, Sample] = {}
    for make, hosted in ((whole, False), (inserted, True)):
        chosen = [k for k, request in enumerate(requests) if (request.host is not None) == hosted]
        samples.update(zip(chosen, make([requests[k] for k in chosen]), strict=True))
    return [samples[k] for k in range(len(requests))]


def window_anywhere(host: tuple[int, int], size: tuple[int, int], rng: np.random.Generator) -> Window:
    """Draw a window of `size`, or of as much of it as the host has, evenly over the places where it fits."""
    height, width = (min(whole, wanted) for whole, wanted in zip(host, size, strict=True))
    top, left = (int(rng.integers(whole - part + 1)) for whole, part in zip(host, (height, width), strict=True))
    return Window(top, left, height, width)


def window_around(region: Mask, size: tuple[int, int], margin: float = 0.125) -> Window:
    """Return the window with a region in its middle, moved so far that it lies inside the host.

    Args:
        region: (H, W), the host's size; non-zero inside, not empty.
        size: Of the window; it is made larger, where the host allows, for a region that would come too near its edge.
        margin: How near that is, as a share of the window.

    Example:
        >>> region = np.zeros((100, 100), np.uint8)
        >>> region[90:95, 40:50] = 1
        >>> window_around(region, (32, 32))
        Window(top=68, left=29, height=32, width=32)
    """
    spans = []
    for axis, (whole, wanted) in enumerate(zip(region.shape, size, strict=True)):
        (inside,) = np.nonzero(region.any(axis=1 - axis))
        first, last = int(inside[0]), int(inside[-1]) + 1
        length = min(whole, max(wanted, last - first + 2 * round(margin * wanted)))
        start = min(max(0, (first + last - length) // 2), whole - length)
        spans.append((start, length))
    (top, height), (left, width) = spans
    return Window(top, left, height, width)


def blend(host: Image, made: NDArray[np.floating[Any]], region: Mask, feather: float = 2.0) -> Image:
    """Return the host with what a model made inside the region; outside it, every bit is the host's.

    Towards the edge of the region the host fades in, over less than `feather` pixels where the region is thin, so that
    a crack keeps its contrast.

    Args:
        host: uint8 or uint16, (H, W, C); left as it is.
        made: Of the same shape, in the host's units.
        region: (H, W), non-zero inside.
        feather: Width of the transition in pixels.

    Raises:
        ValueError: The shapes differ, or `made` is not finite.

    Example:
        >>> host, made = np.zeros((16, 16, 1), np.uint8), np.full((16, 16, 1), 90.0)
        >>> region = np.zeros((16, 16), np.uint8)
        >>> region[4:12, 4:12] = 1
        >>> blend(host, made, region)[8, :8, 0].tolist()
        [0, 0, 0, 0, 30, 60, 90, 90]
    """
    if made.shape != host.shape or region.shape != host.shape[:2]:
        raise ValueError(f"host, made and region differ in size: {host.shape}, {made.shape}, {region.shape}")
    if not np.isfinite(made).all():
        raise ValueError("what was made is not finite")
    here = host.astype(np.float64)
    mixed = np.rint(here + _opacity(region, feather)[..., None] * (made - here))
    mixed = np.clip(mixed, 0, np.iinfo(host.dtype).max).astype(host.dtype)
    return cast(Image, np.where(region[..., None] > 0, mixed, host))


def put_back(
    host: Image, window: Window, made: NDArray[np.floating[Any]], region: Mask, feather: float
) -> tuple[Image, Mask]:
    """Return the host with what a model made inside a region of a window of it, and the region in the host's size.

    Args:
        host: uint8 or uint16, (H, W, C); left as it is.
        window: What of the host the model saw.
        made: Of the window's shape, in the host's units.
        region: Of the window's size, non-zero inside.
        feather: See `blend`.
    """
    image, mask = host.copy(), np.zeros(host.shape[:2], np.uint8)
    image[window.slices] = blend(host[window.slices], made, region, feather)
    mask[window.slices] = region
    return image, mask


def _opacity(region: Mask, feather: float) -> NDArray[np.float64]:
    """Return how much of what was made shows: 1 deep inside the region, and above 0 in all of it."""
    inside = (region > 0).astype(np.uint8)
    count, parts = cv2.connectedComponents(inside)
    labels = np.asarray(parts, np.intp)
    # the image's own edge is none of the region
    depth = cv2.distanceTransform(np.pad(inside, 1, "edge"), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    depth = depth.astype(np.float64)
    deepest = np.zeros(count)
    np.maximum.at(deepest, labels, depth)
    width = np.clip(deepest - 1, 0, feather)[labels]
    return cast(NDArray[np.float64], np.minimum(1, depth / (1 + width)) * inside)
