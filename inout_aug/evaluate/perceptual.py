"""LPIPS, where the weights of its network are on this machine; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from inout_aug.cache.fitted import with_channels, with_depth
from inout_aug.sample import Image
from inout_aug.seeding import check_seed, stream

_SIDE = 256
_NETWORKS = {"alex": "AlexNet_Weights", "squeeze": "SqueezeNet1_1_Weights", "vgg": "VGG16_Weights"}
_PAIRS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceptual:
    """Mean LPIPS of pairs of images.

    Attributes:
        network: "alex", "squeeze" or "vgg": their figures do not compare with each other.
        pairwise: Of random pairs.
        within_clusters: Of pairs with the same nearest real image, averaged over these; None if there are no such.
        pairs: How many pairs were compared.
    """

    network: str
    pairwise: float
    within_clusters: float | None
    pairs: int


class LPIPS:
    """The learned perceptual distance (Zhang et al., "The unreasonable effectiveness of deep features", CVPR 2018).

    Args:
        network: "alex", the usual one, "squeeze" or "vgg".

    Raises:
        FileNotFoundError: torchvision's weights of this network are not in torch's hub folder.
        ImportError: torchmetrics is not installed.
    """

    def __init__(self, network: str = "alex") -> None:
        if not (path := weights_path(network)).is_file():
            raise FileNotFoundError(
                f"LPIPS needs torchvision's weights of its network at {path}; nothing is downloaded"
            )
        try:
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity
        except ImportError as error:
            raise ImportError("LPIPS needs torchmetrics: pip install 'inout-aug[demo]'") from error
        self.network = network
        make: Any = LearnedPerceptualImagePatchSimilarity
        self._metric: nn.Module = make(net_type=network, normalize=True)

    @classmethod
    def available(cls) -> LPIPS | None:
        """Return it with the first network whose weights are on this machine, None if there are none."""
        for network in _NETWORKS:
            if weights_path(network).is_file():
                return cls(network)
        return None

    def __call__(self, one: Image, other: Image) -> float:
        """Return the distance of two images, both resized to 256 × 256."""
        with torch.inference_mode():
            return float(self._metric(_prepared(one), _prepared(other)))


def weights_path(network: str) -> Path:
    """Return where torchvision keeps the weights of a network."""
    import torchvision.models

    url: str = getattr(torchvision.models, _NETWORKS[network]).DEFAULT.url
    return Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[1])


def perceptual(lpips: LPIPS, images: Sequence[Image], nearest: ArrayLike, *, seed: int = 0) -> Perceptual:
    """Return the mean LPIPS of up to 100 random pairs of images, and of as many within clusters.

    Args:
        lpips: The distance.
        images: At least two.
        nearest: Which real image is the nearest to each, (N,).
        seed: Draws the pairs.
    """
    owners, rng = np.asarray(nearest), stream(check_seed(seed))
    chosen = _pairs(np.arange(len(images)), _PAIRS, rng)
    members = [some for owner in np.unique(owners) if len(some := np.flatnonzero(owners == owner)) > 1]
    share = max(1, _PAIRS // max(1, len(members)))
    within = [np.mean([lpips(images[i], images[j]) for i, j in _pairs(some, share, rng)]) for some in members]
    return Perceptual(
        network=lpips.network,
        pairwise=float(np.mean([lpips(images[i], images[j]) for i, j in chosen])),
        within_clusters=float(np.mean(within)) if within else None,
        pairs=len(chosen),
    )


def _pairs(members: NDArray[np.int64], most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    first, second = np.triu_indices(len(members), k=1)
    drawn = rng.permutation(len(first))[:most]
    return list(zip(members[first[drawn]].tolist(), members[second[drawn]].tolist(), strict=True))


def _prepared(image: Image) -> Tensor:
    colour = with_channels(with_depth(image, "uint8"), 3)
    pixels = cv2.resize(colour, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]).float() / 255
