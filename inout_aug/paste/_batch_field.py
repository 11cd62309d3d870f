"""Rotated Perlin fields for a batch at once: two batched matrix products, then one sampling at rotated coordinates.

Nothing here asks the device for a value, and all shapes follow from the picture's size and the finest cells alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

# Per lattice cell, at the finest cells: there a field is off by up to 0.05, at twice as large ones by 0.015 (measured).
_SAMPLES = 5
_WORD = 0xFFFFFFFF


class Canvases(NamedTuple):
    """Noise along the lattice, a square around the picture's circumcircle for each seed, and how pictures lie on it.

    Attributes:
        noise: float32 (K, h, w).
        turn: What a step down and a step right in the picture are on the canvas, whose edges are at -1 and 1: x down, x
            right, y down, y right, float32 (K, 4).
    """

    noise: Tensor
    turn: Tensor


def draw_canvases(
    powers: Tensor, angle: Tensor, seed: Tensor, *, size: tuple[int, int], finest: tuple[int, int]
) -> Canvases:
    """Draw a canvas for every seed: √2 times Perlin's gradient noise (Perlin, "Improving noise", 2002).

    With `Wy` the fade weights of each row of samples for the lattice lines, `Dy` these weights times the row's offset
    to the line, and `Wx`, `Dx` likewise for columns, the noise is `[Wy Dy] @ [Gx @ Dx.T; Gy @ Wx.T]`. On the canvas a
    picture of any angle has its place, so that no corner is empty.

    Args:
        powers: Which powers of two the lattice cells along the picture's height and width are, int64 (K, 2).
        angle: In degrees, counter-clockwise, float32 (K,).
        seed: Integers in [0, 2**32), int64 (K,).
        size: Height and width of the picture in pixels.
        finest: Most cells along the height and along the width.

    Example:
        >>> powers, angle = torch.tensor([[1, 2]]), torch.tensor([30.0])
        >>> canvases = draw_canvases(powers, angle, torch.tensor([7]), size=(48, 64), finest=(4, 4))
        >>> seen_turned(canvases, (48, 64)).shape
        torch.Size([1, 48, 64])
    """
    diagonal = math.hypot(*size)
    weights = _kept_weights if seed.device.type == "cpu" and not torch.compiler.is_compiling() else _weights
    along_y, along_x = (
        weights(diagonal / side, most, seed.device, ramp_first=axis == 1)[powers[:, axis]]
        for axis, (side, most) in enumerate(zip(size, finest, strict=True))
    )
    # the gradients' x go with offsets along x and fades along y, and their y the other way round
    beside = gradients(seed, along_y.shape[2], along_x.shape[2]) @ along_x
    noise = along_y.flatten(1, 2).mT @ beside.flatten(1, 2)
    cosine, sine = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    return Canvases(noise, torch.stack([-sine, cosine, cosine, sine], 1) * (2 / diagonal))


def seen_turned(canvases: Canvases, size: tuple[int, int]) -> Tensor:
    """Return the fields of pictures of a size on their canvases, float32 (K, height, width)."""
    noise, turn = canvases
    # from the picture's centre in pixels
    y, x = (torch.arange(side, device=turn.device, dtype=torch.float32) - (side - 1) / 2 for side in size)
    by_y, by_x = (turn[:, first::2, None] * side for first, side in enumerate((y, x)))
    # columns in one plane of memory and rows in the other, which is several times faster than pairs
    at = by_y.mT[:, :, None] + by_x.mT[:, None]
    return F.grid_sample(noise[:, None], at, mode="bilinear", padding_mode="border", align_corners=True)[:, 0]


def gradients(seed: Tensor, rows: int, columns: int) -> Tensor:
    """Return gradients of length √2 on a lattice: hashed from integers alone, so that all devices have the same.

    Returns:
        Their x and y components, float32 (K, 2, rows, columns).
    """
    y = torch.arange(rows, device=seed.device)
    x = torch.arange(columns, device=seed.device)
    hashed = _mix(_mix(_mix(seed)[:, None] ^ y)[:, :, None] ^ x)
    direction = (hashed >> 8).to(torch.float32) * (2 * math.pi / (1 << 24))
    return torch.stack([torch.cos(direction), torch.sin(direction)], 1).mul_(math.sqrt(2))


def _mix(value: Tensor) -> Tensor:
    """Hash 32-bit words held in int64: "lowbias32" (Wellons, hash-prospector), whose factors keep products in range."""
    value = value + 0x9E3779B9 & _WORD
    value = (value ^ value >> 16) * 0x21F0AAAD & _WORD
    value = (value ^ value >> 15) * 0x735A2D97 & _WORD
    return value ^ value >> 15


def _weights(stretch: float, finest: int, device: torch.device, *, ramp_first: bool) -> Tensor:
    """Return what a canvas's samples take from each lattice line: a fade weight, and that times the offset to the line.

    Both are sharpened, since interpolation between samples at distance h is off by `h² f'' / 12` on average.

    Args:
        stretch: Side of the canvas as a multiple of the picture's.
        finest: Most cells along the picture's side.
        device: Where to.
        ramp_first: Return the weights times the offset first.

    Returns:
        For each power of two cells along the picture's side, float32 (2, lines, samples).
    """
    cells = 2 ** torch.arange(finest.bit_length(), device=device)
    most = math.ceil(stretch * finest)
    step = stretch * cells[:, None] / (_SAMPLES * most - 1)
    at = step * torch.arange(_SAMPLES * most, device=device)
    line = at.long().clamp_(max=most - 1)
    # the distances from the lines before and after a sample: t, and 1 - t
    t = torch.stack([at - line, line + 1 - at], 1)
    rest, blur = 1 - t, (step * step / 12)[:, None]
    fade = 1 - t**3 * (t * (6 * t - 15) + 10) + blur * 60 * t * rest * (rest - t)
    ramp = t * (1 - t**3 * (t * (6 * t - 15) + 10)) + blur * 60 * t * rest * (t * (rest - t) + t * rest)
    ramp[:, 1].neg_()  # the line after is the other way
    weights = torch.stack([ramp, fade] if ramp_first else [fade, ramp], 1)
    lines = torch.stack([line, line + 1], 1)[:, None].expand_as(weights)
    return weights.new_zeros(len(cells), 2, most + 1, _SAMPLES * most).scatter_(2, lines, weights)


# They depend on sizes alone. Elsewhere they cost nothing beside the rest, and a graph's memory must not be kept.
_kept_weights = lru_cache(maxsize=16)(_weights)
