"""A cache as a folder that other tools read: MVTec AD's layout, COCO, YOLO, or plain images and masks."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
from PIL import Image as Pillow

from inout_aug.cache.review import Review
from inout_aug.cache.store import SampleCache
from inout_aug.outlines import Polygon, instances
from inout_aug.sample import Image, Sample

Format: TypeAlias = Literal["mvtec", "coco", "yolo", "yolo-seg", "png"]

GOOD = "good"
CLASSES = "classes.txt"
# for people: what counts in a mask are the indices
_COLOURS = b"\xff\xff\xff", b"\xff\x40\x40", b"\x40\xa0\xff", b"\xff\xc8\x00", b"\x60\xe0\x60", b"\xc8\x60\xff"
_PLAIN_NAME = re.compile(r"[^\W_][\w .+-]*")


def export_cache(
    cache: SampleCache | str | os.PathLike[str],
    path: str | os.PathLike[str],
    format: Format,  # noqa: A002 - the word users have for it
    *,
    classes: Sequence[str] | None = None,
    min_pixels: int = 1,
    progress: bool = True,
) -> int:
    """Write the samples of a cache to a new folder, as files; returns how many.

    Review decisions count: what was rejected is left out, what was relabelled has its new class. Beside the images
    there is `samples.jsonl`, which says for each of them how it was made.

    - "mvtec": `test/<class>/000017.png` with `ground_truth/<class>/000017_mask.png` (0 and 255), normal ones in
      `test/good`.
    - "coco": `images/` and `annotations.json`. Each connected part of a mask is an annotation: its box, its area, and a
      polygon along the edges of its pixels; one with holes has run lengths instead.
    - "yolo", "yolo-seg": `images/train`, `labels/train` with a box or a polygon for each connected part, `data.yaml`.
      The label file of an image without defects is empty.
    - "png": `images/` and `masks/` with class ids as palette indices, `classes.txt`.

    Args:
        cache: An open cache, or where one lies.
        path: A folder that does not exist, or is empty.
        format: One of the above.
        classes: Names of the defect classes 1, 2, …; by default "defect", or "defect_01" and so on.
        min_pixels: Parts of a mask with fewer pixels get no annotation, in COCO and YOLO.
        progress: Whether to draw a progress bar on stderr.

    Raises:
        FileExistsError: There is something at `path`.
        ValueError: The format cannot hold the samples, or `classes` does not name them.

    Example:
        >>> import tempfile
        >>> from inout_aug.cache.importer import import_dataset
        >>> from inout_aug.datasets import Surfaces
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = import_dataset(Surfaces(20, size=(64, 64), binary=True), f"{folder}/cache", progress=False)
        ...     count = export_cache(cache, f"{folder}/out", "coco", progress=False)
        ...     print(count, sorted(os.listdir(f"{folder}/out")))
        20 ['annotations.json', 'images', 'samples.jsonl']
    """
    from rich.console import Console
    from rich.progress import track

    if format not in get_args(Format):
        raise ValueError(f"format is one of {', '.join(get_args(Format))}; got {format!r}")
    review = Review(cache)
    _check_masks(review.cache, format)
    names = _class_names(classes, int(review.labels.max(initial=1)))
    target = Path(path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} exists already, and an export never overwrites. Give a new or an empty folder")
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    unfinished.mkdir(parents=True)
    try:
        writer = _WRITERS[format](unfinished, names, min_pixels)
        count = 0
        with (unfinished / "samples.jsonl").open("w", encoding="utf-8") as index:
            total = int(np.count_nonzero(review.accepted))
            bar = track(review.samples(), "exporting", total=total, console=Console(stderr=True), disable=not progress)
            for position, sample in bar:
                file = writer.add(f"{review.cache.indices[position]:06d}", sample)
                index.write(json.dumps({"file": file, **_provenance(review.cache, position, sample)}) + "\n")
                count += 1
        writer.finish()
        if target.is_dir():
            target.rmdir()
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return count


def _check_masks(cache: SampleCache, format: Format) -> None:  # noqa: A002
    if not cache.manifest.groups[0].layout.masks and format != "png":
        raise ValueError(
            f"{cache.folder.url} has no masks, from which {format} would get its boxes or masks. Export it as png"
        )


def _class_names(classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if classes is None:
        return ("defect",) if count <= 1 else tuple(f"defect_{k:02d}" for k in range(1, count + 1))
    if len(classes) < count or len(set(classes)) != len(classes):
        raise ValueError(
            f"classes= gives each of the defect classes 1 to {count} a name of its own; got {list(classes)}"
        )
    for name in classes:
        if not _PLAIN_NAME.fullmatch(name) or name == GOOD:
            raise ValueError(f"a class is named in letters, digits, '_', '-', '+', '.' and spaces; got {name!r}")
    return tuple(classes)


def _provenance(cache: SampleCache, position: int, sample: Sample) -> dict[str, Any]:
    values = (float(value) if np.isfinite(value) else None for value in cache.scores[position])
    scores = dict(zip(cache.score_names, values, strict=True))
    origin = sample.origin
    return {
        "label": sample.label,
        "generator": origin.generator,
        "fingerprint": origin.fingerprint,
        "seed": origin.seed,
        "scores": scores,
        **origin.params,
    }


class _Writer(ABC):
    """Writes samples in one format.

    Args:
        root: An empty folder.
        names: Of the defect classes 1, 2, …
        min_pixels: Of an annotation.
    """

    def __init__(self, root: Path, names: tuple[str, ...], min_pixels: int) -> None:
        self.root, self.names, self.min_pixels = root, names, min_pixels

    @abstractmethod
    def add(self, stem: str, sample: Sample) -> str:
        """Write a sample; returns where its image is, relative to the root."""

    @abstractmethod
    def finish(self) -> None:
        """Write what belongs to no sample."""

    def save(self, file: str, pixels: Image) -> str:
        """Write an image as PNG."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
        # not cv2.imwrite, which fails on non-ASCII paths under Windows
        cv2.imencode(".png", stored)[1].tofile(path)
        return file


class _Mvtec(_Writer):
    def add(self, stem: str, sample: Sample) -> str:
        if not sample.label:
            return self.save(f"test/{GOOD}/{stem}.png", sample.image)
        mask, name = np.asarray(sample.mask), self.names[sample.label - 1]
        others = np.setdiff1d(mask, (0, sample.label)).tolist()
        if others:
            raise ValueError(
                f"sample {stem} is of class {sample.label}, but its mask has {others} too. MVTec AD's layout has one "
                "class an image: export as png or coco"
            )
        self.save(f"ground_truth/{name}/{stem}_mask.png", np.where(mask, np.uint8(255), np.uint8(0)))
        return self.save(f"test/{name}/{stem}.png", sample.image)

    def finish(self) -> None:
        for part in ("train", "test"):
            (self.root / part / GOOD).mkdir(parents=True, exist_ok=True)


class _Png(_Writer):
    def add(self, stem: str, sample: Sample) -> str:
        if sample.mask is not None:
            indexed = Pillow.fromarray(sample.mask)
            indexed.putpalette(b"\0\0\0" + b"".join(islice(cycle(_COLOURS), 255)))
            path = self.root / "masks" / f"{stem}.png"
            path.parent.mkdir(exist_ok=True)
            indexed.save(path)
        return self.save(f"images/{stem}.png", sample.image)

    def finish(self) -> None:
        (self.root / CLASSES).write_text("".join(f"{name}\n" for name in self.names), encoding="utf-8")


class _Coco(_Writer):
    def __init__(self, root: Path, names: tuple[str, ...], min_pixels: int) -> None:
        super().__init__(root, names, min_pixels)
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def add(self, stem: str, sample: Sample) -> str:
        height, width = sample.size
        self.images.append({"id": len(self.images) + 1, "file_name": f"{stem}.png", "width": width, "height": height})
        for found in instances(np.asarray(sample.mask), min_pixels=self.min_pixels):
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": len(self.images),
                    "category_id": found.defect_class,
                    "bbox": found.box,
                    "area": found.area,
                    "segmentation": found.segmentation(sample.size),
                    "iscrowd": 0,
                }
            )
        return self.save(f"images/{stem}.png", sample.image)

    def finish(self) -> None:
        categories = [{"id": k, "name": name} for k, name in enumerate(self.names, start=1)]
        whole = {"images": self.images, "annotations": self.annotations, "categories": categories}
        (self.root / "annotations.json").write_text(json.dumps(whole), encoding="utf-8")


class _Yolo(_Writer):
    polygons = False

    def add(self, stem: str, sample: Sample) -> str:
        height, width = sample.size
        lines = []
        for found in instances(np.asarray(sample.mask), min_pixels=self.min_pixels):
            left, top, across, down = found.box
            centre_and_size = [(left + across / 2) / width, (top + down / 2) / height, across / width, down / height]
            values = _relative(found.polygon(), width, height) if self.polygons else centre_and_size
            lines.append(" ".join([str(found.defect_class - 1), *(f"{value:.8g}" for value in values)]) + "\n")
        labels = self.root / "labels" / "train"
        labels.mkdir(parents=True, exist_ok=True)
        (labels / f"{stem}.txt").write_text("".join(lines), encoding="ascii")
        return self.save(f"images/train/{stem}.png", sample.image)

    def finish(self) -> None:
        names = "".join(f"  {k}: {json.dumps(name, ensure_ascii=False)}\n" for k, name in enumerate(self.names))
        text = f"# generated images are for training: add `val:` with real ones\ntrain: images/train\nnames:\n{names}"
        (self.root / "data.yaml").write_text(text, encoding="utf-8")


class _YoloSegmentation(_Yolo):
    polygons = True


def _relative(corners: Polygon, width: int, height: int) -> list[float]:
    relative: list[float] = (corners / np.array([width, height])).ravel().tolist()
    return relative


_WRITERS: dict[Format, type[_Writer]] = {
    "mvtec": _Mvtec,
    "coco": _Coco,
    "yolo": _Yolo,
    "yolo-seg": _YoloSegmentation,
    "png": _Png,
}
