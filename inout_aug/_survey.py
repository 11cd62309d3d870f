"""What is found out about a dataset before it is wrapped, from a few of its items."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, IterableDataset, Subset

from inout_aug.containers import Denormalize
from inout_aug.detection import find_detection
from inout_aug.layout import AmbiguousLayout, Fields, Key, Layout, describe_item, infer_layout

# real samples of each kind that are looked at
_WITNESSES = 12


def first_item(dataset: Any) -> Any:
    """Return the first item of a dataset.

    Raises:
        TypeError: It is no dataset, or none that can be wrapped.
        ValueError: It is empty.
    """
    if isinstance(dataset, IterableDataset):
        items = list(itertools.islice(dataset, 1))
        if items and iter(dataset) is iter(dataset):
            raise TypeError(
                f"{type(dataset).__name__} can be iterated once only, and looking at its first item would lose it. Let "
                "__iter__ start anew"
            )
    elif isinstance(dataset, Mapping):
        raise TypeError(f"{type(dataset).__name__} maps names to datasets, it seems: pick one, as dataset['train']")
    elif not hasattr(dataset, "__getitem__"):
        raise TypeError(f"a dataset is indexable or an IterableDataset; got {type(dataset).__name__}")
    elif not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{type(dataset).__name__} has no __len__, so a ratio of it is not defined. Add __len__, take a "
            "torch.utils.data.Subset of it, or make it an IterableDataset"
        )
    else:
        items = [dataset[0]] if len(dataset) else []
    if not items:
        raise ValueError("the dataset is empty")
    return items[0]


def read_layout(
    item: Any, mask_value: int | None, denormalize: Denormalize | None, defaults: Mapping[Key, Any] | None
) -> Layout:
    """Return how an item can be read.

    Raises:
        AmbiguousLayout: In more than one way, or in none.
        ValueError: `mask_value` was given for items with boxes.
    """
    detection = find_detection(item, denormalize=denormalize, defaults=defaults)
    if detection is None:
        return infer_layout(item, mask_value=mask_value, denormalize=denormalize, defaults=defaults)
    if mask_value is not None:
        raise ValueError("mask_value= is for masks of classes, but the items have boxes")
    return detection


def highest_class(layout: Layout, items: Sequence[Any]) -> int:
    """Return the highest defect class in the masks of items, 0 without masks."""
    masks = (layout.unpack(item).mask for item in items)
    return max((int(mask.max()) for mask in masks if mask is not None), default=0)


def witnesses(dataset: Any, where: NDArray[np.bool_]) -> list[Any]:
    """Return a few of the items at the places that are True, evenly spread, the first one among them."""
    indices = np.flatnonzero(where)
    step = max(1, -(-len(indices) // _WITNESSES))
    return [dataset[int(index)] for index in indices[::step]]


def refuse_normalize(dataset: Any, denormalize: Denormalize | None) -> None:
    """Raise if a transform inside the dataset shows that it normalises: values alone may not tell."""
    inside = dataset.datasets if isinstance(dataset, ConcatDataset) else []
    for part in [dataset.dataset] if isinstance(dataset, Subset) else inside:
        refuse_normalize(part, denormalize)
    for name in ("transform", "transforms"):
        if denormalize is None and "Normalize(" in repr(getattr(dataset, name, None)):
            raise ValueError(
                f"the dataset's own {name} normalises its images, and defects are painted on pixels. Take the "
                "transform out of the dataset and pass it as transform=, which runs after the defects are in; or pass "
                "denormalize=(mean, std)"
            )


def check_same_layout(normal: Layout, positive: Layout, first: Any, witness: Any) -> None:
    """Raise if defective items have another form than the first one, as where only they have a mask."""
    keys = [(layout.image, layout.mask, layout.label) for layout in (normal, positive) if isinstance(layout, Fields)]
    if len(set(keys)) > 1 or type(normal) is not type(positive):
        raise AmbiguousLayout(
            f"items have different forms: {describe_item(first)} and {describe_item(witness)}. Return a mask of zeros "
            "for normal samples, or say which fields count with layout=Fields(image=..., mask=..., label=...)"
        )
