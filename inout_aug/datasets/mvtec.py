"""MVTec AD and VisA, and any data in their layouts."""

from __future__ import annotations

import csv
from os import PathLike
from pathlib import Path
from typing import Literal, Self

import numpy as np

from inout_aug.datasets._files import by_stem, contents, list_images, require_folder
from inout_aug.datasets._items import Entry, ItemDataset, few_shot
from inout_aug.seeding import check_seed, stream

_GOOD = "good"
_MVTEC_LAYOUT = (
    "the MVTec AD layout: train/good/000.png, test/good/000.png, test/<defect>/000.png with its mask "
    "ground_truth/<defect>/000_mask.png"
)
_VISA_COLUMNS = {"object", "split", "label", "image", "mask"}


class MVTecAD(ItemDataset):
    """One category of MVTec AD, or data in its layout, VisA's reorganised folders among it.

    Folder names give the labels, so `targets` reads no file. A mask is named `000_mask.png` or `000.png`; images in
    `good` have none and get an empty one.

    Bergmann et al.: "MVTec AD, a comprehensive real-world dataset for unsupervised anomaly detection", CVPR 2019. The
    images are CC BY-NC-SA 4.0.

    Args:
        root: The category's folder, which holds `train/`, `test/` and `ground_truth/`; or the one above.
        split: "train" (good ones only) or "test". For training with real defects see `supervised`.
        category: Folder below `root`.
        binary: One class "defect" instead of one per folder.
        size: Height and width that images and masks are resized to; None leaves them as they are.

    Attributes:
        classes: "good", then the defect folders of `test/` in alphabetical order, with the ids 1, 2, …

    Raises:
        FileNotFoundError: The layout is another one, or a mask is missing.

    Example:
        >>> import cv2, tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("train/good/0", "test/good/0", "test/crack/0", "ground_truth/crack/0_mask"):
        ...         (Path(root) / name).parent.mkdir(parents=True)
        ...         _ = cv2.imwrite(f"{root}/{name}.png", np.full((64, 96), 90, np.uint8))
        ...     test = MVTecAD(root, "test")
        ...     print(test.classes, test.targets)
        ('good', 'crack') [0, 1]
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        category: str | None = None,
        binary: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split must be 'train' or 'test'; got {split!r}")
        folder = _category_folder(Path(root), category)
        defects = _defect_classes(folder)
        if split == "train":
            entries = [Entry(path, None, 0) for path in list_images(folder / "train" / _GOOD)]
        else:
            entries = [Entry(path, None, 0) for path in list_images(folder / "test" / _GOOD)]
            for k, defect in enumerate(defects, start=1):
                entries += _defective(folder, defect, 1 if binary else k)
        if not entries:
            raise FileNotFoundError(f"no images below {folder / split}. Expected {_MVTEC_LAYOUT}. {contents(folder)}")
        super().__init__(entries, (_GOOD, "defect") if binary else (_GOOD, *defects), size)

    @classmethod
    def supervised(
        cls,
        root: str | PathLike[str],
        *,
        category: str | None = None,
        train_fraction: float = 0.5,
        shots: int | None = None,
        seed: int = 0,
        binary: bool = False,
        size: tuple[int, int] | None = None,
    ) -> tuple[Self, Self]:
        """Return a training and a test part that both have real defects.

        A share of each defect folder moves from the test to the training part, drawn by seed: at least one image, and
        at least one stays; of a single image none moves. Good images stay where they are. The test part does not
        depend on `shots`.

        Args:
            root: As for the class.
            category: As for the class.
            train_fraction: Share of the defective images that moves, strictly between 0 and 1.
            shots: Keep only this many of those that moved, over the defect folders as evenly as they allow; 0 =
                zero-shot, None keeps all.
            seed: Chooses both.
            binary: As for the class.
            size: As for the class.

        Raises:
            ValueError: `train_fraction` is not a fraction, or fewer than `shots` defective images moved.
        """
        if not 0 < train_fraction < 1:
            raise ValueError(f"train_fraction must be strictly between 0 and 1; got {train_fraction}")
        kinds = cls(root, "test", category=category).targets
        moved = _stratified(kinds, train_fraction, seed)
        kept = moved
        if shots is not None:
            kept = [moved[i] for i in few_shot([kinds[i] for i in moved], shots, seed=seed)]
        train = cls(root, "train", category=category, binary=binary, size=size)
        test = cls(root, "test", category=category, binary=binary, size=size)
        train._entries += [test._entries[i] for i in kept]
        test._entries = [test._entries[i] for i in sorted(set(range(len(kinds))) - set(moved))]
        return train, test


class VisA(ItemDataset):
    r"""One category of VisA as it is downloaded, with its official splits.

    Zou et al.: "SPot-the-Difference self-supervised pre-training for anomaly detection and segmentation", ECCV 2022.
    The images are CC BY 4.0.

    Args:
        root: Folder that holds `split_csv/` and a folder per category.
        split: "train" or "test".
        category: One of the categories, such as "candle".
        protocol: File in `split_csv/`: "1cls" trains on normal images only, "2cls_highshot" and "2cls_fewshot" on
            defective ones too.
        size: Height and width that images and masks are resized to; None leaves them as they are.

    Attributes:
        classes: ("normal", "anomaly").

    Raises:
        FileNotFoundError: The layout is another one, or a file that the split names is missing.
        ValueError: There is no such split or category.

    Example:
        >>> import cv2, tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     folder = Path(root, "candle/Data/Images/Normal")
        ...     folder.mkdir(parents=True)
        ...     _ = cv2.imwrite(f"{folder}/0000.JPG", np.full((64, 96, 3), 90, np.uint8))
        ...     Path(root, "split_csv").mkdir()
        ...     table = "object,split,label,image,mask\ncandle,train,normal,candle/Data/Images/Normal/0000.JPG,"
        ...     _ = Path(root, "split_csv/1cls.csv").write_text(table)
        ...     train = VisA(root, "train", category="candle")
        ...     print(train.targets, train[0]["image"].shape)
        [0] (64, 96, 3)
    """

    def __init__(
        self,
        root: str | PathLike[str],
        split: Literal["train", "test"] = "train",
        *,
        category: str,
        protocol: Literal["1cls", "2cls_highshot", "2cls_fewshot"] = "1cls",
        size: tuple[int, int] | None = None,
    ) -> None:
        table = Path(root) / "split_csv" / f"{protocol}.csv"
        if not table.is_file():
            raise FileNotFoundError(
                f"no {table}. Expected VisA as downloaded: split_csv/, and <category>/Data/. {contents(Path(root))}. A "
                "category alone is read by MaskFolder('Data/Images', 'Data/Masks', missing_mask='normal'), the "
                "reorganised folders by MVTecAD"
            )
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found = {(row["object"], row["split"]) for row in rows if row.keys() >= _VISA_COLUMNS}
        if (category, split) not in found:
            raise ValueError(
                f"{table} has no {split!r} part of {category!r}; it has {sorted(found) or 'other columns'}"
            )
        entries = []
        for row in rows:
            if (row["object"], row["split"]) == (category, split):
                mask = Path(root, row["mask"]) if row["mask"] else None
                entries.append(_existing(Entry(Path(root, row["image"]), mask, int(row["label"] != "normal"))))
        super().__init__(entries, ("normal", "anomaly"), size)


def _category_folder(root: Path, category: str | None) -> Path:
    """Folder that holds train/ and test/."""
    require_folder(root, _MVTEC_LAYOUT)
    if category is not None:
        root = require_folder(root / category, f"the folder of category {category!r}")
    elif not (root / "train").is_dir():
        categories = sorted(path.parent.name for path in root.glob("*/train"))
        if categories:
            raise FileNotFoundError(f"{root} holds several categories; give category= one of {', '.join(categories)}")
    for part in ("train", "test"):
        require_folder(root / part / _GOOD, _MVTEC_LAYOUT)
    extra = sorted(path.name for path in (root / "train").iterdir() if path.is_dir() and path.name != _GOOD)
    if extra:
        raise ValueError(
            f"{root / 'train'} holds {', '.join(extra)} beside 'good'. Expected {_MVTEC_LAYOUT}. Move defective images "
            "to test/ and use MVTecAD.supervised, or read the folder with MaskFolder"
        )
    return root


def _defect_classes(folder: Path) -> list[str]:
    """Names of the folders of `test/` but "good", sorted."""
    return sorted(p.name for p in (folder / "test").iterdir() if p.is_dir() and p.name != _GOOD)


def _defective(folder: Path, defect: str, label: int) -> list[Entry]:
    """The images of one defect folder and their masks."""
    images, masks = folder / "test" / defect, folder / "ground_truth" / defect
    mask_of = by_stem(list_images(masks), masks, "_mask")
    entries = []
    for stem, image in by_stem(list_images(images), images).items():
        if stem not in mask_of:
            raise FileNotFoundError(
                f"{image} has no mask {masks / stem}_mask.png. Restore it, or remove the image. {contents(masks)}"
            )
        entries.append(Entry(image, mask_of[stem], label))
    return entries


def _existing(entry: Entry) -> Entry:
    for path in (entry.image, entry.mask):
        if path is not None and not path.is_file():
            raise FileNotFoundError(f"the split names {path}, which is missing. {contents(path.parent)}")
    return entry


def _stratified(labels: list[int], fraction: float, seed: int) -> list[int]:
    """Positions of a share of each defect class."""
    drawn: list[int] = []
    for k in sorted(set(labels) - {0}):
        members = np.flatnonzero(np.equal(labels, k))
        if len(members) > 1:
            count = min(max(round(fraction * len(members)), 1), len(members) - 1)
            drawn += stream(check_seed(seed), k).permutation(members)[:count].tolist()
    return sorted(drawn)
