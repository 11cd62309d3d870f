"""A light augmentation of samples that are drawn again and again, by any library's transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inout_aug.integrations._seeded import SeededTransform
from inout_aug.sample import Image, Mask


class Reaugment:
    """A transform of image and mask together, whose randomness is the seed's alone.

    Args:
        transform: An albumentations 2.0, torchvision v2 or kornia transform that keeps size and type.

    Raises:
        TypeError: It is none of these.
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        try:
            self._transform = SeededTransform(transform)
        except TypeError as error:
            raise TypeError(f"augment=: {error}") from error

    def __call__(self, image: Image, mask: Mask | None, seed: int) -> tuple[Image, Mask | None]:
        """Return image and mask, transformed; as they are if nothing would be left of the mask.

        Args:
            image: uint8 or uint16, (H, W, C).
            mask: uint8, (H, W), or None.
            seed: In [0, 2**32).

        Raises:
            ValueError: The transform changed the size or the type.
        """
        moved, moved_mask = self._transform(image, mask, seed)
        if moved.shape != image.shape or moved.dtype != image.dtype:
            raise ValueError(
                f"augment={self._transform!r} must keep size and type, {image.shape} {image.dtype}; it gave "
                f"{moved.shape} {moved.dtype}. Resizing, normalisation and conversion to tensors belong into transform="
            )
        if moved_mask is not None and mask is not None and mask.any() and not moved_mask.any():
            return image, mask
        return moved, moved_mask
