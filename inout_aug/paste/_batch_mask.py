"""Where a batch's defects lie: the peaks and the pits of noise fields, inside the hosts' foregrounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from inout_aug.paste._batch_field import Canvases, seen_turned

BatchForeground: TypeAlias = Callable[[Tensor], Tensor]

# A field that hardly reaches the threshold is cut at this depth below its maximum, as a share of its range.
_DEPTH = 0.1


def draw_masks(
    images: Tensor, hosts: Tensor, canvases: Canvases, threshold: float, foreground: BatchForeground | None
) -> Tensor:
    """Return where each slot's defect lies, bool (K, H, W): nowhere if its host has no foreground.

    Two slots share a canvas: the first has what is above the threshold, the second, upside down, what is as far below
    zero. Noise and its negative are equally likely, so each mask is as likely as on a canvas of its own, and a batch
    takes little more than half the time.

    Args:
        images: The batch, (B, C, H, W).
        hosts: Which sample each slot paints on, int64 (K,).
        canvases: For each two slots.
        threshold: Of the noise.
        foreground: Where defects may lie; see `BatchPaste`.
    """
    field = seen_turned(canvases, (images.shape[2], images.shape[3]))
    lowest, highest = field.amin((1, 2)), field.amax((1, 2))
    if foreground is None:
        peaks, pits = field >= _level(lowest, highest, threshold), field <= -_level(-highest, -lowest, threshold)
        return _in_turn(peaks, pits)[: len(hosts)]
    inside = foreground(images[hosts]).to(torch.bool).view(-1, *field.shape[1:])
    first, second = inside[::2], inside[1::2].flip((1, 2))
    second = torch.cat([second, first[len(second) :]])  # of an odd number the last has none
    reached = torch.where(first, field, lowest[:, None, None]).amax((1, 2))
    peaks = (field >= _level(lowest, reached, threshold)) & first
    reached = torch.where(second, field, highest[:, None, None]).amin((1, 2))
    pits = (field <= -_level(-highest, -reached, threshold)) & second
    return _in_turn(peaks, pits)[: len(hosts)]


def _level(lowest: Tensor, highest: Tensor, threshold: float) -> Tensor:
    """Return the threshold, or what is near the maximum if that is hardly above."""
    return (highest - _DEPTH * (highest - lowest)).clamp(max=threshold)[:, None, None]


def _in_turn(peaks: Tensor, pits: Tensor) -> Tensor:
    return torch.stack([peaks, pits.flip((1, 2))], 1).flatten(0, 1)
