"""KolektorSDD2, and any data in its layout."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Literal

from inout_aug.datasets._files import by_stem, contents, list_images, require_folder
from inout_aug.datasets._items import Entry, ItemDataset, few_shot

# normal and defective images (Božič, Tabernik, Skočaj: Mixed supervision for surface-defect detection, 2021)
OFFICIAL_COUNTS = {"train": (2085, 246), "test": (894, 110)}
_MASK_SUFFIX = "_GT"
_LAYOUT = "the KSDD2 layout: train/10000.png with its mask train/10000_GT.png, likewise test/"


class KSDD2(ItemDataset):
    """KolektorSDD2: coloured production items of about 230 × 630 pixels, 246 of 2,331 training images with a defect.

    The label is 1 if the mask has any foreground. Masks are read for the labels once, at the first use of `targets`
    (or now, if `shots` is given); images when they are asked for. Duplicates, named "(copy)", are left out.

    Božič, Tabernik, Skočaj: "Mixed supervision for surface-defect detection: from weakly to fully supervised
    learning", Computers in Industry, 2021. The images are CC BY-NC-SA 4.0.

    Args:
        root: Folder that holds `train/` and `test/`.
        split: "train" or "test".
        strict_counts: Refuse anything but the official numbers of images; False for subsets and data of your own.
        shots: Keep all normal images and only this many defective ones; 0 = zero-shot, None keeps all.
        seed: Chooses the shots; more shots add to fewer.
        size: Height and width that images and masks are resized to; None leaves them as they are.

    Attributes:
        classes: ("normal", "defect").

    Raises:
        FileNotFoundError: The layout is another one, or a mask is missing.
        ValueError: The counts are not the official ones, or there are fewer defective images than `shots`.

    Example:
        >>> import cv2, numpy as np, tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     (Path(root) / "train").mkdir()
        ...     for name in ("10000.png", "10000_GT.png"):
        ...         _ = cv2.imwrite(f"{root}/train/{name}", np.full((600, 200), 90, np.uint8))
        ...     train = KSDD2(root, "train", strict_counts=False)
        ...     print(len(train), train.targets, train[0]["image"].shape)
        1 [1] (600, 200, 1)
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        strict_counts: bool = True,
        shots: int | None = None,
        seed: int = 0,
        size: tuple[int, int] | None = None,
    ) -> None:
        if split not in OFFICIAL_COUNTS:
            raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
        folder = require_folder(Path(root) / split, _LAYOUT)
        super().__init__(_pairs(folder), ("normal", "defect"), size)
        self._official_counts = OFFICIAL_COUNTS[split] if strict_counts else None
        if self._official_counts is not None and len(self) != sum(self._official_counts):
            raise ValueError(
                f"{folder} holds {len(self)} images with masks; KSDD2's {split} part has {sum(self._official_counts)}. "
                "Download it again, or give strict_counts=False for a subset"
            )
        if shots is not None:
            kept = few_shot(self.targets, shots, seed=seed)
            self._official_counts = None
            self._targets = [self.targets[i] for i in kept]
            self._entries = [self._entries[i] for i in kept]

    def _read_labels(self) -> list[int]:
        labels = super()._read_labels()
        counts = labels.count(0), labels.count(1)
        if self._official_counts not in (None, counts):
            raise ValueError(
                f"{counts[0]} images have an empty mask and {counts[1]} a defect; KSDD2 has {self._official_counts}. "
                "Were the masks changed? Download them again, or give strict_counts=False"
            )
        return labels


def _pairs(folder: Path) -> list[Entry]:
    """Pair each image with its mask."""
    files = [path for path in list_images(folder) if "(copy)" not in path.name]
    masks = by_stem((p for p in files if p.stem.endswith(_MASK_SUFFIX)), folder, _MASK_SUFFIX)
    images = by_stem((p for p in files if not p.stem.endswith(_MASK_SUFFIX)), folder)
    if not images:
        raise FileNotFoundError(f"no images in {folder}. Expected {_LAYOUT}. {contents(folder)}")
    for stem in images.keys() - masks.keys():
        raise FileNotFoundError(
            f"{images[stem]} has no mask {stem}{_MASK_SUFFIX}.png beside it; a normal image has an all-black one. "
            "Restore it, or use MaskFolder(..., missing_mask='normal')"
        )
    for stem in masks.keys() - images.keys():
        raise FileNotFoundError(f"{masks[stem]} is the mask of no image. Restore {stem}.png or remove the mask")
    return [Entry(image, masks[stem], None) for stem, image in images.items()]
