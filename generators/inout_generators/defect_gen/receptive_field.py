"""How far a pixel of the output of a Defect-Gen U-Net may look, counted from the net's settings alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def receptive_field(config: Mapping[str, Any], *, attention: bool = True) -> int | tuple[int, int] | None:
    """Return the side of the square of input pixels that an output pixel depends on, by interval arithmetic.

    Only convolutions and attention count. Group normalisation lets every pixel see every other through the statistics,
    weakly; `norm="pixel"` makes the number exact. At other resolutions, keep its ratio to the image's side rather than
    the number of levels: the published local net has 157 pixels of 256.

    Args:
        config: Settings of a `DefectGenUNet`, as in `net.config`.
        attention: Whether attention counts; else only the convolutions around it.

    Returns:
        Pixels at the input's resolution; the smallest and the largest where they depend on the pixel's position on the
        net's coarsest grid; None where attention sees the whole image.

    Example:
        >>> receptive_field({"multipliers": (1, 2), "blocks": 2, "attention_levels": (), "middle": False})
        69
    """
    if attention and (config["middle"] or config["attention_levels"]):
        return None
    grid = 2 ** (len(config["multipliers"]) - 1)
    sides = {_side(pixel, config) for pixel in range(grid)}
    return sides.pop() if len(sides) == 1 else (min(sides), max(sides))


def _side(pixel: int, config: Mapping[str, Any]) -> int:
    """Follow one output pixel back along the deepest path, which sees all that the skips see."""
    halvings = len(config["multipliers"]) - 1
    blocks: int = config["blocks"]
    # a 3×3 convolution reaches one pixel further; a residual block has two, an upsampling one
    up, down = 2 * (blocks + 1), 2 * blocks
    low, high = pixel - 1 - up, pixel + 1 + up
    for _ in range(halvings):
        low, high = (low - 1) // 2 - up, (high + 1) // 2 + up
    bottom = down + (4 if config["middle"] else 0)
    low, high = low - bottom, high + bottom
    for _ in range(halvings):
        low, high = 2 * low - 1 - down, 2 * high + 1 + down
    return (high + 1) - (low - 1) + 1
