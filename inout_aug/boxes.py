"""Boxes around new defects, added to those that are there, in any container and format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inout_aug import containers
from inout_aug.outlines import Instance, instances
from inout_aug.sample import Mask

BoxFormat: TypeAlias = Literal["xyxy", "xywh", "cxcywh", "yolo"]

FORMATS: tuple[BoxFormat, ...] = get_args(BoxFormat)


def pieces(mask: Mask, min_pixels: int = 1) -> list[Instance]:
    """Return the defects of a mask that have at least `min_pixels` pixels, but always the largest one.

    Args:
        mask: uint8, (H, W), not empty.
        min_pixels: Smaller ones are left out.
    """
    found = list(instances(mask))
    return [piece for piece in found if piece.area >= min_pixels] or [max(found, key=lambda piece: piece.area)]


def boxes_of(found: Sequence[Instance], box_format: BoxFormat, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the boxes of defects, (N, 4).

    Args:
        found: The defects.
        box_format: "xyxy", "xywh" or "cxcywh" in pixels; "yolo" is "cxcywh" in shares of the image's sides.
        size: Height and width of the image.
    """
    corner, extent = np.array([piece.box for piece in found], np.float64).reshape(-1, 2, 2).swapaxes(0, 1)
    if box_format == "xyxy":
        return np.hstack([corner, corner + extent])
    if box_format == "xywh":
        return np.hstack([corner, extent])
    boxes = np.hstack([corner + extent / 2, extent])
    return boxes / (size[1], size[0], size[1], size[0]) if box_format == "yolo" else boxes


def append_boxes(old: Any, found: Sequence[Instance], box_format: BoxFormat, size: tuple[int, int]) -> Any:
    """Return boxes with new ones after them, in their own container; `tv_tensors.BoundingBoxes` in their own format.

    Raises:
        ValueError: `old` is a BoundingBoxes of another canvas, or holds whole numbers, where shares are 0.
    """
    from torchvision import tv_tensors
    from torchvision.transforms.v2.functional import convert_bounding_box_format

    if not isinstance(old, tv_tensors.BoundingBoxes):
        if box_format == "yolo" and isinstance(old, Tensor | np.ndarray) and not _is_float(old):
            raise ValueError(
                f"boxes in 'yolo' format are shares of the image's sides; got {old.dtype}. Make them float"
            )
        return append(old, boxes_of(found, box_format, size))
    if tuple(old.canvas_size) != size:
        raise ValueError(f"the boxes have canvas_size={tuple(old.canvas_size)}, but the image has {size}")
    upright = old.format.name in ("XYXY", "XYWH", "CXCYWH")
    new = boxes_of(found, "xyxy" if upright else "xywh", size).astype(np.float32)
    given = torch.from_numpy(new if upright else np.pad(new, ((0, 0), (0, 1))))  # rotated boxes have an angle of 0
    boxes = tv_tensors.BoundingBoxes(given, format="XYXY" if upright else "XYWHR", canvas_size=size)
    return append(old, convert_bounding_box_format(boxes, new_format=old.format).as_subclass(Tensor).numpy())


def append(old: Any, new: NDArray[Any]) -> Any:
    """Return a column with new entries after the old ones, in its own container and type.

    Args:
        old: Tensor, tv_tensor, array, list or tuple, of one entry per box.
        new: The entries of new boxes, shape (N, ...).
    """
    if isinstance(old, Tensor):
        plain, added = old.as_subclass(Tensor), torch.from_numpy(new).to(old.device)
        kind = added.dtype if _is_untyped(old, new) else plain.dtype
        joined = torch.cat([plain.reshape(-1, *new.shape[1:]).to(kind), added.to(kind)])
        return containers.wrap_like(joined, old)
    if isinstance(old, np.ndarray):
        dtype = new.dtype if _is_untyped(old, new) else old.dtype
        return np.concatenate([old.reshape(-1, *new.shape[1:]).astype(dtype), new.astype(dtype)])
    return type(old)([*old, *(list(new) if new.ndim > 2 else new.tolist())])


def _is_untyped(old: Tensor | NDArray[Any], new: NDArray[Any]) -> bool:
    """Return whether a column is like `torch.tensor([])`, whose float type says nothing of whole numbers to come."""
    return len(old) == 0 and _is_float(old) and new.dtype.kind != "f"


def _is_float(column: Tensor | NDArray[Any]) -> bool:
    return column.is_floating_point() if isinstance(column, Tensor) else column.dtype.kind == "f"
