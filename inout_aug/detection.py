"""Detection items <-> `Sample`: boxes, with their labels and instance masks, follow new defects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from torch import Tensor

from inout_aug import containers
from inout_aug.boxes import FORMATS, BoxFormat, append, append_boxes, boxes_of, pieces
from inout_aug.containers import Denormalize
from inout_aug.layout import (
    IMAGE_KEYS,
    MASK_KEYS,
    AmbiguousLayout,
    Key,
    describe_item,
    get_field,
    iter_fields,
    replace_fields,
)
from inout_aug.outlines import Instance
from inout_aug.sample import Sample

NO_BOX = -1  # label of an image without boxes: 0 is a category in some datasets

_TARGET_KEYS = ("objects", "annotations", "target")
_BOX_KEYS = ("boxes", "bboxes", "bbox")
_LABEL_KEYS = ("labels", "category", "category_id", "categories", "category_ids", "class_labels", "label", "classes")
# entries of a target that have one value per image, whatever its length
_OF_IMAGE = ("image_id", "orig_size", "size")
_COCO = "layout=Detection(image=0, target=1, boxes='bbox', labels='category_id', format='xywh')"
_REMEDY = "Say where things are with layout=Detection(image=..., target=..., boxes=..., labels=..., format=...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """A layout of detection items: normal samples have no box, defective ones a box and a label for each defect.

    Read are targets of columns, as torchvision's detection models, albumentations and Hugging Face datasets have them,
    and lists of COCO annotations. A synthetic item gets a box for each piece of its defect, and what else its form has
    for each box: the instance mask, `area`, `iscrowd`, COCO's `segmentation`. The label of an item is that of its first
    box, -1 without any; synthetic positives have the one that `positive_label=` says. MemSeg's fine noise falls into
    dozens of pieces: `MemSegPaste(cells=(1, 4))` paints a few large ones.

    Attributes:
        image: Where the image is.
        target: Where the mapping of columns, or the list of annotations, is; None if the item itself has the columns.
        boxes: Name of the boxes in it.
        labels: Name of the boxes' labels in it.
        format: Of the boxes, in pixels; "yolo" is "cxcywh" in shares of the image's sides. `tv_tensors.BoundingBoxes`
            know theirs. The right and lower edges are those of the last pixels, so a box of one pixel has size 1.
        min_pixels: Smaller pieces of a defect get no box of their own; the largest one always does.
        denormalize: (mean, std) of float images that the dataset has normalised already.
        defaults: Values, for each new box, of what else the target has for each box.

    Raises:
        ValueError: The format is not known.

    Example:
        >>> import torch
        >>> from inout_aug import Origin
        >>> layout = Detection(image=0, target=1)
        >>> host = np.zeros((32, 32, 3), np.uint8), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}
        >>> image, mask = np.full((32, 32, 3), 9, np.uint8), np.zeros((32, 32), np.uint8)
        >>> mask[4:8, 10:20] = 1
        >>> layout.pack(Sample(image, mask, 3, Origin(host=0)), host)[1]
        {'boxes': tensor([[10.,  4., 20.,  8.]]), 'labels': tensor([3])}
    """

    image: Key
    target: Key | None = None
    boxes: Key = "boxes"
    labels: Key = "labels"
    format: BoxFormat = "xyxy"
    min_pixels: int = 1
    denormalize: Denormalize | None = None
    defaults: Mapping[Key, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format is one of {FORMATS}; got {self.format!r}")

    def unpack(self, item: Any) -> Sample:
        """Return the item as a `Sample` without mask: boxes do not say which pixels are defective."""
        image = containers.decode_image(get_field(item, self.image), self.denormalize)
        return Sample(image, None, self.label(item))

    def pack(self, sample: Sample, like: Any) -> Any:
        """Return an item like `like` with the sample's image, and boxes around its defect beside those of `like`.

        Raises:
            ValueError: The sample has no mask, or defects of several classes, which one label cannot tell apart; or the
                target has entries for each box of which nothing is known.
        """
        if sample.mask is None:
            raise ValueError(
                f"{sample.origin.generator} gave no mask, but boxes follow from masks. Use a generator that makes masks"
            )
        found = pieces(sample.mask, self.min_pixels)
        if len(kinds := sorted({piece.defect_class for piece in found})) > 1:
            raise ValueError(f"a sample gives its boxes one label, but its mask holds defects of the classes {kinds}")
        painted = sample.mask if sample.origin.host is not None else None
        image = containers.encode_image(sample.image, get_field(like, self.image), self.denormalize, painted)
        target = self._target(like)
        if isinstance(target, list):
            rows = [self._row(piece, sample) for piece in found]
            return replace_fields(like, {self.image: image, cast(Key, self.target): [*target, *rows]})
        columns = self._columns(found, sample, target)
        if self.target is None:
            return replace_fields(like, {self.image: image, **columns})
        return replace_fields(like, {self.image: image, self.target: replace_fields(target, columns)})

    def label(self, item: Any) -> int:
        """Return the label of an item's first box, -1 if it has none, without decoding the image."""
        return next(iter(self.categories(item)), NO_BOX)

    def categories(self, item: Any) -> list[int]:
        """Return the labels of an item's boxes.

        Raises:
            AmbiguousLayout: The target is of another form.
            ValueError: There is not one label for each box.
        """
        target = self._target(item)
        if isinstance(target, list):
            return [containers.decode_label(get_field(row, self.labels)) for row in target]
        if self.boxes not in (fields := dict(iter_fields(target))):
            raise AmbiguousLayout(
                f"an item has no boxes at all: {describe_item(item)}. Give normal samples empty ones, of shape (0, 4), "
                f"and no labels; or take torchvision's CocoDetection as it is, with {_COCO}"
            )
        boxes, labels = fields[self.boxes], get_field(target, self.labels)
        if len(boxes) != len(labels):
            raise ValueError(f"there is one label for each box; got {len(boxes)} boxes and {len(labels)} labels")
        return [containers.decode_label(label) for label in labels]

    def _target(self, item: Any) -> Any:
        return item if self.target is None else get_field(item, self.target)

    def _row(self, piece: Instance, sample: Sample) -> dict[Key, Any]:
        """Return a COCO annotation."""
        return {
            "segmentation": piece.segmentation(sample.size),
            "area": float(piece.area),
            "iscrowd": 0,
            self.boxes: boxes_of([piece], self.format, sample.size)[0].tolist(),
            self.labels: sample.label,
            **self.defaults,
        }

    def _columns(self, found: Sequence[Instance], sample: Sample, target: Any) -> dict[Key, Any]:
        """Return the columns of a target with what is new in them."""
        count = len(get_field(target, self.boxes))
        columns: dict[Key, Any] = {}
        for name, old in iter_fields(target):
            if name == self.boxes:
                columns[name] = append_boxes(old, found, self.format, sample.size)
            elif name == self.labels:
                columns[name] = append(old, np.full(len(found), sample.label))
            elif name in self.defaults:
                columns[name] = append(old, np.array([self.defaults[name]] * len(found)))
            elif name in ("area", "areas"):
                columns[name] = append(old, np.array([float(piece.area) for piece in found]))
            elif name in ("iscrowd", "is_crowd"):
                columns[name] = append(old, np.zeros(len(found), np.int64))
            elif name == "masks":
                columns[name] = append(old, np.stack([piece.whole(sample.size) for piece in found]).astype(np.uint8))
            elif name not in (self.image, *_OF_IMAGE) and _length(old) == count:
                raise ValueError(
                    f"{name!r} seems to have one value for each box, as {self.boxes!r} has. Say what it is for new "
                    f"ones with layout={type(self).__name__}(..., defaults={{{name!r}: ...}}), or leave it out"
                )
        return columns


def find_detection(
    item: Any, *, denormalize: Denormalize | None, defaults: Mapping[Key, Any] | None
) -> Detection | None:
    """Return the layout of an item that has boxes; None if it has none.

    Args:
        item: Any item of the dataset.
        denormalize: As for `Detection`.
        defaults: As for `Detection`.

    Raises:
        AmbiguousLayout: It has boxes, but in a form or of a format that cannot be told, or a mask beside them.
    """
    _refuse_no_annotations(item)
    for target_key, target in _targets(item):
        first = target[0] if isinstance(target, list) else target
        fields = dict(iter_fields(first))
        boxes = _box_key(fields, rows=isinstance(target, list))
        labels = next((key for key in _LABEL_KEYS if key in fields), None)
        if boxes is None:
            continue
        whole = dict(iter_fields(item))
        image = next((k for k in (0, *IMAGE_KEYS) if containers.is_spatial(whole.get(k))), None)
        if image is None or labels is None:
            raise AmbiguousLayout(f"an item has boxes, but no image or no labels: {describe_item(item)}. {_REMEDY}")
        size = containers.spatial_size(whole[image])
        masks = [k for k, v in whole.items() if k != image and k in (*MASK_KEYS, 1, 2) and _is_mask(v, size)]
        if masks:
            raise AmbiguousLayout(
                f"an item has boxes and a mask, {masks}: {describe_item(item)}. Leave one of them out of the items, or "
                "give layout=, an object with unpack and pack"
            )
        return Detection(
            image=image,
            target=target_key,
            boxes=boxes,
            labels=labels,
            format=_format(fields[boxes], boxes, target_key, rows=isinstance(target, list)),
            denormalize=denormalize,
            defaults=defaults or {},
        )
    return None


def _refuse_no_annotations(item: Any) -> None:
    """Raise if an item has a list of annotations, it seems, that tells nothing because it is empty."""
    fields = dict(iter_fields(item))
    keys = _TARGET_KEYS if isinstance(item, Mapping) else (1,) if len(fields) == 2 else ()
    if empty := [key for key in keys if isinstance(fields.get(key), list) and not fields[key]]:
        raise AmbiguousLayout(
            f"the form of {empty[0]!r}, an empty list, cannot be told: {describe_item(item)}. If it holds COCO "
            f"annotations beside the image, pass {_COCO}; else another layout="
        )


def _targets(item: Any) -> Iterator[tuple[Key | None, Any]]:
    """Yield what may be a target, with its key."""
    fields = dict(iter_fields(item))
    names = _TARGET_KEYS if isinstance(item, Mapping) else fields
    for key in names:
        value = fields.get(key)
        if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            yield key, value
    if isinstance(item, Mapping):
        yield None, item


def _box_key(fields: Mapping[Key, Any], *, rows: bool) -> Key | None:
    return next((k for k in _BOX_KEYS if k in fields and (rows or _is_boxes(fields[k]))), None)


def _is_boxes(value: Any) -> bool:
    if isinstance(value, np.ndarray | Tensor):
        return 0 in value.shape or (value.ndim == 2 and value.shape[1] >= 4)
    return isinstance(value, list | tuple) and all(_length(box) == 4 for box in value)


def _is_mask(value: Any, size: tuple[int, int] | None) -> bool:
    return containers.is_spatial(value) and containers.is_mask_like(value) and containers.spatial_size(value) == size


def _format(boxes: Any, key: Key, target: Key | None, *, rows: bool) -> BoxFormat:
    """Return what the boxes' format is by convention: COCO's in annotations, torchvision's where they say `boxes`."""
    if rows or target == "objects":
        return "xywh"
    if key == "boxes" or hasattr(boxes, "canvas_size"):
        return "xyxy"
    raise AmbiguousLayout(f"the format of {key!r} cannot be told. {_REMEDY}")


def _length(value: Any) -> int | None:
    """Return how many entries a column has; None if it is none."""
    if isinstance(value, np.ndarray | Tensor):
        return len(value) if value.ndim else None
    return len(value) if isinstance(value, list | tuple) else None
