"""Classifiers by name, with ImageNet weights where there are any."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any, cast

import torch
from torch import Tensor, nn

NETWORKS = ("resnet50", "resnet18", "squeezenet1_0")
_RGB_MEAN, _RGB_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_CAFFE_MEAN, _CAFFE_STD = (123.0, 117.0, 104.0), (1.0, 1.0, 1.0)  # of SqueezeNet's, whose input is BGR

_ONE_AT_A_TIME = Lock()  # torch initialises from one generator, which all threads share


class Classifier(nn.Module):
    """Turns images as they are into the logit of a defect.

    Args:
        backbone: Takes normalised images of three channels, and returns (N, 1).
        mean: Of each channel, R, G, B, in units of 0..255.
        std: Likewise.
        bgr: Whether the backbone takes blue first.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], *, bgr: bool = False
    ) -> None:
        super().__init__()
        self.backbone, self.bgr = backbone, bgr
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, float32 (N,), for uint8 images (N, C, H, W), C in {1, 3}."""
        pixels = (images - self.mean) / self.std
        if self.bgr:
            pixels = pixels.flip(1)
        logits = self.backbone(pixels.contiguous(memory_format=torch.channels_last))
        return cast(Tensor, logits.float().flatten())


def build(name: str, weights: str | None, seed: int) -> Classifier:
    """Return a new classifier.

    Args:
        name: One of `NETWORKS`.
        weights: A safetensors file with torchvision's keys; "imagenet" for its hub; None to start from scratch.
        seed: Of all that is not loaded.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: It holds the weights of another network.
        ValueError: There is no such network.
    """
    import torchvision

    if name not in NETWORKS:
        raise ValueError(f"the network is one of {', '.join(NETWORKS)}; got {name!r}")
    squeeze = name == "squeezenet1_0"
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone: Any = getattr(torchvision.models, name)(weights="IMAGENET1K_V1" if weights == "imagenet" else None)
        if weights not in (None, "imagenet"):
            backbone.load_state_dict(_read(Path(weights)))
        if squeeze:
            # without the ReLU at the end, which hides negative logits, and dropout, whose random numbers threads share
            backbone.classifier = nn.Sequential(nn.Conv2d(512, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
            nn.init.normal_(backbone.classifier[0].weight, std=0.01)
            nn.init.zeros_(backbone.classifier[0].bias)
        else:
            backbone.fc = nn.Linear(backbone.fc.in_features, 1)
    caffe = squeeze and weights not in (None, "imagenet")
    network = (
        Classifier(backbone, _CAFFE_MEAN, _CAFFE_STD, bgr=True) if caffe else Classifier(backbone, _RGB_MEAN, _RGB_STD)
    )
    return network.to(memory_format=torch.channels_last)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}. Give a safetensors file, imagenet, or nothing")
    return {key: value.float() for key, value in load_file(path).items()}
