"""A folder of images and a folder of masks."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inout_aug.datasets._files import by_stem, contents, list_images, require_folder
from inout_aug.datasets._items import Entry, ItemDataset
from inout_aug.sample import Mask


class MaskFolder(ItemDataset):
    """Images and masks of your own, matched by their stems: `images/a/1.jpg` belongs to `masks/a/1.png`.

    The label is 0 for an empty mask, else the class that covers the most pixels. Masks are read for the labels once,
    at the first use of `targets`; images when they are asked for.

    Args:
        images: Folder of the images; nested folders are read too.
        masks: Folder of the masks, nested alike; may be the same folder if `mask_suffix` is given.
        mask_suffix: What a mask's stem has after its image's, such as "_mask".
        missing_mask: "normal" if an image without a mask is a good one; by default that is refused.
        classes: Names of the defect classes, whose ids in the masks are 1, 2, …; palette images give their indices.
            None: any non-zero value is the one class "defect".
        size: Height and width that images and masks are resized to; None leaves them as they are.

    Attributes:
        classes: "normal", then the defect classes.

    Raises:
        FileNotFoundError: A folder, an image or a mask is missing.
        ValueError: Two files have one stem; later, a mask holds a value that is no class.

    Example:
        >>> import cv2, tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ("a.png", "b.png", "b_mask.png"):
        ...         _ = cv2.imwrite(f"{root}/{name}", np.full((64, 96), 90, np.uint8))
        ...     data = MaskFolder(root, root, mask_suffix="_mask", missing_mask="normal")
        ...     print(len(data), data.targets, data[1]["mask"].max())
        2 [0, 1] 1
    """

    def __init__(
        self,
        images: str | PathLike[str],
        masks: str | PathLike[str],
        *,
        mask_suffix: str = "",
        missing_mask: Literal["refuse", "normal"] = "refuse",
        classes: Sequence[str] | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        if missing_mask not in ("refuse", "normal"):
            raise ValueError(f"missing_mask must be 'refuse' or 'normal'; got {missing_mask!r}")
        self._ids_are_classes = classes is not None
        names = ("normal", *(("defect",) if classes is None else classes))
        super().__init__(_matched(Path(images), Path(masks), mask_suffix, missing_mask == "normal"), names, size)

    def _class_ids(self, values: NDArray[Any], entry: Entry) -> Mask:
        if not self._ids_are_classes:
            return super()._class_ids(values, entry)
        largest = int(values.max())
        if largest >= len(self.classes):
            raise ValueError(
                f"{entry.mask} holds the value {largest}; classes= names the ids 1 to {len(self.classes) - 1}. "
                "Name every class, or leave classes out for masks of 0 and 255"
            )
        return values.astype(np.uint8)


def _matched(images: Path, masks: Path, suffix: str, missing_is_normal: bool) -> list[Entry]:
    """Match images and masks by stem."""
    require_folder(images, "the folder of the images")
    require_folder(masks, "the folder of the masks")
    image_files, mask_files = list_images(images), list_images(masks)
    if suffix:
        mask_files = [path for path in mask_files if path.stem.endswith(suffix)]
    if masks.is_relative_to(images):
        taken = set(mask_files)
        image_files = [path for path in image_files if path not in taken]
    image_of, mask_of = by_stem(image_files, images), by_stem(mask_files, masks, suffix)
    if not image_of:
        raise FileNotFoundError(f"no images in {images}, or all of them are masks. {contents(images)}")
    orphans = sorted(mask_of.keys() - image_of.keys())
    if orphans:
        raise FileNotFoundError(
            f"{mask_of[orphans[0]]} is the mask of no image ({len(orphans)} such): expected "
            f"{images / orphans[0]}.*. Is mask_suffix={suffix!r} right? {contents(images)}"
        )
    bare = sorted(image_of.keys() - mask_of.keys())
    if bare and not missing_is_normal:
        raise FileNotFoundError(
            f"{image_of[bare[0]]} has no mask ({len(bare)} such): expected {masks / bare[0]}{suffix}.*. Is "
            f"mask_suffix right? If images without a mask are good, give missing_mask='normal'. {contents(masks)}"
        )
    return [
        Entry(path, mask_of[stem], None) if stem in mask_of else Entry(path, None, 0) for stem, path in image_of.items()
    ]
