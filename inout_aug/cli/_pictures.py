"""A dataset decoded once into memory, small enough for a compact network to train on in seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from inout_aug.datasets import Item
from inout_aug.datasets._files import fit_image, fit_mask
from inout_aug.sample import MIN_SIDE, Image

# height and width
Size: TypeAlias = tuple[int, int]

_GLANCES = 32  # images that are looked at to tell the proportions of a dataset
_LEAST_STD = 1e-3  # so that a constant channel becomes zero, not infinite


class Pictures(Dataset[Item]):
    """Images in memory, with one defect class: label 0 or 1, mask 0 or 1.

    Args:
        dataset: Of the items that `inout_aug.datasets` give.
        size: Height and width that images are shrunk to fit into, their proportions kept; none is enlarged.
        tick: Called after each image that was read.

    Raises:
        ValueError: Some images are grey and some in colour.
    """

    def __init__(self, dataset: Any, size: Size, tick: Callable[[], object] = lambda: None) -> None:
        self.items: list[Item] = []
        for index in range(len(dataset)):
            self.items.append(_shrunk(dataset[index], size))
            tick()
        self.targets = [item["label"] for item in self.items]
        self.classes = ("normal", "defect")
        if len({item["image"].shape[2] for item in self.items}) > 1:
            raise ValueError("some images are grey and some in colour. Convert them to one or the other")

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]

    @property
    def positives(self) -> int:
        """Number of defective images."""
        return sum(self.targets)


class Collate:
    """Turns items into what a network takes: normalised images of one size, and labels.

    A smaller image stands in the middle of zeros, which after normalising are the mean colour, and what convolutions
    pad with too. Grey stays one channel.

    Args:
        pictures: Their normal images give the mean and the standard deviation of each channel.
        size: Height and width of all batches; no image is larger.
    """

    def __init__(self, pictures: Pictures, size: Size) -> None:
        self.size = size
        normals = [_to_unit(item["image"]) for item in pictures.items if not item["label"]]
        mean = np.mean([image.mean(axis=(0, 1)) for image in normals], axis=0)
        variance = np.mean([np.square(image - mean).mean(axis=(0, 1)) for image in normals], axis=0)
        std = np.sqrt(variance).clip(_LEAST_STD)
        self.channels = len(mean)
        # of a whole row: where NumPy's inner loop is the channels of one pixel, it takes nine times as long
        self._scale, self._shift = (np.tile(each, size[1]).astype(np.float32) for each in (1 / std, mean / std))

    def __call__(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """Return images, float32 (N, C, H, W), and labels, float32 (N,), 1 = defective."""
        rows = np.zeros((len(items), self.size[0], self.size[1] * self.channels), np.float32)
        for canvas, item in zip(rows, items, strict=True):
            image = item["image"]
            height, values = image.shape[0], image.shape[1] * self.channels
            top, left = (self.size[0] - height) // 2, (self.size[1] - image.shape[1]) // 2 * self.channels
            inside = canvas[top : top + height, left : left + values]
            np.multiply(image.reshape(height, values), self._scale[:values] / np.iinfo(image.dtype).max, out=inside)
            inside -= self._shift[:values]
        labels = torch.tensor([float(item["label"] != 0) for item in items])
        return torch.from_numpy(rows.reshape(len(items), *self.size, self.channels)).permute(0, 3, 1, 2), labels


def extent(*parts: Pictures) -> Size:
    """Return the largest height and the largest width of any image."""
    shapes = [item["image"].shape for part in parts for item in part.items]
    return max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)


def common_size(dataset: Any, pixels: int) -> Size:
    """Return a height and width of at most `pixels` pixels, with the median proportions of a dataset's images."""
    glances = np.linspace(0, len(dataset) - 1, min(len(dataset), _GLANCES)).astype(int).tolist()
    shapes = [dataset[index]["image"].shape for index in glances]
    stretch = math.exp(float(np.median([math.log(shape[0] / shape[1]) for shape in shapes])) / 2)
    side = math.sqrt(pixels)
    return max(MIN_SIDE, int(side * stretch)), max(MIN_SIDE, int(side / stretch))


def _shrunk(item: Item, size: Size) -> Item:
    height, width = item["image"].shape[:2]
    scale = min(1.0, size[0] / height, size[1] / width)
    fitted = max(MIN_SIDE, round(scale * height)), max(MIN_SIDE, round(scale * width))
    return {
        "image": fit_image(item["image"], fitted),
        "mask": (fit_mask(item["mask"], fitted) > 0).astype(np.uint8),
        "label": int(item["label"] != 0),
        "path": item["path"],
    }


def _to_unit(image: Image) -> NDArray[np.float32]:
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
