"""A folder of images and masks that some other tool made, as a cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.export import CLASSES
from inout_aug.cache.fill import fill_cache
from inout_aug.cache.fingerprint import digest_of
from inout_aug.cache.fitted import with_channels
from inout_aug.cache.plan import Shape, request_seed
from inout_aug.cache.shard import DType
from inout_aug.cache.store import SampleCache
from inout_aug.datasets import MaskFolder, MVTecAD
from inout_aug.datasets._files import contents
from inout_aug.datasets._items import Entry, Item, ItemDataset
from inout_aug.plugin import Request
from inout_aug.sample import Image, Mask, Origin, Sample

_LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
_HALF = 128


def import_folder(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    masks: str | os.PathLike[str] | None = None,
    mask_suffix: str = "",
    missing_mask: Literal["refuse", "normal"] = "refuse",
    classes: Sequence[str] | None = None,
    channels: int | None = None,
    progress: bool = True,
) -> SampleCache:
    """Fill a cache with the images and masks of a folder; see `import_dataset`.

    The folder is one of these: MVTec AD's layout (`test/<class>`, `ground_truth/<class>`), of which the test part is
    read; `images/` and `masks/`; images with `masks=` elsewhere; images and masks side by side, told by `mask_suffix=`.
    In lossy files (JPEG, WebP) a mask is what is brighter than half.

    Args:
        folder: Of the images.
        path: Of the cache; None for a folder of the user's cache that is named after the content.
        masks: Folder of the masks; see `MaskFolder`.
        mask_suffix: See `MaskFolder`.
        missing_mask: See `MaskFolder`.
        classes: Names of the defect classes, if masks hold class ids; by default the lines of `classes.txt`, if it is
            there.
        channels: 1 or 3, to make all images grey or all colour; None leaves them as they are.
        progress: Whether to draw progress bars on stderr.

    Raises:
        FileNotFoundError: The folder is laid out in none of these ways, or an image or a mask is missing.
        ValueError: An image cannot be read, or 8-bit and 16-bit images are mixed.

    Example:
        >>> import cv2, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("a.png", "a_mask.png"):
        ...         _ = cv2.imwrite(f"{folder}/{name}", np.eye(32, dtype=np.uint8) * 255)
        ...     cache = import_folder(folder, f"{folder}/cache", mask_suffix="_mask", progress=False)
        ...     print(len(cache), cache.labels)
        1 [1]
    """
    root = Path(folder)
    dataset = _open(root, None if masks is None else Path(masks), mask_suffix, missing_mask, classes)
    return import_dataset(dataset, path, root=root, channels=channels, progress=progress)


def import_dataset(
    dataset: Sequence[Item] | ItemDataset,
    path: str | os.PathLike[str] | None = None,
    *,
    name: str = "imported",
    root: str | os.PathLike[str] = "",
    channels: int | None = None,
    progress: bool = True,
) -> SampleCache:
    """Fill a cache with the items of a dataset: each becomes the sample of its index.

    The cache is known by the content of all images and masks. An import that was interrupted goes on where it was.

    Args:
        dataset: Items as those of `inout_aug.datasets`: "image", "mask", "label" and "path".
        path: Of the cache; None for a folder of the user's cache that is named after the content.
        name: That the samples' origin gives as their generator.
        root: What the paths in the records are relative to.
        channels: 1 or 3, to make all images grey or all colour; None leaves them as they are.
        progress: Whether to draw progress bars on stderr.

    Raises:
        CacheMismatch: The folder holds other samples.
        CacheNotWritten: There is no room.
        ValueError: There is no item, or 8-bit and 16-bit images are mixed.

    Example:
        >>> import tempfile
        >>> from inout_aug.datasets import Surfaces
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     import_dataset(Surfaces(5, size=(64, 64)), folder, progress=False)[2].size
        (64, 64)
    """
    if channels not in (None, 1, 3):
        raise ValueError(f"channels is 1 or 3, or None to leave images as they are; got {channels!r}")
    generator = _Imported(dataset, name, Path(root), channels, progress)
    return fill_cache(
        generator,
        path,
        len(generator.labels),
        shape=generator.shapes.__getitem__,
        conditions=lambda index: {"defect_class": max(1, generator.labels[index])},
        dtype=generator.dtype,
        progress=progress,
    )


class _Imported:
    """The generator of an imported cache: its k-th sample is the k-th item.

    Args:
        dataset: Has the items.
        name: Of the generator.
        root: Of the paths.
        channels: To convert to; None for none.
        progress: Whether to draw a progress bar while reading.
    """

    def __init__(
        self, dataset: Sequence[Item] | ItemDataset, name: str, root: Path, channels: int | None, progress: bool
    ) -> None:
        from rich.console import Console
        from rich.progress import track

        self.name = name
        self._dataset, self._root, self._channels = dataset, root, channels
        self.shapes: list[Shape] = []
        self.labels: list[int] = []
        digests, paths = [], {}
        for index in track(range(len(dataset)), "reading", console=Console(stderr=True), disable=not progress):
            item = dataset[index]
            image = self._image(item)
            self.shapes.append((image.shape[0], image.shape[1], image.shape[2]))
            self.labels.append(int(item["label"]))
            paths[str(image.dtype)] = item["path"]
            digests.append([self._path(item), _digest(image), _digest(item["mask"]), self.labels[-1]])
        if not digests:
            raise ValueError("there are no images to import")
        if len(paths) > 1:
            raise ValueError(
                f"images are 8-bit ({paths['uint8']}) and 16-bit ({paths['uint16']}). Import them separately"
            )
        self.dtype: DType = "uint16" if "uint16" in paths else "uint8"
        self.fingerprint = digest_of({"imported": digests})

    @cached_property
    def _indices(self) -> dict[int, int]:
        """Which item is meant is told by the seed of the request: there is nothing to draw."""
        return {request_seed(0, index, 0): index for index in range(len(self.labels))}

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Read the items that the seeds of the requests stand for."""
        return [self._sample(self._dataset[self._indices[request.seed]]) for request in requests]

    def _sample(self, item: Item) -> Sample:
        return Sample(self._image(item), item["mask"], int(item["label"]), Origin(params={"path": self._path(item)}))

    def _image(self, item: Item) -> Image:
        return item["image"] if self._channels is None else with_channels(item["image"], self._channels)

    def _path(self, item: Item) -> str:
        path = Path(item["path"])
        return (path.relative_to(self._root) if path.is_relative_to(self._root) else path).as_posix()


class _Masks(MaskFolder):
    """A folder of masks some of which were saved with loss, so that their background is not quite 0."""

    def _class_ids(self, values: NDArray[Any], entry: Entry) -> Mask:
        lossy = entry.mask is not None and entry.mask.suffix.lower() in _LOSSY
        return super()._class_ids((values >= _HALF).astype(np.uint8) if lossy else values, entry)


def _open(
    root: Path,
    masks: Path | None,
    mask_suffix: str,
    missing_mask: Literal["refuse", "normal"],
    classes: Sequence[str] | None,
) -> ItemDataset:
    if masks is None and not mask_suffix and (root / "ground_truth").is_dir():
        return MVTecAD(root, "test")
    if masks is None and (root / "images").is_dir() and (root / "masks").is_dir():
        root, masks = root / "images", root / "masks"
    elif masks is None and mask_suffix:
        masks = root
    if masks is None:
        raise FileNotFoundError(
            f"{root} is laid out in no known way: expected test/ and ground_truth/ (MVTec AD), or images/ and masks/. "
            f"Say where the masks are with masks=, or what their names end in with mask_suffix=. {contents(root)}"
        )
    listed = root.parent / CLASSES
    if classes is None and listed.is_file():
        classes = listed.read_text(encoding="utf-8").split("\n")[:-1]
    return _Masks(root, masks, mask_suffix=mask_suffix, missing_mask=missing_mask, classes=classes)


def _digest(pixels: Image | Mask) -> str:
    content = hashlib.sha256(f"{pixels.dtype} {pixels.shape} ".encode())
    content.update(pixels.tobytes())
    return content.hexdigest()
