"""A dataset decoded and resized once into memory, and the part of it that a training may see."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from torch.utils.data import Dataset

from inout_aug.cli._data import Format, open_product
from inout_aug.datasets import Item, few_shot
from inout_aug.datasets._files import fit_image, fit_mask
from inout_aug.datasets._items import ITEM_LAYOUT
from inout_aug.seeding import stream

SPLIT_SEED = 0  # the test part is the same whatever the seed of a training
HELD_OUT = 1 / 3  # of the training part, to choose by


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

    def divided(self) -> tuple[Images, Images]:
        """Return what remains to train with and a third of each kind to choose by, always the same."""
        held: list[int] = []
        for kind in sorted(set(self._kind)):
            members = stream(SPLIT_SEED, kind).permutation(np.flatnonzero(np.equal(self._kind, kind)))
            held += members[: round(HELD_OUT * len(members))].tolist()
        rest = sorted(set(range(len(self))) - set(held))
        return self.part(rest), self.part(sorted(held))

    def digest(self) -> str:
        """Return a digest of all pixels and labels."""
        total = hashlib.sha256()
        for item in self.items:
            total.update(repr((item["image"].shape, str(item["image"].dtype), item["label"])).encode())
            total.update(item["image"].tobytes())
        return total.hexdigest()[:16]


def read_parts(
    data: Path | None, layout: Format | None, size: tuple[int, int], score: Literal["test", "validation"]
) -> tuple[Images, Images]:
    """Return the images to train with and those to score.

    Args:
        data: Folder of the data; None for procedural surfaces.
        layout: Of the folder.
        size: Height and width that all images are stretched to.
        score: "test" for the test part; "validation" to hold out a third of the training part, and leave the test part
            unread.

    Raises:
        FileNotFoundError: The folder is laid out in another way.
        ValueError: A part has no defective or no normal images.
    """
    train = Images.read(open_product(data, layout, "train", seed=SPLIT_SEED), size)
    if score == "validation":
        train, test = train.divided()
    else:
        test = Images.read(open_product(data, layout, "test", seed=SPLIT_SEED), size)
    for name, part in (("training", train), (score, test)):
        if len(set(part.targets)) < 2:
            raise ValueError(
                f"the {name} part has {len(part) - sum(part.targets)} normal and {sum(part.targets)} defective images; "
                "both are needed"
            )
    return train, test
