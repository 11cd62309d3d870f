"""The two sources of a batch's anomalies, for any pixels: all of them, or only those that are painted."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inout_aug.paste._batch_draws import Slots
from inout_aug.paste._batch_pixels import Pixels
from inout_aug.paste.textures import Textures
from inout_aug.sample import Image

_LUMA = (0.299, 0.587, 0.114)
# A host that is grey at so many pixels along its shorter side is grey.
_PROBES = 16


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


class Source(NamedTuple):
    """What is mixed in at each slot, ready to be looked up for any of its pixels; all tensors begin with K.

    Attributes:
        host: The sample that is painted on, int64 (K,).
        opacity: How much of the source is mixed in, (K,).
        tint: What a channel of it takes from the channel itself, the one before, the one after, and the luma, and a
            constant, (K, 5).
        along: Which pixel of the host is seen in each column of a row of cells, if they began at row 0, (K, rows, W).
        down: What each row adds to that, (K,).
        texture: Its number, or -1 for the structure, (K,).
        row: First pixel of the texture's row that is seen in each row, (K, H); without textures (K, 0).
        column: The texture's column that is seen in each column, (K, W); without textures (K, 0).
    """

    host: Tensor
    opacity: Tensor
    tint: Tensor
    along: Tensor
    down: Tensor
    texture: Tensor
    row: Tensor
    column: Tensor


def prepare(images: Tensor, bank: Tensor | None, slots: Slots, hosts: Tensor, grid: tuple[int, int]) -> Source:
    """Return the sources of slots.

    Args:
        images: The batch, (B, C, H, W), of any memory format.
        bank: From `texture_bank`; None for the structure source alone.
        slots: As drawn.
        hosts: Which sample each slot paints on, int64 (K,).
        grid: Rows and columns of the shuffled cells.
    """
    height, width = images.shape[2:]
    tint, shuffled = _tint(slots, *_look(images, hosts)), _shuffled(slots, (height, width), grid)
    if bank is None:
        row = column = hosts.new_empty(len(hosts), 0)
    else:
        side = bank.shape[2]
        row, column = _folded(height, side, slots.crop_y) * side, _folded(width, side, slots.crop_x)
    return Source(hosts, slots.opacity, tint, *shuffled, slots.texture.long(), row, column)


def mixed(source: Source, images: Tensor, bank: Tensor | None, pixels: Pixels, host: Tensor) -> Tensor:
    """Return pixels of the hosts with the sources mixed in, (C, *S), of the images' dtype.

    Args:
        source: From `prepare`.
        images: The batch.
        bank: As for `prepare`.
        pixels: Which are wanted.
        host: What they are in the hosts, (C, *S).
    """
    channels, height, width = images.shape[1:]
    rows = source.along.shape[1]
    seen = pixels.look_up(source.along.flatten(1), pixels.y * rows // height * width + pixels.x)
    seen = seen + pixels.spread(source.down) * pixels.y
    colours = as_unit(pixels.read(images, pixels.place(images, source.host, seen)))
    if bank is not None:
        seen = pixels.look_up(source.row, pixels.y) + pixels.look_up(source.column, pixels.x)
        texture = as_unit(pixels.read(bank, pixels.place(bank, source.texture.clamp(min=0), seen)))
        texture = _luma(texture)[None] if channels == 1 else texture
        colours = torch.where(pixels.spread(source.texture) >= 0, texture, colours)
    tinted = tint(colours, pixels.spread(source.tint.mT))
    result = torch.lerp(as_unit(host), tinted, pixels.spread(source.opacity))
    if images.dtype == torch.uint8:
        result = (result * 255 + 0.5).floor_()
    return result.to(images.dtype)


def tint(colours: Tensor, weights: Tensor) -> Tensor:
    """Return colours (C, *S), in [0, 1], with hue, saturation, contrast and brightness changed.

    Args:
        colours: float32.
        weights: As in `Source`, (5, *S).
    """
    itself, before, after, luma, constant = weights.unbind()
    if len(colours) == 1:
        return (colours * (itself + before + after + luma) + constant).clamp_(0, 1)
    tinted = torch.addcmul(torch.addcmul(constant, luma, _luma(colours)), itself, colours)
    for channel in range(3):
        tinted[channel].addcmul_(before, colours[channel - 1]).addcmul_(after, colours[channel - 2])
    return tinted.clamp_(0, 1)


def _shuffled(slots: Slots, size: tuple[int, int], grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return `along` and `down` of hosts with the cells of a grid shuffled, and all mirrored."""
    (height, width), (rows, columns), device = size, grid, slots.shuffle.device
    top, highest = _cells(height, rows, device)
    left, widest = _cells(width, columns, device)
    cell = slots.shuffle.long().view(-1, rows, columns)
    # cells may differ by a pixel in size
    move_y = top[cell // columns].clamp(max=height - highest) - top[:, None]
    move_x = left[cell % columns].clamp(max=width - widest) - left
    # seen from the last pixel backwards where mirrored
    mirror_y, mirror_x = slots.mirror_y.long(), slots.mirror_x.long()
    down, right = width * (1 - 2 * mirror_y), (1 - 2 * mirror_x)[:, None, None]
    first = mirror_y * (height - 1) * width + mirror_x * (width - 1)
    moved = first[:, None, None] + down[:, None, None] * move_y + right * move_x
    x = torch.arange(width, device=device)
    return moved[:, :, x * columns // width] + right * x, down


def _cells(side: int, cells: int, device: torch.device) -> tuple[Tensor, int]:
    """Return the first pixel of each cell along one side, and the pixels of the largest."""
    return (torch.arange(cells, device=device) * side + cells - 1) // cells, -(-side // cells)


def _folded(length: int, side: int, crop: Tensor) -> Tensor:
    """Return what is seen along a side of a texture, (K, length): from a random place on, mirrored beyond its edges."""
    period = 2 * side
    at = (torch.arange(length, device=crop.device) + (crop * period).long()[:, None]) % period
    return torch.minimum(at, period - 1 - at)


def _tint(slots: Slots, level: Tensor, grey: Tensor) -> Tensor:
    """Return the weights for `tint` that change hue, saturation, contrast and brightness as drawn, (K, 5).

    Args:
        slots: As drawn.
        level: Mean value of each host, float32 (K,): brightness moves away from the nearer end of the range.
        grey: Which hosts are grey, bool (K,): their sources become grey too.
    """
    gain, shifted = slots.contrast, level + slots.shift
    shift = torch.where((shifted < 0) | (shifted > 1), -slots.shift, slots.shift)
    # a turn about the grey axis of what the saturation leaves of the colour
    colour, hue = gain * slots.saturation.masked_fill(grey, 0), torch.deg2rad(slots.hue)
    cosine, sine = torch.cos(hue), torch.sin(hue) / math.sqrt(3)
    third = (1 - cosine) / 3
    turn = cosine + third, third + sine, third - sine
    return torch.stack([*(colour * part for part in turn), gain - colour, (1 - gain) * level + shift], 1)


def _luma(colours: Tensor) -> Tensor:
    """Return the luma, (*S), of colours (3, *S)."""
    red, green, blue = colours.unbind()
    return (_LUMA[0] * red).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])


def _look(images: Tensor, hosts: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a few pixels tell of each host: its mean in [0, 1], float32 (K,), and if it is grey, bool (K,)."""
    step = max(1, min(images.shape[2:]) // _PROBES)
    # sums depend on the order in memory
    probes = as_unit(images[:, :, ::step, ::step][hosts]).contiguous()
    apart = probes.amax(1) - probes.amin(1)
    return probes.mean((1, 2, 3)), apart.amax((1, 2)) == 0


def as_unit(values: Tensor) -> Tensor:
    """Return values in [0, 1], float32."""
    return values.to(torch.float32) / 255 if values.dtype == torch.uint8 else values.to(torch.float32)
