"""Calls the user's `transform=` on a whole item in the way its library expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor

from inout_aug.layout import Fields, Layout, get_field, replace_fields

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
        on: "image" calls it with the image alone, "item" with the whole item, "auto" decides as above.

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
        self._call = self._choose(on)

    def __call__(self, item: Any) -> Any:
        """Return the transformed item."""
        return self._call(item)

    def _choose(self, on: TransformOn) -> Callable[[Any], Any]:
        if on == "item":
            return self._on_item
        if not isinstance(self.layout, Fields):
            if on == "image":
                raise TypeError(
                    "with a layout of your own, transform= is called with the whole item: transform_on='item'"
                )
            return self._on_item
        if on == "image":
            return self._on_image
        modules = {kind.__module__ for kind in type(self.transform).__mro__}
        if any(module.split(".")[0] == "albumentations" for module in modules):
            return self._albumentations
        if any(module.startswith("torchvision.transforms.v2") for module in modules):
            return self._torchvision_v2
        if self.layout.mask is None and isinstance(self.layout.image, int):
            return self._on_image
        raise TypeError(
            f"transform= is a plain {type(self.transform).__name__}: whether to call it with the image or with the "
            "whole item cannot be told. Pass transform_on='image' or 'item', or use an albumentations or torchvision "
            "v2 transform, which move image and mask together"
        )

    def _on_item(self, item: Any) -> Any:
        return self.transform(item)

    def _on_image(self, item: Any) -> Any:
        key = self._fields.image
        return replace_fields(item, {key: self.transform(get_field(item, key))})

    def _albumentations(self, item: Any) -> Any:
        fields = self._fields
        parts = {"image": np.asarray(get_field(item, fields.image))}
        if fields.mask is not None:
            parts["mask"] = np.asarray(get_field(item, fields.mask))
        if isinstance(get_field(item, fields.image), Tensor):
            raise TypeError(
                "albumentations takes numpy images (H, W, C), but the dataset gives tensors. Take ToTensor out of the "
                "dataset and end the albumentations pipeline with ToTensorV2"
            )
        result: Mapping[str, Any] = self.transform(**parts)
        new = {fields.image: result["image"]}
        if fields.mask is not None:
            new[fields.mask] = result["mask"]
        return replace_fields(item, new)

    def _torchvision_v2(self, item: Any) -> Any:
        fields = self._fields
        image = get_field(item, fields.image)
        if fields.mask is None:
            return replace_fields(item, {fields.image: self.transform(image)})
        from torchvision import tv_tensors

        mask = get_field(item, fields.mask)
        if isinstance(mask, PILImage.Image | np.ndarray):
            wrapped = tv_tensors.Mask(torch.from_numpy(np.array(mask)))
        else:
            wrapped = mask if isinstance(mask, tv_tensors.Mask) else tv_tensors.Mask(mask)
        image, moved = self.transform(image, wrapped)
        if not isinstance(mask, tv_tensors.Mask):
            moved = moved.as_subclass(Tensor)
        return replace_fields(item, {fields.image: image, fields.mask: moved})

    @property
    def _fields(self) -> Fields:
        if not isinstance(self.layout, Fields):
            raise TypeError("only a Fields layout says where the image is")
        return self.layout
