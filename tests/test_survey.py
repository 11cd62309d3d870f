"""What is found out about a dataset from a few of its items."""

from __future__ import annotations

from collections import OrderedDict, UserDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, random_split
from torchvision.transforms import v2

from inout_aug._survey import (
    check_same_layout,
    first_item,
    highest_class,
    read_layout,
    refuse_normalize,
    witnesses,
)
from inout_aug.detection import Detection
from inout_aug.layout import AmbiguousLayout, Fields
from support import Parts, normal_image


class Noting(Dataset):
    """Its items are their indices, which it writes down."""

    def __init__(self, length: int = 100) -> None:
        self.length, self.read = length, list[int]()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: Any) -> int:
        assert type(index) is int  # what some datasets ask for
        self.read.append(index)
        return index


class Rows(IterableDataset):
    def __init__(self, make: Any) -> None:
        self.make = make

    def __iter__(self) -> Any:
        return self.make()


def test_the_first_item_costs_one_read() -> None:
    noting = Noting()
    assert first_item(noting) == 0
    assert noting.read == [0]
    assert first_item([7, 8]) == first_item(np.array([7, 8])) == 7
    assert first_item(Rows(lambda: iter([7, 8]))) == 7


def test_an_endless_stream_is_read_once() -> None:
    read = []

    def endless() -> Any:
        while True:
            read.append(len(read))
            yield len(read)

    assert first_item(Rows(endless)) == 1
    assert read == [0]


once = iter([1, 2])


@pytest.mark.parametrize(
    ("dataset", "error", "what"),
    [
        (Rows(lambda: once), TypeError, "once only"),
        (Rows(lambda: iter([])), ValueError, "empty"),
        ([], ValueError, "empty"),
        (OrderedDict(train=[1]), TypeError, r"dataset\['train'\]"),
        (UserDict(train=[1]), TypeError, r"dataset\['train'\]"),
        ((row for row in [1]), TypeError, "indexable or an IterableDataset; got generator"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_what_is_no_dataset_is_refused(dataset: Any, error: type[Exception], what: str) -> None:
    with pytest.raises(error, match=what):
        first_item(dataset)


@given(arrays.arrays(bool, st.integers(0, 300)))
def test_witnesses_are_few_and_evenly_spread(where: Any) -> None:
    noting = Noting(len(where))
    read = witnesses(noting, where)
    assert read == noting.read
    turns = np.searchsorted(np.flatnonzero(where), read)
    assert where[read].all()
    assert list(turns) == list(range(0, np.count_nonzero(where), turns[1] if len(turns) > 1 else len(where) + 1))
    assert min(np.count_nonzero(where), 7) <= len(read) <= 12


@given(st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=5))
def test_the_highest_class_is_that_of_any_mask(classes: list[int | None]) -> None:
    def item(kind: int | None) -> Any:
        mask = np.zeros((16, 16), np.uint8)
        mask[3:5, 3:5] = kind or 0
        return {"image": np.zeros((16, 16, 3), np.uint8), "mask": mask, "label": 0}

    items = [item(kind) for kind in classes]
    masked = Fields(image="image", mask="mask", label="label", mask_value=1)
    assert highest_class(masked, items) == max((kind or 0 for kind in classes), default=0)
    assert highest_class(Fields(image="image", label="label"), items) == 0


def test_items_with_boxes_are_told_from_others() -> None:
    boxed = {"image": normal_image(0), "boxes": torch.zeros(0, 4), "labels": torch.zeros(0)}
    assert isinstance(read_layout(boxed, None, None, {"boxes": 1}), Detection)
    with pytest.raises(ValueError, match="items have boxes"):
        read_layout(boxed, 255, None, None)
    assert read_layout((normal_image(0), 0), 255, (0.5, 0.5), {1: 3}) == Fields(
        image=0, label=1, mask_value=255, denormalize=(0.5, 0.5), defaults={1: 3}
    )


NORMALIZE = v2.Compose([v2.ToImage(), v2.Normalize([0.5], [0.5])])


def normalising(name: str) -> Parts:
    parts = Parts(10)
    setattr(parts, name, NORMALIZE)
    return parts


@pytest.mark.parametrize("name", ["transform", "transforms"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda parts: parts,
        lambda parts: Subset(parts, [0, 1]),
        lambda parts: random_split(Subset(parts, range(8)), [4, 4])[1],
        lambda parts: ConcatDataset([Parts(3), Subset(parts, [0])]),
    ],
)
def test_a_transform_that_normalises_is_found_wherever_it_is(name: str, wrap: Any) -> None:
    dataset = wrap(normalising(name))
    with pytest.raises(ValueError, match=f"own {name} normalises.*denormalize="):
        refuse_normalize(dataset, None)
    refuse_normalize(dataset, (0.5, 0.5))
    refuse_normalize(wrap(Parts(10)), None)


def test_forms_that_differ_are_shown() -> None:
    plain, masked = Fields(image=0, label=1), Fields(image=0, label=1, mask=2, mask_value=255)
    first, other = (normal_image(0), 0), (normal_image(0), 1, normal_image(0)[..., 0])
    check_same_layout(masked, Fields(image=0, label=1, mask=2), other, other)  # the value of masks is found out later
    with pytest.raises(AmbiguousLayout, match=r"\{0: ndarray\(24, 32, 3\), 1: int\} and .*2: ndarray\(24, 32\)"):
        check_same_layout(plain, masked, first, other)
    with pytest.raises(AmbiguousLayout, match="different forms"):
        check_same_layout(plain, Detection(image=0, target=1), first, (normal_image(0), {}))
