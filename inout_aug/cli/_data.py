"""Datasets by the options of the command line."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from inout_aug.datasets import Item
    from inout_aug.sample import Sample

MATERIAL = "metal"  # of the procedural surfaces, where one is wanted

# first sample and number of samples
_SURFACES = {"train": (0, 600), "test": (600, 400)}


class Format(StrEnum):
    """How a folder of images is laid out."""

    SURFACES = "surfaces"
    KSDD2 = "ksdd2"
    MVTEC = "mvtec"
    FOLDER = "folder"


def open_data(
    path: Path | None,
    layout: Format | None,
    part: Literal["train", "test"] = "train",
    *,
    category: str | None = None,
    shots: int | None = None,
    seed: int = 0,
    binary: bool = False,
) -> Dataset[Item]:
    """Return the training or the test part of a dataset.

    Args:
        path: Folder of the data; None for procedural surfaces.
        layout: Of the folder. `ksdd2`: train/ and test/, a mask 1_GT.png beside 1.png. `mvtec`: train/good,
            test/<defect> and ground_truth/<defect>; half of the defects move to the training part. `folder`: images/
            and masks/ with equal names, an image without a mask being good, in train/ and in test/; if there are no
            such, half of either class goes to either part.
        part: "train" or "test".
        category: Folder below `path`, for `mvtec`.
        shots: Defective samples to keep in the training part; None for all.
        seed: Chooses the parts and the shots, and the products of `surfaces`.
        binary: One defect class instead of several.

    Raises:
        FileNotFoundError: The folder is laid out in another way.
        ValueError: The options do not go together, or there are fewer defective samples than `shots`.
    """
    from torch.utils.data import Subset

    from inout_aug.datasets import KSDD2, MaskFolder, MVTecAD, Surfaces, few_shot

    if (path is None) != (layout in (None, Format.SURFACES)):
        raise ValueError(
            "--data DIR and --format ksdd2, mvtec or folder go together: the format says how DIR is laid out. Without "
            "both, the images are procedural surfaces"
        )
    if category is not None and layout != Format.MVTEC:
        raise ValueError("--category is for --format mvtec")
    dataset: Surfaces | KSDD2 | MVTecAD | MaskFolder
    divided = True
    if path is None:
        start, length = _SURFACES[part]
        dataset = Surfaces(length, start=start, seed=seed, binary=binary)
    elif layout == Format.KSDD2:
        dataset = KSDD2(path, part, strict_counts=False)
    elif layout == Format.MVTEC:
        dataset = MVTecAD.supervised(path, category=category, seed=seed, binary=binary)[part == "test"]
    else:
        divided = (path / "train").is_dir()
        folder = path / part if divided else path
        dataset = MaskFolder(folder / "images", folder / "masks", missing_mask="normal")
    kept = list(range(len(dataset))) if divided else _half(dataset.targets, part, seed)
    if shots is not None and part == "train":
        labels = [dataset.targets[i] for i in kept]
        kept = [kept[i] for i in few_shot(labels, shots, seed=seed)]
    return dataset if len(kept) == len(dataset) else Subset(dataset, kept)


def open_product(
    path: Path | None,
    layout: Format | None,
    part: Literal["train", "test"] = "train",
    *,
    category: str | None = None,
    material: str | None = None,
    seed: int = 0,
) -> Dataset[Item]:
    """Return a part of a dataset as `open_data` does, but of procedural surfaces one product alone, as on a line.

    To tell several apart from their defects takes far longer to learn.

    Args:
        path: Folder of the data; None for procedural surfaces.
        layout: Of the folder.
        part: "train" or "test".
        category: Folder below `path`, for `mvtec`.
        material: Of the procedural surfaces; metal by default.
        seed: Chooses the parts, and the product.

    Raises:
        ValueError: The options do not go together.
    """
    if path is None and layout in (None, Format.SURFACES) and category is None:
        from inout_aug.datasets import Surfaces

        start, length = _SURFACES[part]
        return Surfaces(length, start=start, materials=(material or MATERIAL,), seed=seed)
    if material is not None:
        raise ValueError("--material is for procedural surfaces, without --data")
    return open_data(path, layout, part, category=category, seed=seed)


def shrunk(sample: Sample, factor: float) -> Sample:
    """Return a sample with its sides divided by a factor, or as short as they may be; defects never vanish."""
    from inout_aug.datasets._files import fit_image, fit_mask
    from inout_aug.sample import MIN_SIDE, Sample

    height, width = (max(MIN_SIDE, round(side / factor)) for side in sample.size)
    mask = None if sample.mask is None else fit_mask(sample.mask, (height, width))
    return Sample(fit_image(sample.image, (height, width)), mask, sample.label)


def _half(targets: list[int], part: str, seed: int) -> list[int]:
    """Return the positions of one half of each class; the training half is the larger one."""
    from inout_aug.seeding import stream

    chosen: list[int] = []
    for label in sorted(set(targets)):
        members = stream(seed, label).permutation([i for i, target in enumerate(targets) if target == label]).tolist()
        middle = (len(members) + 1) // 2
        chosen += members[:middle] if part == "train" else members[middle:]
    return sorted(chosen)
