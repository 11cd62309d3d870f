"""Trains a network to outline defects, and lets it outline those of other images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from evidence.images import Images
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from inout_aug.dataset import InOutDataset
from inout_aug.datasets import Item

# of ImageNet, which encoders with weights expect
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WEIGHT_DECAY = 1e-2
_TEST_BATCH = 16

Batch: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How every network is trained, whatever the data.

    Attributes:
        steps: Batches, the same number for all arms.
        batch: Crops in each.
        crop: Largest side of a crop.
        learning_rate: Highest, of AdamW, on one cycle.
        device: Of the network.
        workers: Of the loader.
    """

    steps: int
    batch: int
    crop: int
    learning_rate: float
    device: str = "cpu"
    workers: int = 0


class Crop:
    """Cuts a random window out of an item, around a pixel of its defect if it has one, and flips it.

    Args:
        side: Of the window; of a smaller image, all is taken.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, item: Item) -> Item:
        """Return a new item."""
        inside = np.argwhere(item["mask"])
        target = inside[_below(len(inside))] if len(inside) else None
        window = []
        for axis, length in enumerate(item["mask"].shape):
            low, high = 0, max(0, length - self.side)
            if target is not None:
                low, high = max(low, int(target[axis]) - self.side + 1), min(high, int(target[axis]))
            first = low + _below(high - low + 1)
            window.append(slice(first, first + self.side))
        steps = (slice(None, None, 1 - 2 * _below(2)), slice(None, None, 1 - 2 * _below(2)))
        cut = tuple(window)
        return {**item, "image": item["image"][cut][steps], "mask": item["mask"][cut][steps]}


def collate(items: Sequence[Item]) -> Batch:
    """Return images, (N, 3, H, W), normalised, and masks, (N, 1, H, W), both float32."""
    pixels = np.stack([item["image"] for item in items])
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / np.iinfo(pixels.dtype).max
    masks = torch.from_numpy(np.stack([item["mask"] for item in items]) > 0).unsqueeze(1).float()
    images = images.expand(-1, 3, -1, -1)
    return (images - torch.tensor(_MEAN).view(1, 3, 1, 1)) / torch.tensor(_STD).view(1, 3, 1, 1), masks


def train(network: nn.Module, dataset: InOutDataset, recipe: Recipe, seed: int) -> nn.Module:
    """Train a network with what the dataset holds, shuffled, and return it ready to predict.

    The loss is binary cross entropy plus Dice (of the batch).
    """
    order = RandomSampler(
        dataset, num_samples=recipe.steps * recipe.batch, generator=torch.Generator().manual_seed(seed)
    )
    loader: DataLoader[Any] = DataLoader(
        dataset, recipe.batch, sampler=order, collate_fn=collate, num_workers=recipe.workers
    )
    network.to(recipe.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=recipe.steps)
    network.train()
    for images, masks in loader:
        logits, truth = _logits(network, images, recipe.device), masks.to(recipe.device)
        loss = F.binary_cross_entropy_with_logits(logits, truth) + dice(logits.sigmoid(), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def dice(found: Tensor, truth: Tensor) -> Tensor:
    """Return 1 minus the Dice coefficient of all pixels of a batch, smoothed by one pixel."""
    return 1 - (2 * (found * truth).sum() + 1) / (found.sum() + truth.sum() + 1)


def predict(network: nn.Module, test: Images, device: str) -> NDArray[np.float16]:
    """Return the logit of a defect of every pixel, (N, H, W)."""
    loader: DataLoader[Any] = DataLoader(test, _TEST_BATCH, collate_fn=collate)
    with torch.inference_mode():
        parts = [_logits(network, images, device).squeeze(1).half().cpu() for images, _ in loader]
    return torch.cat(parts).numpy()


def _logits(network: nn.Module, images: Tensor, device: str) -> Tensor:
    images = images.to(device).contiguous(memory_format=torch.channels_last)
    # twice as fast as float32, on processors that know bfloat16 and on GPUs
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        logits: Tensor = network(images)
    return logits.float()


def _below(end: int) -> int:
    return int(torch.randint(end, ()))
