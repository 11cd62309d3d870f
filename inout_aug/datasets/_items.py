"""What the datasets on disk share: their items, reading one, labels, and few-shot subsets."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from inout_aug.datasets._files import fit_image, fit_mask, read_image, read_mask
from inout_aug.layout import Fields
from inout_aug.sample import MIN_SIDE, Image, Mask
from inout_aug.seeding import check_seed, stream


class Item(TypedDict):
    """One sample.

    Attributes:
        image: uint8 or uint16, (H, W, C), C in {1, 3}, RGB.
        mask: uint8, (H, W); 0 = background, k = defect class k.
        label: 0 = normal, else the defect class.
        path: File of the image; for a procedural sample, its name.
    """

    image: Image
    mask: Mask
    label: int
    path: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An image file, its mask file, and its label as far as they are known without reading it.

    Attributes:
        image: File of the image.
        mask: File of the mask; None where all is background.
        label: Defect class; None if only the mask tells.
    """

    image: Path
    mask: Path | None
    label: int | None


ITEM_LAYOUT = Fields(image="image", mask="mask", label="label", mask_value=1)


class ItemDataset(Dataset[Item]):
    """Reads `entries` when they are asked for, and keeps nothing but labels.

    Args:
        entries: The samples, in order.
        classes: Names of the classes, the normal one first.
        size: Height and width that images and masks are resized to; None leaves them as they are.
    """

    layout = ITEM_LAYOUT

    def __init__(self, entries: Iterable[Entry], classes: Sequence[str], size: tuple[int, int] | None) -> None:
        self.classes = tuple(classes)
        self._entries = list(entries)
        self._size = None if size is None else check_size(size)
        self._targets: list[int] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Item:
        entry = self._entries[index]
        image = read_image(entry.image)
        mask, label = self._annotation(entry)
        if mask is None:
            mask = np.zeros(image.shape[:2], np.uint8)
        elif mask.shape != image.shape[:2]:
            mask = _same_view(mask, image, entry)
        if self._size is not None:
            image, mask = fit_image(image, self._size), fit_mask(mask, self._size)
        return {"image": image, "mask": mask, "label": label, "path": str(entry.image)}

    @property
    def targets(self) -> list[int]:
        """Label of each sample. Where only masks tell, they are read once, at the first use."""
        if self._targets is None:
            self._targets = self._read_labels()
        return self._targets

    def _read_labels(self) -> list[int]:
        return [self._annotation(e)[1] if e.label is None else e.label for e in self._entries]

    def _annotation(self, entry: Entry) -> tuple[Mask | None, int]:
        """Mask of class ids and label."""
        if entry.mask is None:
            return None, entry.label or 0
        mask = self._class_ids(read_mask(entry.mask), entry)
        if entry.label is None:
            areas = np.bincount(mask.ravel(), minlength=2)[1:]
            return mask, int(areas.argmax()) + 1 if areas.any() else 0
        if not mask.any():
            warnings.warn(
                f"{entry.mask} is empty, but its image has label {entry.label} ({self.classes[entry.label]}): "
                "fine for image-level training; for pixel-level training draw the mask or leave the image out",
                stacklevel=3,
            )
        return mask, entry.label

    def _class_ids(self, values: NDArray[Any], entry: Entry) -> Mask:
        """Class ids of a mask's values: any non-zero one is the image's class, 1 if that is not known."""
        return np.where(values != 0, np.uint8(entry.label or 1), np.uint8(0))


def few_shot(targets: Sequence[int], shots: int, *, seed: int = 0) -> list[int]:
    """Return the positions of all normal samples and of `shots` defective ones, in ascending order.

    The defective ones are drawn by seed and spread over the defect classes as evenly as these allow. A larger
    `shots` adds to a smaller one of the same seed.

    Args:
        targets: Label of each sample, 0 = normal.
        shots: Defective samples to keep; 0 = none (zero-shot).
        seed: Chooses them.

    Raises:
        ValueError: `shots` is negative, or there are fewer defective samples.

    Example:
        >>> few_shot([0, 1, 0, 1, 2], 0)
        [0, 2]
        >>> len(few_shot([0, 1, 0, 1, 2], 2))
        4
    """
    labels = np.asarray(targets)
    defective = np.flatnonzero(labels != 0)
    if not 0 <= shots <= len(defective):
        raise ValueError(f"shots must be in [0, {len(defective)}], the number of defective samples; got {shots}")
    drawn: Counter[int] = Counter()
    turns = []
    for position in stream(check_seed(seed), 0).permutation(defective).tolist():
        turns.append((drawn[int(labels[position])], position))
        drawn[int(labels[position])] += 1
    turns.sort(key=lambda turn: turn[0])
    return sorted([*np.flatnonzero(labels == 0).tolist(), *(position for _, position in turns[:shots])])


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return `size` as two ints.

    Raises:
        ValueError: It is not a (height, width) of at least 16 pixels each.
    """
    if not isinstance(size, Sequence) or len(size) != 2 or not all(int(n) == n and n >= MIN_SIDE for n in size):
        raise ValueError(f"size must be (height, width), each at least {MIN_SIDE} pixels; got {size!r}")
    return int(size[0]), int(size[1])


def _same_view(mask: Mask, image: Image, entry: Entry) -> Mask:
    """Bring a mask that was drawn at another resolution to its image's size."""
    (rows, columns), (height, width) = mask.shape, image.shape[:2]
    scale = width / columns
    if abs(rows * scale - height) > max(scale, 1):  # a pixel of the coarser one is rounding
        raise ValueError(
            f"{entry.mask} has size {mask.shape}, its image {image.shape[:2]}: not the same view at another "
            "resolution. Restore the matching mask"
        )
    return fit_mask(mask, (height, width))
