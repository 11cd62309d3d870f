"""A host as the net sees it, and what the net made of it as the host again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from inout_aug.plugin import Request
from inout_aug.sample import Image, Mask
from inout_generators.common.insertion import Window, host_of, window_anywhere, window_around
from inout_generators.defectdiffu.drawing import Drawn, Start
from inout_generators.defectdiffu.spaces import Space


def window_in(
    host: Sequence[int], region: Mask | None, size: tuple[int, int] | None, cell: int, rng: np.random.Generator
) -> Window:
    """Return the window of a host that the net sees, of whole cells: around the region, or anywhere.

    Args:
        host: Its height and width.
        region: Where the defect may go; non-zero inside.
        size: Of the windows that the net was trained on; None if it was on whole images.
        cell: Pixels that sides are multiples of.
        rng: Places a window where there is no region.

    Raises:
        ValueError: The host has no whole cell, or the region lies in the rest that is no whole cell.

    Example:
        >>> window_in((100, 200), None, None, 16, np.random.default_rng(0)).size
        (96, 192)
    """
    whole = host[0], host[1]
    height, width = (min(side, part) // cell * cell for side, part in zip(whole, size or whole, strict=True))
    if not height or not width:
        raise ValueError(f"a host has at least {cell} pixels a side; got {whole}")
    if region is None:
        return window_anywhere(whole, (height, width), rng)
    tight = window_around(region, (height, width), margin=0 if size is None else 0.125)
    # a large region wants a larger window, of whole cells again: of one more where the host has it
    height, width = (min(-(-side // cell), most // cell) * cell for side, most in zip(tight.size, whole, strict=True))
    around = window_around(region, (height, width), margin=0)
    window = Window(around.top, around.left, height, width)
    if not region[window.slices].any():
        raise ValueError(f"the region lies in the last rows or columns, which make no whole cell of {cell} pixels")
    return window


def start_from(space: Space, request: Request, window: Window, region: Mask) -> Start:
    """Return what a net starts from to draw a region of a host anew.

    Args:
        space: Where the net works.
        request: With the host, and the strength.
        window: What of the host the net sees.
        region: In the window, 1 inside. A cell of latents with any of it is drawn anew.
    """
    touched = nn.functional.max_pool2d(torch.from_numpy(region)[None].float(), space.factor)
    x0 = space.encode(host_of(request)[window.slices][None])[0]
    return Start(x0=x0, held=touched == 0, region=region, strength=request.strength)


def as_host(drawn: Drawn, host: Image) -> NDArray[Any]:
    """Return what was drawn in a host's units and number of channels."""
    made = (drawn.values.astype(np.float64) + 1) * (np.iinfo(host.dtype).max / 2)
    return with_channels(made, host.shape[2])


def with_channels(pixels: NDArray[Any], channels: int) -> NDArray[Any]:
    """Return an image (H, W, 1 or 3) with as many channels as wanted: grey by luma, or grey repeated."""
    given = pixels.shape[2]
    if given == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    # OpenCV takes no float64
    plain = pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    return cast("NDArray[Any]", cv2.cvtColor(plain, cv2.COLOR_RGB2GRAY)[..., None])
