"""What a pretrained network sees in an image: a map of features, the defect's part of it, the picture as a whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inout_aug.cache.fingerprint import digest_of, weights_digest
from inout_aug.cache.fitted import with_channels, with_depth
from inout_aug.sample import Image, Mask

Vectors = NDArray[np.float64]

_PARTS = 3
_LEAST_SIDE = 64


class Features:
    """Features of a network, in double precision: so a score does not depend on the number of threads.

    Args:
        model: Maps float64 (1, 3, h, w) to (1, C, h', w'). It is changed to double precision and evaluation mode.
        mean: Of each channel, R, G, B, in units of 0..255.
        std: Likewise.
        size: Side of the square whose area images are resized to, keeping their proportions; or height and width, for a
            network that takes one size only.
        bgr: Whether the network takes blue first.

    Example:
        >>> features = Features(nn.AvgPool2d(16), mean=(0, 0, 0), std=(255, 255, 255), size=(64, 64))
        >>> features.map(np.full((32, 32, 1), 51, np.uint8))[0].round(6)
        array([[0.2, 0.2, 0.2, 0.2],
               [0.2, 0.2, 0.2, 0.2],
               [0.2, 0.2, 0.2, 0.2],
               [0.2, 0.2, 0.2, 0.2]])
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        size: int | tuple[int, int] = 256,
        bgr: bool = False,
    ) -> None:
        self._model = model.double().eval().requires_grad_(False)
        self._mean, self._std = tuple(map(float, mean)), tuple(map(float, std))
        self._size, self._bgr = size, bgr
        self._last: tuple[Image, Vectors] | None = None
        self.fingerprint = digest_of(
            {
                "version": 1,
                "model": f"{type(model).__module__}.{type(model).__qualname__}",
                "layer": getattr(model, "layer", None),
                "weights": weights_digest(model) if model.state_dict() else None,
                "mean": self._mean,
                "std": self._std,
                "size": size,
                "bgr": bgr,
            }
        )

    @classmethod
    def squeezenet(cls, weights: str | os.PathLike[str], *, size: int | tuple[int, int] = 256) -> Self:
        """Return the last features of SqueezeNet 1.0 (arXiv 1602.07360) with Caffe's ImageNet weights.

        Args:
            weights: A safetensors file with the keys of torchvision's `squeezenet1_0`, for input in BGR, 0..255, less
                (104, 117, 123).
            size: As for the class.

        Raises:
            FileNotFoundError: There is no such file.
            RuntimeError: It holds other weights.
        """
        from torchvision.models import squeezenet1_0

        network = squeezenet1_0(weights=None)
        network.load_state_dict(_read_weights(weights))
        return cls(network.features, mean=(123, 117, 104), std=(1, 1, 1), size=size, bgr=True)

    @classmethod
    def timm(
        cls,
        name: str,
        *,
        weights: str | os.PathLike[str] | None = None,
        layer: int = -2,
        size: int | tuple[int, int] | None = None,
    ) -> Self:
        """Return the features of a block of any timm model that has `forward_intermediates`.

        Args:
            name: Such as "resnet18.a1_in1k".
            weights: A safetensors file; None for timm's own pretrained ones, which are downloaded at the first use.
            layer: Which block. The last ones know objects, the ones before them textures.
            size: As for the class; None for the size the model was trained at.

        Raises:
            ImportError: timm is not installed.
            RuntimeError: There is no such model, or the file holds other weights.
        """
        try:
            import timm
        except ImportError as error:
            raise ImportError("features of timm models need timm: pip install 'inout-aug[features]'") from error
        network: Any = timm.create_model(name, pretrained=weights is None)
        if weights is not None:
            network.load_state_dict(_read_weights(weights))
        trained = network.pretrained_cfg
        mean, std = ([255 * value for value in trained[part]] for part in ("mean", "std"))
        return cls(_Intermediate(network, layer), mean=mean, std=std, size=size or trained["input_size"][1:])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def map(self, image: Image) -> Vectors:
        """Return the features of an image, (C, h', w')."""
        # the gates of a fill ask for the same image one after the other
        if self._last is None or self._last[0] is not image:
            with torch.inference_mode():
                self._last = image, self._model(self._prepared(image))[0].numpy()
        return self._last[1]

    def cells(self, image: Image, mask: Mask | None) -> Vectors:
        """Return the features of the cells that a defect touches, of length 1 each, (cells, C).

        Args:
            image: (H, W, C).
            mask: (H, W), with some foreground; None for all cells.
        """
        found = self.map(image)
        height, width = found.shape[1:]
        if mask is None:
            return unit(found.reshape(len(found), -1).T)
        y, x = np.nonzero(mask)
        touched = np.unique(y * height // mask.shape[0] * width + x * width // mask.shape[1])
        return unit(found.reshape(len(found), -1).T[touched])

    def picture(self, image: Image) -> Vectors:
        """Return what an image looks like as a whole and where: the means over 3 × 3 parts, of length 1 together."""
        parts = nn.functional.adaptive_avg_pool2d(torch.from_numpy(self.map(image)), _PARTS)
        return unit(parts.numpy().reshape(-1))

    def _prepared(self, image: Image) -> Tensor:
        height, width = image.shape[:2]
        if isinstance(self._size, int):
            scale = self._size / (height * width) ** 0.5
            height, width = (max(_LEAST_SIDE, round(side * scale)) for side in (height, width))
        else:
            height, width = self._size
        pixels = cv2.resize(with_channels(with_depth(image, "uint8"), 3), (width, height), interpolation=cv2.INTER_AREA)
        values = (pixels - np.array(self._mean)) / np.array(self._std)
        ordered = values[..., ::-1] if self._bgr else values
        return torch.from_numpy(np.ascontiguousarray(ordered.transpose(2, 0, 1))[None])


def unit(vectors: Vectors) -> Vectors:
    """Return vectors, (..., C), scaled to length 1; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float64).tiny))


class _Intermediate(nn.Module):
    def __init__(self, network: Any, layer: int) -> None:
        super().__init__()
        self.network, self.layer = network, layer

    def forward(self, pixels: Tensor) -> Tensor:
        maps = self.network.forward_intermediates(
            pixels, indices=[self.layer], intermediates_only=True, output_fmt="NCHW"
        )
        return maps[0]  # type: ignore[no-any-return]


def _read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(path)
