"""Reading and writing pixels of many pictures at once: those that are painted, or all.

Which ones is told by the number of the picture or slot, the row and the column: three tensors that broadcast to a
shape S, of one dimension if pixels were looked for, and of more if all are meant. A picture's are counted along rows.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Where: TypeAlias = tuple[Tensor, Tensor, Tensor]


def inside(painted: Tensor) -> Where:
    """Return slot, row and column of the painted pixels, on the CPU: there numpy finds them several times faster."""
    _, height, width = painted.shape
    flat = np.flatnonzero(painted.numpy())
    row = flat // width
    slot = row // height
    return torch.from_numpy(slot), torch.from_numpy(row - slot * height), torch.from_numpy(flat - row * width)


def everywhere(painted: Tensor) -> Where:
    """Return slot, row and column of all pixels."""
    slots, height, width = (torch.arange(length, device=painted.device) for length in painted.shape)
    return slots[:, None, None], height[:, None], width


def read(pictures: Tensor, number: Tensor, pixel: Tensor) -> Tensor:
    """Return pixels of pictures (N, C, H, W), of any memory format, as (C, *S)."""
    if pixel.ndim > 1:
        return pictures.flatten(2).movedim(1, 0)[:, number, pixel]
    memory, at = _memory(pictures, number, pixel)
    return pick(memory, at)


def write(pictures: Tensor, number: Tensor, pixel: Tensor, values: Tensor) -> None:
    """Write values (C, *S) to pixels of pictures (N, C, H, W), of any memory format, where S has one dimension."""
    memory, at = _memory(pictures, number, pixel)
    memory.scatter_(0, at.flatten(), values.expand(at.shape).flatten())


def pick(table: Tensor, index: Tensor) -> Tensor:
    """Return `table[..., index]`, on the CPU several times faster."""
    return table.index_select(-1, index.flatten()).view(*table.shape[:-1], *index.shape)


def _memory(pictures: Tensor, number: Tensor, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures as one row of memory, and where the pixels lie in it, (C, *S): one index is followed fastest."""
    (_, channels, _, width), (of_picture, of_channel, of_row, of_column) = pictures.shape, pictures.stride()
    extent = 1 + sum((length - 1) * stride for length, stride in zip(pictures.shape, pictures.stride(), strict=True))
    at = pixel * of_column if of_row == width * of_column else pixel // width * of_row + pixel % width * of_column
    channel = torch.arange(channels, device=pixel.device)[:, None] * of_channel
    return pictures.as_strided((extent,), (1,)), number * of_picture + at + channel
