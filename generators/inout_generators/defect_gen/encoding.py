"""An image and its mask as the one array that the nets denoise, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor

from inout_aug.sample import Image, Mask
from inout_generators.common.pixels import scale, unscale


@dataclass(frozen=True)
class Encoding:
    """Image channels in [-1, 1], then one channel for the background and one for each defect class (one-hot).

    Defect Spectrum (Yang et al., 2024), section 4.1, with the background channel that the released code has and an
    arg-max over the mask needs.

    Args:
        image_channels: 1 for grey, 3 for colour.
        classes: Names of the defect classes 1, 2, …
        mask_range: What stands for "elsewhere" and "here" in the mask channels.

    Raises:
        ValueError: Other channels, no class or too many, a name twice, or a range that is none.

    Example:
        >>> encoding = Encoding(1, ("crack", "dent"))
        >>> images, masks = np.full((1, 16, 16, 1), 255, np.uint8), np.full((1, 16, 16), 2, np.uint8)
        >>> encoding.encode(images, masks)[0, :, 0, 0]
        tensor([1., 0., 0., 1.])
    """

    image_channels: int
    classes: tuple[str, ...]
    mask_range: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        # what comes out of JSON or TOML is a list
        object.__setattr__(self, "classes", tuple(self.classes))
        object.__setattr__(self, "mask_range", (float(self.mask_range[0]), float(self.mask_range[1])))
        if self.image_channels not in (1, 3):
            raise ValueError(f"an image has 1 or 3 channels; got {self.image_channels}")
        if not 1 <= len(self.classes) <= 255 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"name each of the 1 to 255 defect classes once; got {self.classes}")
        if not self.mask_range[0] < self.mask_range[1]:
            raise ValueError(f"mask_range is (elsewhere, here), the lower one first; got {self.mask_range}")

    @property
    def channels(self) -> int:
        """Channels of the array: image, background, defect classes."""
        return self.image_channels + 1 + len(self.classes)

    def encode(self, images: Image, masks: Mask) -> Tensor:
        """Return images and masks as a float32 tensor (B, channels, H, W) on the CPU.

        Args:
            images: uint8 or uint16, (B, H, W, image_channels).
            masks: uint8, (B, H, W); 0 is background, k is defect class k.

        Raises:
            TypeError: Images or masks of another dtype.
            ValueError: Of another shape, or a class that has no name.
        """
        if images.dtype not in (np.uint8, np.uint16) or masks.dtype != np.uint8:
            raise TypeError(f"images are uint8 or uint16, masks uint8; got {images.dtype} and {masks.dtype}")
        if images.ndim != 4 or images.shape[3] != self.image_channels or masks.shape != images.shape[:3]:
            raise ValueError(
                f"images are (B, H, W, {self.image_channels}) and masks (B, H, W); got {images.shape} and {masks.shape}"
            )
        if masks.size and masks.max() > len(self.classes):
            raise ValueError(f"masks hold class {masks.max()}, but there are {len(self.classes)}: {self.classes}")
        low, high = self.mask_range
        planes = np.arange(len(self.classes) + 1, dtype=np.uint8)[:, None, None] == masks[:, None]
        encoded = np.empty((len(images), self.channels, *masks.shape[1:]), np.float32)
        encoded[:, : self.image_channels] = scale(images).transpose(0, 3, 1, 2)
        encoded[:, self.image_channels :] = np.where(planes, np.float32(high), np.float32(low))
        return torch.from_numpy(encoded)

    def decode(self, x: Tensor, dtype: DTypeLike = np.uint8) -> tuple[Image, Mask]:
        """Return the images and masks that an array stands for: the inverse of `encode`.

        Args:
            x: (B, channels, H, W); values out of range count as the nearest one in it.
            dtype: Of the images: uint8 or uint16.

        Returns:
            Images (B, H, W, image_channels), and masks (B, H, W): at each pixel the channel with the highest value.

        Raises:
            ValueError: It has other channels, or values that are not finite.
        """
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise ValueError(f"an encoded batch is (B, {self.channels}, H, W); got {tuple(x.shape)}")
        values = x.detach().float().cpu().numpy()
        if not np.isfinite(values).all():
            raise ValueError(
                "an encoded batch has finite values; got NaN or infinity. Is the net trained, and in half precision?"
            )
        masks = values[:, self.image_channels :].argmax(1).astype(np.uint8)
        return unscale(values[:, : self.image_channels].transpose(0, 2, 3, 1), dtype), masks

    def clamp(self, x0: Tensor) -> Tensor:
        """Return a net's guess of the clean array, (B, channels, H, W), with every value in its valid range."""
        image, mask = x0[:, : self.image_channels], x0[:, self.image_channels :]
        return torch.cat([image.clamp(-1, 1), mask.clamp(*self.mask_range)], 1)
