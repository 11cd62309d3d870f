"""The two sources of a batch's anomalies, for any pixels: all of them, or only those that are painted."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from inout_aug.paste._batch_draws import Slots
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


def _square(picture: Image, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    scale = side / min(picture.shape[:2])
    height, width = (max(side, math.ceil(length * scale)) for length in picture.shape[:2])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    covering = cv2.resize(picture, (width, height), interpolation=method)
    top, left = (height - side) // 2, (width - side) // 2
    square = covering[top : top + side, left : left + side]
    return (square if square.dtype == np.uint8 else np.rint(square / 257).astype(np.uint8)).transpose(2, 0, 1)


def source_colours(
    images: Tensor,
    bank: Tensor | None,
    slots: Slots,
    hosts: Tensor,
    where: tuple[Tensor, Tensor, Tensor],
    grid: tuple[int, int],
) -> Tensor:
    """Return what the sources show at some pixels, before `tint`.

    Args:
        images: The batch, (B, C, H, W), of any memory format.
        bank: From `texture_bank`; None for the structure source alone.
        slots: As drawn.
        hosts: Which sample each slot paints on, int64 (K,).
        where: Slot, row and column of each pixel, of shapes that broadcast to one shape S.
        grid: Rows and columns of the shuffled cells.

    Returns:
        float32 (*S, C), in [0, 1].
    """
    structure = _structure(images, slots, hosts, where, grid)
    if bank is None:
        return structure
    texture = _texture(bank, slots, where, images.shape[1])
    return torch.where((slots.texture >= 0)[where[0]][..., None], texture, structure)


def _structure(
    images: Tensor, slots: Slots, hosts: Tensor, where: tuple[Tensor, Tensor, Tensor], grid: tuple[int, int]
) -> Tensor:
    """Return the host's own colours, mirrored and with the cells of a grid shuffled."""
    slot, y, x = where
    height, width = images.shape[2:]
    rows, columns = grid
    row, column = y * rows // height, x * columns // width
    cell = slots.shuffle[slot, row * columns + column].long()
    # cells may differ by a pixel in size
    moved_y = (y + _start(cell // columns, height, rows) - _start(row, height, rows)).clamp(max=height - 1)
    moved_x = (x + _start(cell % columns, width, columns) - _start(column, width, columns)).clamp(max=width - 1)
    seen_y = torch.where(slots.mirror_y[slot] > 0, height - 1 - moved_y, moved_y)
    seen_x = torch.where(slots.mirror_x[slot] > 0, width - 1 - moved_x, moved_x)
    return as_unit(images[hosts[slot], :, seen_y, seen_x])


def _start(cell: Tensor, side: int, cells: int) -> Tensor:
    """Return the first pixel of a cell along one side."""
    return (cell * side + cells - 1) // cells


def _texture(bank: Tensor, slots: Slots, where: tuple[Tensor, Tensor, Tensor], channels: int) -> Tensor:
    """Return a texture from a random place on, mirrored beyond its edges."""
    slot, y, x = where
    side = bank.shape[2]
    period = 2 * side
    at_y = (y + (slots.crop_y[slot] * period).long()) % period
    at_x = (x + (slots.crop_x[slot] * period).long()) % period
    at_y, at_x = torch.minimum(at_y, period - 1 - at_y), torch.minimum(at_x, period - 1 - at_x)
    colours = as_unit(bank[slots.texture[slot].long().clamp(min=0), :, at_y, at_x])
    return colours if channels == 3 else _luma(colours)


def tint(colours: Tensor, slots: Slots, slot: Tensor, level: Tensor, grey: Tensor) -> Tensor:
    """Return a source's colours with hue, saturation, contrast and brightness changed as drawn.

    Args:
        colours: float32 (*S, C).
        slots: As drawn.
        slot: Slot of each pixel, of a shape that broadcasts to S.
        level: Mean value of each host, float32 (K,): brightness moves away from the nearer end of the range.
        grey: Which hosts are grey, bool (K,): their sources become grey too.

    Returns:
        float32 (*S, C), in [0, 1].
    """
    if colours.shape[-1] == 3:
        saturation = torch.where(grey, 0.0, slots.saturation)[slot][..., None]
        luma = _luma(colours)
        red, green, blue = (luma + saturation * (colours - luma)).unbind(-1)
        # a turn about the grey axis
        hue = torch.deg2rad(slots.hue)
        third = ((1 - torch.cos(hue)) / 3)[slot]
        cosine, sine = torch.cos(hue)[slot], (torch.sin(hue) / math.sqrt(3))[slot]
        middle = third * (red + green + blue)
        colours = torch.stack(
            [
                cosine * red + middle + sine * (blue - green),
                cosine * green + middle + sine * (red - blue),
                cosine * blue + middle + sine * (green - red),
            ],
            -1,
        )
    shifted = level + slots.shift
    shift = torch.where((shifted < 0) | (shifted > 1), -slots.shift, slots.shift)
    gain = slots.contrast
    offset = (1 - gain) * level + shift
    return (colours * gain[slot][..., None] + offset[slot][..., None]).clamp(0, 1)


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


def _luma(colours: Tensor) -> Tensor:
    red, green, blue = colours.unbind(-1)
    return (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue)[..., None]
