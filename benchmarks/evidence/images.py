"""A dataset decoded and resized once into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from torch.utils.data import Dataset

from inout_aug.datasets import Item, few_shot
from inout_aug.datasets._files import fit_image, fit_mask
from inout_aug.datasets._items import ITEM_LAYOUT


class Images(Dataset[Item]):
    """Images of one size in memory, with one class of defects to learn: label 0 or 1, mask 0 or 1.

    Args:
        items: As the dataset gives them, resized, labels being kinds of defects.
        kinds: Names of those labels, the normal one first.
        proportions: Height over width of each image as it was; default: as it is.

    Attributes:
        items: With labels 0 and 1.
        kinds: Name of each sample's kind.
        targets: Label of each sample, 0 or 1.
        proportions: Height over width of each image before it was resized.
    """

    layout = ITEM_LAYOUT
    classes = ("normal", "defect")

    def __init__(self, items: Sequence[Item], kinds: Sequence[str], proportions: Sequence[float] | None = None) -> None:
        self.kinds = tuple(kinds)
        self.items: list[Item] = [
            {**item, "mask": (item["mask"] > 0).astype(np.uint8), "label": int(kind != 0)}
            for item, kind in zip(items, (item["label"] for item in items), strict=True)
        ]
        self._kind = [item["label"] for item in items]
        self.targets = [item["label"] for item in self.items]
        self.proportions = list(proportions or (item["image"].shape[0] / item["image"].shape[1] for item in items))

    @classmethod
    def read(cls, dataset: Any, size: tuple[int, int]) -> Self:
        """Decode all of a dataset, stretched to a height and width."""
        items: list[Item] = []
        proportions = []
        for index in range(len(dataset)):
            item: Item = dataset[index]
            proportions.append(item["image"].shape[0] / item["image"].shape[1])
            items.append({**item, "image": fit_image(item["image"], size), "mask": fit_mask(item["mask"], size)})
        origin = getattr(dataset, "dataset", dataset)  # of a Subset
        return cls(items, origin.classes, proportions)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]

    @property
    def kind(self) -> list[str]:
        """Name of each sample's kind."""
        return [self.kinds[number] for number in self._kind]

    def part(self, positions: Sequence[int]) -> Images:
        """Return some of the images."""
        items: list[Item] = [{**self.items[i], "label": self._kind[i]} for i in positions]
        return Images(items, self.kinds, [self.proportions[i] for i in positions])

    def shots(self, number: int | None, seed: int) -> Images:
        """Return all normal images and so many defective ones, the kinds as even as can be; None for all.

        Raises:
            ValueError: There are fewer.
        """
        return self if number is None else self.part(few_shot(self._kind, number, seed=seed))

    def digest(self) -> str:
        """Return a digest of all pixels and labels."""
        total = hashlib.sha256()
        for item in self.items:
            total.update(repr((item["image"].shape, str(item["image"].dtype), item["label"])).encode())
            total.update(item["image"].tobytes())
        return total.hexdigest()[:16]
