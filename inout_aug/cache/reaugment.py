"""A light augmentation of samples that are drawn again and again: any albumentations or torchvision v2 transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from inout_aug.sample import Image, Mask


class Reaugment:
    """A transform of image and mask together, whose randomness is the seed's alone.

    Args:
        transform: An albumentations 2.0 or torchvision v2 transform that keeps size and type.

    Raises:
        TypeError: It is neither.
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        modules = {kind.__module__ for kind in type(transform).__mro__}
        self._transform = transform
        if any(module.split(".")[0] == "albumentations" for module in modules):
            import albumentations

            # a lone transform checks neither names nor shapes, and draws its `p` elsewhere
            if not isinstance(transform, albumentations.BaseCompose):
                self._transform = albumentations.Compose([transform])
            self._apply = self._albumentations
        elif any(module.startswith("torchvision.transforms.v2") for module in modules):
            self._apply = self._torchvision_v2
        else:
            raise TypeError(
                f"augment= is an albumentations or torchvision v2 transform, which moves image and mask together; got "
                f"{type(transform).__name__}"
            )

    def __call__(self, image: Image, mask: Mask | None, seed: int) -> tuple[Image, Mask | None]:
        """Return image and mask, transformed; as they are if nothing would be left of the mask.

        Args:
            image: uint8 or uint16, (H, W, C).
            mask: uint8, (H, W), or None.
            seed: In [0, 2**32).

        Raises:
            ValueError: The transform changed the size or the type.
        """
        moved, moved_mask = self._apply(image, mask, seed)
        if moved.shape != image.shape or moved.dtype != image.dtype:
            raise ValueError(
                f"augment={self._transform!r} must keep size and type, {image.shape} {image.dtype}; it gave "
                f"{moved.shape} {moved.dtype}. Resizing, normalisation and conversion to tensors belong into transform="
            )
        if moved_mask is not None and mask is not None and mask.any() and not moved_mask.any():
            return image, mask
        return moved, moved_mask

    def _albumentations(self, image: Image, mask: Mask | None, seed: int) -> tuple[Any, Any]:
        self._transform.set_random_seed(seed)  # type: ignore[attr-defined]
        parts = {"image": image} if mask is None else {"image": image, "mask": mask}
        moved = self._transform(**parts)
        return moved["image"], moved.get("mask")

    def _torchvision_v2(self, image: Image, mask: Mask | None, seed: int) -> tuple[Any, Any]:
        from torchvision import tv_tensors

        parts: list[Any] = [tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))]
        if mask is not None:
            parts.append(tv_tensors.Mask(torch.from_numpy(mask)))
        # the generators of GPUs are the user's: only the one of the CPU is seeded, and put back
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            moved = self._transform(*parts)
        tensors = moved if mask is not None else (moved, None)
        pixels = np.ascontiguousarray(tensors[0].numpy().transpose(1, 2, 0))
        return pixels, None if tensors[1] is None else np.ascontiguousarray(tensors[1].numpy())
