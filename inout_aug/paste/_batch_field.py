"""Rotated Perlin fields for a batch at once: two batched matrix products, then one sampling at rotated coordinates.

Nothing here asks the device for a value, and all shapes follow from the picture's size and the finest cells alone.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Per lattice cell, at the finest cells: there a field is off by up to 0.05, at twice as large ones by 0.015 (measured).
_SAMPLES = 5
_WORD = 0xFFFFFFFF


def rotated_fields(
    cells: Tensor, angle: Tensor, seed: Tensor, *, size: tuple[int, int], finest: tuple[int, int]
) -> Tensor:
    """Draw a field for every seed: √2 times Perlin's gradient noise (Perlin, "Improving noise", 2002).

    With `Wy` the fade weights of each row of samples for the lattice lines, `Dy` these weights times the row's offset
    to the line, and `Wx`, `Dx` likewise for columns, the noise on a canvas along the lattice is
    `[Wy Dy] @ [Gx @ Dx.T; Gy @ Wx.T]`. The canvas is the bounding box of the rotated picture, so that no corner is
    empty.

    Args:
        cells: Lattice cells along the picture's height and width, float32 (K, 2).
        angle: In degrees, counter-clockwise, float32 (K,).
        seed: Integers in [0, 2**32), int64 (K,).
        size: Height and width of the picture in pixels.
        finest: Most cells along the height and along the width.

    Returns:
        float32 (K, height, width).

    Example:
        >>> cells, angle = torch.tensor([[2.0, 4.0]]), torch.tensor([30.0])
        >>> rotated_fields(cells, angle, torch.tensor([7]), size=(48, 64), finest=(4, 4)).shape
        torch.Size([1, 48, 64])
    """
    height, width = size
    cosine, sine = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    per_pixel_y, per_pixel_x = cells[:, 0] / height, cells[:, 1] / width
    # sides of the bounding box, in cells
    extent_y = (cosine.abs() * height + sine.abs() * width) * per_pixel_y
    extent_x = (cosine.abs() * width + sine.abs() * height) * per_pixel_x
    most_y, most_x = (
        math.ceil(math.hypot(height, width) * most / side) for most, side in zip(finest, size, strict=True)
    )
    fade_y, offset_y = _weights(extent_y, most_y)
    fade_x, offset_x = _weights(extent_x, most_x)
    gradient_y, gradient_x = gradients(seed, most_y + 1, most_x + 1)
    left = torch.cat([fade_y, offset_y], 2)
    right = torch.cat([torch.bmm(gradient_x, offset_x.mT), torch.bmm(gradient_y, fade_x.mT)], 1).mul_(math.sqrt(2))

    # from the picture's centre in pixels to the canvas, whose edges are at -1 and 1
    scale_y, scale_x = 2 * per_pixel_y / extent_y, 2 * per_pixel_x / extent_x
    turn = torch.stack([-scale_x * sine, scale_x * cosine, scale_y * cosine, scale_y * sine], 1)
    canvas = torch.bmm(left, right)
    y, x = (torch.arange(side, device=cells.device, dtype=torch.float32) - (side - 1) / 2 for side in size)
    by_y, by_x = (turn[:, first::2, None] * side for first, side in enumerate((y, x)))
    # columns in one plane of memory and rows in the other, which is several times faster than pairs
    at = by_y.mT[:, :, None] + by_x.mT[:, None]
    return F.grid_sample(canvas[:, None], at, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def gradients(seed: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Return unit gradients on a lattice: hashed from integers alone, so that they are the same on every device.

    Returns:
        Their y and x components, float32 (K, rows, columns).
    """
    y = torch.arange(rows, device=seed.device)
    x = torch.arange(columns, device=seed.device)
    hashed = _mix(_mix(_mix(seed)[:, None] ^ y)[:, :, None] ^ x)
    direction = (hashed >> 8).to(torch.float32) * (2 * math.pi / (1 << 24))
    return torch.sin(direction), torch.cos(direction)


def _mix(value: Tensor) -> Tensor:
    """Hash 32-bit words held in int64: "lowbias32" (Wellons, hash-prospector), whose factors keep products in range."""
    value = value + 0x9E3779B9 & _WORD
    value = (value ^ value >> 16) * 0x21F0AAAD & _WORD
    value = (value ^ value >> 15) * 0x735A2D97 & _WORD
    return value ^ value >> 15


def _weights(extent: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the fade weights of evenly spaced samples for each lattice line, and the weights times the offset to it.

    Both are sharpened, since interpolation between samples at distance h is off by `h² f'' / 12` on average.

    Args:
        extent: Where the last sample lies, in cells, (K,).
        most: Cells that the lattice has room for.

    Returns:
        float32 (K, samples, most + 1) each.
    """
    samples = _SAMPLES * most
    steps = torch.arange(-1, samples + 1, device=extent.device) / (samples - 1)
    lines = torch.arange(most + 1, device=extent.device)
    offset = (extent[:, None] * steps)[:, :, None] - lines
    apart = offset.abs().clamp_(max=1)
    fade = 1 - apart**3 * (apart * (6 * apart - 15) + 10)
    return _sharpened(fade), _sharpened(fade * offset)


def _sharpened(values: Tensor) -> Tensor:
    before, at, after = values[:, :-2], values[:, 1:-1], values[:, 2:]
    return torch.sub(at * (7 / 6), before + after, alpha=1 / 12)
