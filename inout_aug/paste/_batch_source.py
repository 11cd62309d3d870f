"""The two sources of a batch's anomalies, for any pixels: all of them, or only those that are painted."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inout_aug.paste._batch_draws import Slots
from inout_aug.paste._batch_pixels import Where, pick, read
from inout_aug.paste.textures import Textures
from inout_aug.sample import Image

_LUMA = (0.299, 0.587, 0.114)
# A host that is grey at so many pixels along its shorter side is grey.
_PROBES = 32


def texture_bank(textures: Textures, side: int, most: int) -> Tensor:
    """Return textures as one tensor.

    Args:
        textures: To take pictures from; unreadable ones are left out with a warning.
        side: Each picture is scaled to cover a square of so many pixels, and cut to it about its middle.
        most: Where there are more pictures, so many are taken, evenly spread.

    Returns:
        uint8 (N, 3, side, side).

    Raises:
        ValueError: None of the pictures can be read.
    """
    shape = (side, side, 3)
    wanted = np.linspace(0, len(textures) - 1, min(most, len(textures))).round().astype(int).tolist()
    readable = sorted({textures.readable(index, shape, "cover") for index in wanted})
    return torch.from_numpy(np.stack([_square(textures.fetch(i, shape, "cover"), side) for i in readable]))


def _square(picture: Image, side: int) -> NDArray[np.uint8]:
    scale = side / min(picture.shape[:2])
    height, width = (max(side, math.ceil(length * scale)) for length in picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    covering = cv2.resize(picture, (width, height), interpolation=method)
    top, left = (height - side) // 2, (width - side) // 2
    square = covering[top : top + side, left : left + side]
    return np.rint(square / (257 if square.dtype == np.uint16 else 1)).astype(np.uint8).transpose(2, 0, 1)


def source_colours(
    images: Tensor,
    bank: Tensor | None,
    slots: Slots,
    hosts: Tensor,
    where: Where,
    grid: tuple[int, int],
) -> Tensor:
    """Return what the sources show at some pixels, before `tint`.

    Args:
        images: The batch, (B, C, H, W), of any memory format.
        bank: From `texture_bank`; None for the structure source alone.
        slots: As drawn.
        hosts: Which sample each slot paints on, int64 (K,).
        where: Slot, row and column of each pixel, of shapes that broadcast to S.
        grid: Rows and columns of the shuffled cells.

    Returns:
        float32 (C, *S), in [0, 1].
    """
    slot, channels, size = where[0], images.shape[1], (images.shape[2], images.shape[3])
    structure = as_unit(read(images, pick(hosts, slot), _shuffled(slots, where, size, grid)))
    if bank is None:
        return structure
    number = pick(slots.texture.long().clamp(min=0), slot)
    texture = as_unit(read(bank, number, _tiled(slots, where, size, bank.shape[2])))
    if channels == 1:
        texture = sum(weight * colour for weight, colour in zip(_LUMA, texture, strict=True))[None]
    return torch.where(pick(slots.texture >= 0, slot), texture, structure)


def _shuffled(slots: Slots, where: Where, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Return which pixels of the host are seen where, with the cells of a grid shuffled and all mirrored."""
    slot, y, x = where
    (height, width), (rows, columns) = size, grid
    row, top, highest = _cells(height, rows, slot.device)
    column, left, widest = _cells(width, columns, slot.device)
    cell = slots.shuffle.long().view(-1, rows, columns)
    # cells may differ by a pixel in size
    down = top[cell // columns].clamp(max=height - highest) - top[:, None]
    right = left[cell % columns].clamp(max=width - widest) - left
    # seen from the last pixel backwards where mirrored
    mirror_y, mirror_x = slots.mirror_y.long(), slots.mirror_x.long()
    stride_y, stride_x = width * (1 - 2 * mirror_y), 1 - 2 * mirror_x
    first = mirror_y * (height - 1) * width + mirror_x * (width - 1)
    moved = first[:, None, None] + stride_y[:, None, None] * down + stride_x[:, None, None] * right
    along = moved[:, :, column] + stride_x[:, None, None] * torch.arange(width, device=slot.device)
    return pick(along.flatten(), (slot * rows + pick(row, y)) * width + x) + pick(stride_y, slot) * y


def _cells(side: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Return the cell of each pixel along one side, the first pixel of each cell, and the pixels of the largest."""
    first = (torch.arange(cells, device=device) * side + cells - 1) // cells
    return torch.arange(side, device=device) * cells // side, first, -(-side // cells)


def _tiled(slots: Slots, where: Where, size: tuple[int, int], side: int) -> Tensor:
    """Return which pixels of a texture are seen where: from a random place on, mirrored beyond its edges."""
    slot, y, x = where
    period = 2 * side

    def folded(length: int, crop: Tensor) -> Tensor:
        at = (torch.arange(length, device=crop.device) + (crop * period).long()[:, None]) % period
        return torch.minimum(at, period - 1 - at)

    row, column = folded(size[0], slots.crop_y) * side, folded(size[1], slots.crop_x)
    return pick(row.flatten(), slot * size[0] + y) + pick(column.flatten(), slot * size[1] + x)


def tint(colours: Tensor, slots: Slots, slot: Tensor, level: Tensor, grey: Tensor) -> Tensor:
    """Return a source's colours with hue, saturation, contrast and brightness changed as drawn: one affine map.

    Args:
        colours: float32 (C, *S).
        slots: As drawn.
        slot: Slot of each pixel, of a shape that broadcasts to S.
        level: Mean value of each host, float32 (K,): brightness moves away from the nearer end of the range.
        grey: Which hosts are grey, bool (K,): their sources become grey too.

    Returns:
        float32 (C, *S), in [0, 1].
    """
    gain, shifted = slots.contrast, level + slots.shift
    shift = torch.where((shifted < 0) | (shifted > 1), -slots.shift, slots.shift)
    tinted = pick((1 - gain) * level + shift, slot)
    for weights, colour in zip(_weights(slots, grey, len(colours)), colours, strict=True):
        tinted = tinted + pick(gain * weights, slot) * colour
    return tinted.clamp(0, 1)


def _weights(slots: Slots, grey: Tensor, channels: int) -> list[Tensor]:
    """Return how much of each channel goes into every channel, (C, K), as hue and saturation change."""
    if channels == 1:
        return [torch.ones_like(slots.hue)[None]]
    saturation = slots.saturation.masked_fill(grey, 0)
    # a turn about the grey axis
    hue = torch.deg2rad(slots.hue)
    cosine, sine = torch.cos(hue), torch.sin(hue) / math.sqrt(3)
    third = (1 - cosine) / 3
    turn = saturation * torch.stack([cosine + third, third + sine, third - sine])
    return [turn.roll(number, 0) + (1 - saturation) * luma for number, luma in enumerate(_LUMA)]


def look(images: Tensor, hosts: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a few pixels tell of each host: its mean in [0, 1], float32 (K,), and if it is grey, bool (K,)."""
    step = max(1, min(images.shape[2:]) // _PROBES)
    # sums depend on the order in memory
    probes = as_unit(images[:, :, ::step, ::step][hosts]).contiguous()
    apart = probes.amax(1) - probes.amin(1)
    return probes.mean((1, 2, 3)), apart.amax((1, 2)) == 0


def as_unit(values: Tensor) -> Tensor:
    """Return values in [0, 1], float32."""
    return values.to(torch.float32) / 255 if values.dtype == torch.uint8 else values.to(torch.float32)
