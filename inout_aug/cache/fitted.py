"""A cache in another size, number of channels or depth: made once, so that no draw has to convert anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import cast

import cv2
import numpy as np

from inout_aug.cache.fill import fill_cache
from inout_aug.cache.fingerprint import digest_of
from inout_aug.cache.plan import request_seed
from inout_aug.cache.shard import DType
from inout_aug.cache.store import SampleCache
from inout_aug.datasets._files import fit_image, fit_mask
from inout_aug.plugin import Request
from inout_aug.sample import Image, Origin, Sample

_VERSION = 1
_STEPS = 65535 // 255


def fit_cache(cache: SampleCache, like: Image, *, lossy: bool, progress: bool = True) -> SampleCache:
    """Return a cache of the same samples, in the same order, as images of the size, channels and dtype of `like`.

    It is the same cache if it has that form already. Otherwise it lies in the user's cache folder, named after the
    content; it is filled at the first call and opened at every later one. Images are resized by area or linearly, masks
    so that no defect vanishes. Grey becomes colour by repetition, 8 bit becomes 16 bit by a factor of 257.

    Args:
        cache: Of any sizes.
        like: uint8 or uint16, (H, W, C).
        lossy: Whether colour may become grey (by luminance), and 16 bit 8 bit.
        progress: Whether to draw a progress bar while filling.

    Raises:
        CacheNotWritten: There is no room.
        ValueError: It would be lossy.
    """
    shape, dtype = like.shape, str(like.dtype)
    forms = {((g.layout.height, g.layout.width, g.layout.channels), g.layout.dtype) for g, _ in cache.groups}
    if forms <= {(shape, dtype)}:
        return cache
    wider = any(channels > shape[2] for (_, _, channels), _ in forms)
    deeper = any(kind == "uint16" for _, kind in forms) and dtype == "uint8"
    if not lossy and (wider or deeper):
        have = "colour images" if wider else "16-bit images"
        raise ValueError(
            f"{cache.folder.url} has {have}, the dataset {'grey' if wider else '8-bit'} ones. Fill a cache with "
            f"shape={shape}, dtype={dtype!r}, or convert this one with CachedSampler(lossy=True)"
        )
    depth: DType = "uint16" if dtype == "uint16" else "uint8"
    masks = cache.manifest.groups[0].layout.masks
    return fill_cache(Fitter(cache, depth), None, len(cache), shape=shape, dtype=depth, masks=masks, progress=progress)


def original_of(fitted: Sample) -> Origin:
    """Return the origin that a sample of a fitted cache had in the cache it was made from."""
    origin = fitted.origin.params["params"]
    return Origin(
        generator=origin["generator"],
        fingerprint=origin["fingerprint"],
        seed=tuple(origin["seed"]),
        params=origin["params"],
    )


class Fitter:
    """The generator of a fitted cache: its k-th sample is the one at position k of another cache, converted.

    Args:
        cache: The other cache.
        dtype: Of the images wanted; their shape is told by the requests.
    """

    def __init__(self, cache: SampleCache, dtype: DType) -> None:
        self._cache = cache
        self._dtype = dtype
        self.name = f"fitted-{cache.generator}"
        self.fingerprint = digest_of(
            {
                "fitted": _VERSION,
                "cache": cache.fingerprint,
                "samples": hashlib.sha256(cache.indices.tobytes() + cache.seeds.tobytes()).hexdigest(),
                "opencv": cv2.__version__,
            }
        )

    @cached_property
    def _positions(self) -> dict[int, int]:
        """Which position is meant is told by the seed of the request: there is nothing else to draw."""
        return {request_seed(0, position, 0): position for position in range(len(self._cache))}

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Convert the samples that the seeds of the requests stand for."""
        return [self._fit(self._cache[self._positions[request.seed]], request) for request in requests]

    def _fit(self, sample: Sample, request: Request) -> Sample:
        size, origin = (request.height, request.width), sample.origin
        image = with_depth(with_channels(fit_image(sample.image, size), request.channels), self._dtype)
        mask = None if sample.mask is None else fit_mask(sample.mask, size)
        params = {
            "generator": origin.generator,
            "fingerprint": origin.fingerprint,
            "seed": list(origin.seed),
            "params": dict(origin.params),
        }
        return Sample(image, mask, sample.label, Origin(params=params))


def with_channels(image: Image, channels: int) -> Image:
    """Return an image with 1 or 3 channels: colour becomes grey by luminance, grey becomes colour by repetition.

    Example:
        >>> with_channels(np.full((16, 16, 1), 7, np.uint8), 3)[0, 0]
        array([7, 7, 7], dtype=uint8)
    """
    if image.shape[2] == channels:
        return image
    if channels == 3:
        return cast(Image, np.repeat(image, 3, axis=2))
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None])


def with_depth(image: Image, dtype: DType) -> Image:
    """Return an image as uint8 or uint16, black staying black and white white.

    Example:
        >>> with_depth(np.full((16, 16, 1), 255, np.uint8), "uint16").max()
        np.uint16(65535)
    """
    if image.dtype == dtype:
        return image
    if dtype == "uint16":
        return image.astype(np.uint16) * np.uint16(_STEPS)
    return ((image.astype(np.uint32) + _STEPS // 2) // _STEPS).astype(np.uint8)
