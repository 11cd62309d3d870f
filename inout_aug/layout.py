"""The user's items <-> `Sample`: which part of a tuple, dict or dataclass is the image, the mask and the label."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from torch.utils.data import Subset

from inout_aug import containers
from inout_aug.containers import Denormalize
from inout_aug.sample import Mask, Sample

Key: TypeAlias = int | str

# the names used by torchvision, albumentations, anomalib, Hugging Face datasets, segmentation-models and webdataset
IMAGE_KEYS = ("image", "img", "pixel_values", "input", "inputs", "jpg", "jpeg", "png", "webp")
MASK_KEYS = ("mask", "gt_mask", "masks", "segmentation_mask", "label_mask", "annotation", "labels", "label", "target")
LABEL_KEYS = ("label", "labels", "gt_label", "target", "class", "class_id", "class_label", "is_anomaly", "y", "cls")

_PLAIN = (str, bytes, int, float, complex, type(None), PurePath, np.generic)

_REMEDY = (
    "Say which is which with layout=Fields(image=..., mask=..., label=...), or give an object with unpack and pack"
)


class AmbiguousLayout(TypeError):
    """An item can be read in more than one way, or in none."""


@runtime_checkable
class Layout(Protocol):
    """Reads and writes the items of one dataset. Implement these two methods to wrap a dataset of any form."""

    def unpack(self, item: Any) -> Sample:
        """Return the item as a `Sample`."""
        ...

    def pack(self, sample: Sample, like: Any) -> Any:
        """Return a new item that holds `sample`, in the form of `like`.

        `like` is the host's item if `sample.origin.host` is not None, else any item of the dataset. Left as it is.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A layout by position in a tuple or list, by key of a mapping, or by attribute of a dataclass.

    Whatever is not named is kept: a synthetic item has its host's other fields, or the declared defaults.

    Attributes:
        image: Where the image is.
        mask: Where the mask is; None if there is none.
        label: Where the class label is; None if there is none: then a sample with foreground has label 1.
        mask_value: What stands for a defect in masks: 1 if they hold class ids, else the one value, as 255. None lets
            wrapping find out from the dataset's real masks.
        ignore_value: A mask value that is neither background nor defect, as 255 in class-id masks; None for none.
        denormalize: (mean, std) of float images that the dataset has normalised already.
        defaults: Values of other fields in synthetic items.

    Example:
        >>> import numpy as np
        >>> layout = Fields(image="image", label="label", defaults={"path": ""})
        >>> item = {"image": np.zeros((32, 32, 3), np.uint8), "label": 0, "path": "a.png"}
        >>> layout.pack(layout.unpack(item), item)["path"]
        ''
    """

    image: Key
    mask: Key | None = None
    label: Key | None = None
    mask_value: int | None = None
    ignore_value: int | None = None
    denormalize: Denormalize | None = None
    defaults: Mapping[Key, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mask is None and self.label is None:
            raise ValueError(
                "Fields needs a mask or a label, else a synthetic positive could not be told from a normal"
            )
        if self.mask_value is not None and self.mask_value not in range(1, 256):
            raise ValueError(f"mask_value is 1 (class ids) or the one value of defects; got {self.mask_value!r}")

    def unpack(self, item: Any) -> Sample:
        """Return the item as a `Sample`; what can go wrong is told by `containers`."""
        image = containers.decode_image(get_field(item, self.image), self.denormalize)
        mask = None if self.mask is None else self._decode_mask(get_field(item, self.mask))
        if self.label is None:
            label = int(mask is not None and mask.any())
        else:
            label = containers.decode_label(get_field(item, self.label))
        return Sample(image, mask, label)

    def shared(self, item: Any) -> Any | None:
        """Return a host's item to be drawn itself as well as painted on, with its image converted once for both.

        None if a transform that changes one in place could change the other: if any part but the image and the mask,
        which synthetic items have of their own, is mutable.
        """
        parts = (self.image, self.mask)
        if not all(key in parts or isinstance(value, _PLAIN) for key, value in iter_fields(item)):
            return None
        image = get_field(item, self.image)
        seen = containers.with_array(image)
        return item if seen is image else replace_fields(item, {self.image: seen})

    def pack(self, sample: Sample, like: Any) -> Any:
        """Return an item like `like` with the sample's image, mask and label."""
        painted = sample.mask if sample.origin.host is not None else None
        new: dict[Key, Any] = dict(self.defaults)
        new[self.image] = containers.encode_image(sample.image, get_field(like, self.image), self.denormalize, painted)
        if self.mask is not None:
            if sample.mask is None:
                raise ValueError(
                    f"{sample.origin.generator} gave no mask, but the dataset has masks. Use a generator that makes "
                    "masks, or a layout without mask="
                )
            new[self.mask] = self._encode_mask(sample, get_field(like, self.mask))
        if self.label is not None:
            new[self.label] = containers.encode_label(sample.label, get_field(like, self.label))
        return replace_fields(like, new)

    def _decode_mask(self, value: Any) -> Mask:
        if self.ignore_value is None:
            return containers.decode_mask(value, self.mask_value or 1)
        array = containers.mask_array(value)
        return containers.decode_mask(np.where(array == self.ignore_value, 0, array), self.mask_value or 1)

    def _encode_mask(self, sample: Sample, like: Any) -> Any:
        encoded = containers.encode_mask(cast(Mask, sample.mask), like, self.mask_value or 1)
        if self.ignore_value is None or sample.origin.host is None:
            return encoded
        ignored = (containers.mask_array(like) == self.ignore_value) & (sample.mask == 0)
        values = np.where(ignored, self.ignore_value, containers.mask_array(encoded)).astype(np.uint8)
        return containers.encode_mask(values, like, 1)


def infer_layout(
    item: Any,
    *,
    mask_value: int | None = None,
    denormalize: Denormalize | None = None,
    defaults: Mapping[Key, Any] | None = None,
) -> Fields:
    """Return the layout of an item, if it can be read in one way only.

    Tuples and lists begin with the image; a mask is an array of the image's size, a label a single number. Mappings and
    dataclasses use one of `IMAGE_KEYS`, and of `MASK_KEYS` and `LABEL_KEYS` where the value fits.

    Args:
        item: Any item of the dataset.
        mask_value: As for `Fields`.
        denormalize: As for `Fields`.
        defaults: As for `Fields`.

    Raises:
        AmbiguousLayout: It has no image, neither mask nor label, or several candidates for one of them.

    Example:
        >>> import numpy as np
        >>> infer_layout((np.zeros((32, 32, 3), np.uint8), 0)).label
        1
    """
    fields = dict(iter_fields(item))
    if isinstance(item, Mapping) or dataclasses.is_dataclass(item):
        images: list[Key] = [k for k in IMAGE_KEYS if containers.is_spatial(fields.get(k))]
        mask_keys: tuple[Key, ...] = MASK_KEYS
        label_keys: tuple[Key, ...] = LABEL_KEYS
    else:
        images = [0] if containers.is_spatial(fields.get(0)) else []
        mask_keys = label_keys = tuple(fields)
    image = _the_only("image", images, fields)
    if image is None:
        raise AmbiguousLayout(f"no image found in {_describe(fields)}. {_REMEDY}")
    size = containers.spatial_size(fields[image])
    others = [k for k in mask_keys if k != image and containers.is_spatial(fields.get(k))]
    masks = [k for k in others if containers.is_mask_like(fields[k])]
    if len(masks) < len(others) and not isinstance(item, Mapping):
        raise AmbiguousLayout(f"several images in {_describe(fields)}. {_REMEDY}")
    labels = [k for k in label_keys if k != image and containers.is_scalar(fields.get(k))]
    mask, label = _the_only("mask", masks, fields), _the_only("label", labels, fields)
    if mask is None and label is None:
        raise AmbiguousLayout(f"neither mask nor label found in {_describe(fields)}. {_REMEDY}")
    if mask is not None and containers.spatial_size(fields[mask]) != size:
        raise AmbiguousLayout(
            f"the image has size {size}, but what looks like its mask has {containers.spatial_size(fields[mask])}. "
            f"Resize them together, masks with nearest neighbour, in transform=. {_REMEDY}"
        )
    if unknown := set(defaults or {}) - set(fields):
        raise AmbiguousLayout(f"defaults= names {sorted(map(str, unknown))}, but an item is {_describe(fields)}")
    return Fields(
        image=image,
        mask=mask,
        label=label,
        mask_value=mask_value,
        denormalize=denormalize,
        defaults=defaults or {},
    )


def declared_layout(dataset: Any) -> Layout | None:
    """Return the layout that a dataset declares as its attribute `layout`, also through a Subset; None without one."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    layout = getattr(dataset, "layout", None)
    return layout if isinstance(layout, Layout) else None


def with_mask_value(layout: Layout, items: Sequence[Any]) -> Layout:
    """Return the layout with the mask convention that items, defective ones if there are any, show.

    Raises:
        ValueError: They do not show it.
    """
    if not isinstance(layout, Fields) or layout.mask is None or layout.mask_value is not None:
        return layout
    masks = [containers.mask_array(get_field(item, layout.mask)) for item in items]
    if layout.ignore_value is not None:
        masks = [np.where(mask == layout.ignore_value, 0, mask).astype(mask.dtype) for mask in masks]
    value = containers.mask_convention(masks)
    if value is None:
        raise ValueError(
            "all masks seen are empty, so whether a defect pixel is 1 or 255 cannot be told. Pass mask_value=1 or "
            "mask_value=255"
        )
    return replace(layout, mask_value=value)


def iter_fields(item: Any) -> Iterator[tuple[Key, Any]]:
    """Yield (key, value) of a tuple, list, mapping or dataclass.

    Raises:
        AmbiguousLayout: `item` is none of these.
    """
    if isinstance(item, Mapping):
        yield from item.items()
    elif isinstance(item, tuple | list):
        yield from enumerate(item)
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        yield from ((f.name, getattr(item, f.name)) for f in dataclasses.fields(item))
    else:
        raise AmbiguousLayout(f"an item is a tuple, list, mapping or dataclass; got {type(item).__name__}. {_REMEDY}")


def get_field(item: Any, key: Key) -> Any:
    """Return one field of an item.

    Raises:
        AmbiguousLayout: The item has no such field.
    """
    try:
        return getattr(item, str(key)) if dataclasses.is_dataclass(item) else item[key]
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise AmbiguousLayout(f"no field {key!r} in {_describe(dict(iter_fields(item)))}. {_REMEDY}") from error


def replace_fields(item: Any, new: Mapping[Key, Any]) -> Any:
    """Return a copy of an item with some fields replaced; the other fields are shared."""
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return dataclasses.replace(item, **{str(key): value for key, value in new.items()})
    if isinstance(item, Mapping):
        copied: Any = copy.copy(item)
        for key, value in new.items():
            copied[key] = value
        return copied
    values = [new.get(position, value) for position, value in enumerate(item)]
    return type(item)._make(values) if hasattr(item, "_make") else type(item)(values)


def describe_item(item: Any) -> str:
    """Return an item's fields with their types and shapes, for messages."""
    return _describe(dict(iter_fields(item)))


def _the_only(role: str, found: list[Any], fields: Mapping[Key, Any]) -> Key | None:
    if len(found) > 1:
        raise AmbiguousLayout(f"{found} may each be the {role} in {_describe(fields)}. {_REMEDY}")
    return found[0] if found else None


def _describe(fields: Mapping[Key, Any]) -> str:
    def one(value: Any) -> str:
        shape = getattr(value, "shape", None) or getattr(value, "size", None)
        return type(value).__name__ + (f"{tuple(shape)}" if isinstance(shape, tuple) else "")

    return "{" + ", ".join(f"{key!r}: {one(value)}" for key, value in fields.items()) + "}"
