"""What a batch must be, said before anything is computed."""

from __future__ import annotations

import torch
from torch import Tensor

# how far rounding, in resizing or in half precision, may carry an image out of [0, 1]
_SLACK = 4e-3
_PROBES = 16


def check_batch(images: Tensor, labels: Tensor, masks: Tensor | None) -> None:
    """Check types and shapes.

    Raises:
        TypeError: A tensor has an unsupported type, or is none.
        ValueError: Shapes do not fit.
    """
    for name, value in (("images", images), ("labels", labels), ("masks", masks)):
        if not isinstance(value, Tensor) and not (name == "masks" and value is None):
            raise TypeError(f"{name} must be a tensor; got {type(value).__name__}. Collate the batch first")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"images are float in [0, 1] or uint8; got {images.dtype}. Scale them to [0, 1] first")
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"images have shape (B, C, H, W) with 1 or 3 channels; got {tuple(images.shape)}. permute(0, 3, 1, 2) "
            "turns (B, H, W, C) into it; drop an alpha channel with images[:, :3]"
        )
    batch, _, height, width = images.shape
    if batch and min(height, width) < 16:
        raise ValueError(f"images are at least 16 pixels on each side; got {height}×{width}. Resize them first")
    if labels.shape not in ((batch,), (batch, 1)):
        raise ValueError(
            f"labels are one number per image, shape ({batch},) or ({batch}, 1); got {tuple(labels.shape)}. Of one-hot "
            "labels take argmax(1) before, and encode them after"
        )
    if labels.is_complex():
        raise TypeError(f"labels are integers, floats or bool; got {labels.dtype}")
    if masks is not None and masks.shape not in ((batch, height, width), (batch, 1, height, width)):
        raise ValueError(
            f"masks have shape ({batch}, {height}, {width}) or ({batch}, 1, {height}, {width}); got "
            f"{tuple(masks.shape)}. Resize them with their images, by nearest neighbour"
        )


def check_range(images: Tensor) -> None:
    """Look at a few hundred pixels of each float image; waits for the device.

    Raises:
        ValueError: Some are not finite, or not in [0, 1].
    """
    if images.dtype == torch.uint8:
        return
    step = max(1, min(images.shape[2:]) // _PROBES)
    ends = torch.stack(torch.aminmax(images[:, :, ::step, ::step])).float()
    low, high = ends.tolist()
    if not low >= -_SLACK or not high <= 1 + _SLACK:  # NaN is neither
        kind = "0..255: divide it by 255" if low >= 0 and high > 4 else "normalised: paste first, then normalise"
        raise ValueError(f"float images are in [0, 1]; got [{low:.4g}, {high:.4g}], which looks {kind}")
