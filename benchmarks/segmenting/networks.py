"""Networks that outline defects: a small U-Net, and two of Defect Spectrum's."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

# with the highest learning rate of each
NETWORKS = {"unet": 3e-3, "deeplabv3plus": 1e-3, "mit_b0": 3e-4}

_PRIOR = -3.0  # logit of a defect before anything is learned


class SmallUNet(nn.Module):
    """The U-Net of DefectDiffu's protocol: four levels, 32-64-128-256 with `width=32`.

    Args:
        width: Features of the first level.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width << level for level in range(4)]
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise([3, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.merge = nn.ModuleList(_double(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(width, 1, 1)
        # few pixels are defective: without this, the first hundred steps learn nothing else
        nn.init.constant_(self.head.bias, _PRIOR)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Return logits, (N, 1, H, W), for images (N, 3, H, W) with sides that 8 divides."""
        passed = []
        features = images
        for level, block in enumerate(self.down):
            features = block(features if not level else nn.functional.max_pool2d(features, 2))
            passed.append(features)
        for up, merge, skipped in zip(reversed(self.up), reversed(self.merge), reversed(passed[:-1]), strict=True):
            features = merge(torch.cat([skipped, up(features)], dim=1))
        return cast(Tensor, self.head(features))


def build(name: str, *, width: int = 32, weights: Path | None = None) -> nn.Module:
    """Return a new network, its weights from the global random state but those of the encoder, if given.

    Args:
        name: One of `NETWORKS`: "unet", "deeplabv3plus" with a ResNet-18, or "mit_b0", a SegFormer.
        width: Features of the U-Net's first level.
        weights: safetensors file of the encoder's weights, by the names that segmentation-models-pytorch gives them.

    Raises:
        ValueError: There is no such network, or it takes no weights.
        RuntimeError: The weights are another encoder's.
    """
    if name not in NETWORKS:
        raise ValueError(f"--network is one of {', '.join(NETWORKS)}; got {name}")
    if name == "unet":
        if weights is not None:
            raise ValueError("the small U-Net is trained from scratch: give no weights for it")
        return SmallUNet(width)
    import segmentation_models_pytorch as smp

    network: nn.Module
    if name == "deeplabv3plus":
        network = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=1)
    else:
        network = smp.Segformer("mit_b0", encoder_weights=None, classes=1)
    if weights is not None:
        from safetensors.torch import load_file

        state = {key.removeprefix("encoder."): value.float() for key, value in load_file(weights).items()}
        network.encoder.load_state_dict(state)  # type: ignore[union-attr, operator]
    return network


def _double(narrow: int, wide: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for features in (narrow, wide):
        layers += [nn.Conv2d(features, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
