"""Other libraries' transforms as functions of a seed: for perturbed sources and re-augmented samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from inout_aug.sample import Image, Mask


class SeededTransform:
    """A transform of image and mask together, whose randomness is the seed's alone.

    Args:
        transform: Of albumentations 2.0, torchvision v2 or kornia.

    Raises:
        TypeError: It is none of these.
    """

    def __init__(self, transform: Callable[..., Any]) -> None:
        modules = {kind.__module__ for kind in type(transform).__mro__}
        packages = {module.split(".")[0] for module in modules}
        self._transform: Any = transform
        if "albumentations" in packages:
            import albumentations

            # a lone transform checks neither names nor shapes, and draws its `p` elsewhere
            if not isinstance(transform, albumentations.BaseCompose):
                self._transform = albumentations.Compose([transform])
            self._apply = self._albumentations
        elif "kornia" in packages:
            from kornia.augmentation import AugmentationSequential

            self._transform = cast(Any, AugmentationSequential)(transform, data_keys=None)
            self._apply = self._kornia
        elif any(module.startswith("torchvision.transforms.v2") for module in modules):
            self._apply = self._torchvision_v2
        else:
            raise TypeError(
                "a transform of albumentations 2.0, torchvision v2 or kornia is wanted, which moves image and mask "
                f"together; got {type(transform).__name__}"
            )

    def __repr__(self) -> str:
        return repr(self._transform)

    def __call__(self, image: Image, mask: Mask | None, seed: int) -> tuple[Any, Any]:
        """Return image and mask, transformed, whatever size and type they then have.

        Args:
            image: uint8 or uint16, (H, W, C).
            mask: uint8, (H, W), or None.
            seed: In [0, 2**32).
        """
        return self._apply(image, mask, seed)

    def _albumentations(self, image: Image, mask: Mask | None, seed: int) -> tuple[Any, Any]:
        self._transform.set_random_seed(seed)
        parts = {"image": image} if mask is None else {"image": image, "mask": mask}
        moved = self._transform(**parts)
        return moved["image"], moved.get("mask")

    def _torchvision_v2(self, image: Image, mask: Mask | None, seed: int) -> tuple[Any, Any]:
        from torchvision import tv_tensors

        # copies, since some transforms work in place
        parts: list[Any] = [tv_tensors.Image(torch.from_numpy(image.transpose(2, 0, 1).copy()))]
        if mask is not None:
            parts.append(tv_tensors.Mask(torch.from_numpy(mask.copy())))
        moved = _seeded(seed, self._transform, *parts)
        pixels, moved_mask = moved if mask is not None else (moved, None)
        return _interleaved(pixels), None if moved_mask is None else np.ascontiguousarray(moved_mask.numpy())

    def _kornia(self, image: Image, mask: Mask | None, seed: int) -> tuple[Any, Any]:
        top = np.iinfo(image.dtype).max
        parts = {"input": torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32) / np.float32(top))[None]}
        if mask is not None:
            parts["mask"] = torch.from_numpy(mask.copy())[None, None]
        moved = _seeded(seed, self._transform, parts)
        pixels = np.rint(_interleaved(moved["input"][0]).clip(0, 1) * np.float32(top)).astype(image.dtype)
        return pixels, None if mask is None else np.ascontiguousarray(moved["mask"][0, 0].numpy())


def _seeded(seed: int, transform: Callable[..., Any], *parts: Any) -> Any:
    # the generators of GPUs are the user's: only the one of the CPU is seeded, and put back
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        return transform(*parts)


def _interleaved(planes: Tensor) -> Any:
    return np.ascontiguousarray(planes.numpy().transpose(1, 2, 0))
