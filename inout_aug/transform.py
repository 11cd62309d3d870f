"""Calls the user's `transform=` on a whole item in the way its library expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from inout_aug.containers import mask_array
from inout_aug.layout import AmbiguousLayout, Fields, Layout, get_field, replace_fields
from inout_aug.sample import Mask

# modules and classes of transforms that leave every pixel in the picture
_WHOLE = tuple(
    f"torchvision.transforms.v2._{name}"
    for name in (
        "color.",
        "type_conversion.",
        "misc.ToDtype",
        "misc.Normalize",
        "misc.GaussianBlur",
        "geometry.RandomHorizontalFlip",
        "geometry.RandomVerticalFlip",
    )
)

Transform: TypeAlias = Callable[..., Any]
TransformOn: TypeAlias = Literal["auto", "image", "item"]


class ItemTransform:
    """A user's transform as a function of the whole item.

    An albumentations transform is called with `image=` and `mask=`; a torchvision v2 transform with the image and a
    `tv_tensors.Mask`, so that both move together; any other callable with the image, which is the usual thing where
    there is no mask.

    Args:
        transform: What the user passed.
        layout: How the dataset's items are read.
        on: "image" calls it with the image alone, which moves no mask; "item" with the whole item; "auto" decides as
            above.

    Raises:
        TypeError: "auto" would have to guess: a plain callable, where the items have masks or are no tuples.
    """

    def __init__(self, transform: Transform, layout: Layout, on: TransformOn = "auto") -> None:
        if not callable(transform):
            raise TypeError(f"transform must be callable; got {type(transform).__name__}")
        if on not in ("auto", "image", "item"):
            raise ValueError(f"transform_on must be 'auto', 'image' or 'item'; got {on!r}")
        self.transform = transform
        self.layout = layout
        self.on = on
        self._may_lose = _may_lose_pixels(transform)
        self._call = self._choose(on)

    def __call__(self, item: Any, defect: Mask | None = None) -> tuple[Any, Any]:
        """Transform an item.

        Args:
            item: As the dataset gives it.
            defect: Where a synthetic item's defect is, uint8 (H, W).

        Returns:
            The transformed item, and its mask, or, where items have none, the defect's: moved with the image by a
            library that can, if the transform may cut it off, else None.
        """
        return self._call(item, defect)

    def _choose(self, on: TransformOn) -> Callable[[Any, Mask | None], tuple[Any, Any]]:
        if on == "item":
            return self._on_item
        modules = {kind.__module__ for kind in type(self.transform).__mro__}
        is_albumentations = any(module.split(".")[0] == "albumentations" for module in modules)
        if not isinstance(self.layout, Fields):
            if on == "image":
                raise TypeError("with boxes or a layout of your own, a transform gets whole items: transform_on='item'")
            return self._on_keywords if is_albumentations else self._on_item
        if on == "image":
            return self._on_image
        if is_albumentations:
            return self._albumentations
        if any(module.startswith("torchvision.transforms.v2") for module in modules):
            return self._torchvision_v2
        if self.layout.mask is None and isinstance(self.layout.image, int):
            return self._on_image
        raise TypeError(
            f"transform= is a plain {type(self.transform).__name__}: whether to call it with the image or with the "
            "whole item cannot be told. Use an albumentations or torchvision v2 transform, which move image and mask "
            "together, or pass transform_on='image' or 'item'"
        )

    def _on_item(self, item: Any, defect: Mask | None) -> tuple[Any, Any]:
        moved = self.transform(item)
        if not isinstance(self.layout, Fields) or self.layout.mask is None:
            return moved, None
        try:
            return moved, get_field(moved, self.layout.mask)
        except AmbiguousLayout:  # it renames or drops fields, as it may
            return moved, None

    def _on_keywords(self, item: Any, defect: Mask | None) -> tuple[Any, Any]:
        if not isinstance(item, Mapping):
            raise TypeError(
                f"an albumentations transform takes a mapping as its keywords, image=, bboxes= and so on; items are "
                f"{type(item).__name__}s. Return such dicts, or pass a function of the item with transform_on='item'"
            )
        return self.transform(**item), None

    def _on_image(self, item: Any, defect: Mask | None) -> tuple[Any, Any]:
        fields = self._fields
        moved = replace_fields(item, {fields.image: self.transform(get_field(item, fields.image))})
        return moved, None if fields.mask is None else get_field(moved, fields.mask)

    def _albumentations(self, item: Any, defect: Mask | None) -> tuple[Any, Any]:
        fields = self._fields
        image = get_field(item, fields.image)
        if isinstance(image, Tensor):
            raise TypeError(
                "albumentations takes numpy images (H, W, C), but the dataset gives tensors. Take ToTensor out of the "
                "dataset and end the albumentations pipeline with ToTensorV2"
            )
        parts = {"image": np.asarray(image)}
        if fields.mask is not None:
            parts["mask"] = mask_array(get_field(item, fields.mask))
        elif defect is not None:
            parts["mask"] = defect
        result: Mapping[str, Any] = self.transform(**parts)
        new = {fields.image: result["image"]}
        if fields.mask is not None:
            new[fields.mask] = result["mask"]
        return replace_fields(item, new), result.get("mask")

    def _torchvision_v2(self, item: Any, defect: Mask | None) -> tuple[Any, Any]:
        from torchvision import tv_tensors

        fields = self._fields
        image = get_field(item, fields.image)
        mask = get_field(item, fields.mask) if fields.mask is not None else defect if self._may_lose else None
        if mask is None:
            return replace_fields(item, {fields.image: self.transform(image)}), None
        if isinstance(image, np.ndarray):  # which v2 would leave as it is while the mask moves
            image = tv_tensors.Image(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
        if not isinstance(mask, Tensor):
            array = mask_array(mask)
            mask = torch.from_numpy(array if array.flags.writeable else array.copy())
        wrapped = mask if isinstance(mask, tv_tensors.Mask) else tv_tensors.Mask(mask)
        image, moved = self.transform(image, wrapped)
        if not isinstance(mask, tv_tensors.Mask):
            moved = moved.as_subclass(Tensor)
        new = {fields.image: image}
        if fields.mask is not None:
            new[fields.mask] = moved
        return replace_fields(item, new), moved

    @property
    def _fields(self) -> Fields:
        if not isinstance(self.layout, Fields):
            raise TypeError("only a Fields layout says where the image is")
        return self.layout


def _may_lose_pixels(transform: Any) -> bool:
    """Return whether a torchvision v2 transform may cut a part off the picture; true of what is not known."""
    parts = getattr(transform, "transforms", None)
    if isinstance(parts, Sequence):
        return any(_may_lose_pixels(part) for part in parts)
    kind = type(transform)
    return not f"{kind.__module__}.{kind.__name__}".startswith(_WHOLE)
