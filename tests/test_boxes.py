from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from torchvision import tv_tensors
from torchvision.ops import box_convert

from inout_aug.boxes import FORMATS, append, append_boxes, boxes_of, pieces
from inout_aug.outlines import Instance

SIZE = (20, 30)
FOUND = [Instance(1, 3, 4, np.ones((2, 5), bool)), Instance(2, 29, 19, np.ones((1, 1), bool))]
CORNERS = [[3, 4, 8, 6], [29, 19, 30, 20]]
MASKS = arrays.arrays(np.uint8, (9, 11), elements=st.sampled_from([0, 0, 1, 2])).filter(lambda mask: mask.any())


@given(MASKS, st.integers(1, 20))
def test_pieces_are_those_large_enough_else_a_largest_one(mask: Any, min_pixels: int) -> None:
    areas = []
    for kind in (1, 2):
        labels, count = ndimage.label(mask == kind, np.ones((3, 3)))
        areas += [(kind, int(area)) for area in ndimage.sum_labels(mask == kind, labels, range(1, count + 1))]
    largest = max(area for _, area in areas)
    kept = [(piece.defect_class, piece.area) for piece in pieces(mask, min_pixels)]
    if largest >= min_pixels:
        assert sorted(kept) == sorted(part for part in areas if part[1] >= min_pixels)
    else:
        assert len(kept) == 1
        assert kept[0] in areas
        assert kept[0][1] == largest


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_all_formats_tell_the_same_boxes(height: int, width: int, data: Any) -> None:
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    found = [Instance(1, left, top, np.ones((bottom - top, right - left), bool))]
    for box_format in FORMATS:
        boxes = torch.from_numpy(boxes_of(found, box_format, (height, width)))
        if box_format == "yolo":
            assert 0 <= boxes.min() <= boxes.max() <= 1
            boxes, box_format = boxes * torch.tensor([width, height, width, height]), "cxcywh"
        np.testing.assert_allclose(box_convert(boxes, box_format, "xyxy"), [[left, top, right, bottom]], atol=1e-9)


@pytest.mark.parametrize("box_format", FORMATS)
def test_no_defects_are_no_boxes(box_format: Any) -> None:
    assert boxes_of([], box_format, SIZE).shape == (0, 4)
    old = torch.ones(2, 4)
    assert torch.equal(append_boxes(old, [], box_format, SIZE), old)


@pytest.mark.parametrize("old", [torch.zeros(1, 4), np.zeros((1, 4), np.float32), [[0.0] * 4], ((0.0,) * 4,), []])
@pytest.mark.parametrize("box_format", FORMATS)
def test_new_boxes_come_last_in_the_container_and_type_of_the_old_ones(old: Any, box_format: Any) -> None:
    before = str(old)
    joined = append_boxes(old, FOUND, box_format, SIZE)
    assert type(joined) is type(old)
    assert getattr(joined, "dtype", None) == getattr(old, "dtype", None)
    np.testing.assert_allclose(joined[len(old) :], boxes_of(FOUND, box_format, SIZE), rtol=1e-6)
    assert len(joined) == len(old) + 2
    assert str(old) == before


@pytest.mark.parametrize("kind", list(tv_tensors.BoundingBoxFormat))
@pytest.mark.parametrize("count", [0, 3])
def test_bounding_boxes_keep_their_own_format(kind: Any, count: int) -> None:
    columns = {"XYXYXYXY": 8, "XYWHR": 5, "CXCYWHR": 5}.get(kind.name, 4)
    old = tv_tensors.BoundingBoxes(torch.ones(count, columns, dtype=torch.float64), format=kind, canvas_size=SIZE)
    joined = append_boxes(old, FOUND, "yolo", SIZE)  # a format that is said is that of plain containers
    assert isinstance(joined, tv_tensors.BoundingBoxes)
    assert (joined.format, joined.canvas_size, joined.dtype) == (kind, SIZE, torch.float64)
    assert len(joined) == count + 2
    new = joined.as_subclass(torch.Tensor)[count:]
    if columns == 8:
        corners = new.reshape(2, 4, 2)
        assert torch.cat([corners.amin(1), corners.amax(1)], 1).tolist() == CORNERS
    else:
        assert box_convert(new[:, :4], kind.name.removesuffix("R").lower(), "xyxy").tolist() == CORNERS
        assert not new[:, 4:].any()


def test_boxes_of_another_canvas_are_refused() -> None:
    old = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=SIZE[::-1])
    with pytest.raises(ValueError, match=r"canvas_size=\(30, 20\), but the image has \(20, 30\)"):
        append_boxes(old, FOUND, "xyxy", SIZE)


@pytest.mark.parametrize("old", [np.zeros((0, 4), np.int64), torch.zeros((0, 4), dtype=torch.int32)])
def test_shares_do_not_fit_whole_numbers(old: Any) -> None:
    with pytest.raises(ValueError, match=r"shares of the image's sides; got .*int.*float"):
        append_boxes(old, FOUND, "yolo", SIZE)
    assert append_boxes(old, FOUND, "xyxy", SIZE).tolist() == CORNERS


@pytest.mark.parametrize("new", [np.array([3, 300]), np.array([True, False]), np.ones((2, *SIZE), np.uint8)])
def test_an_empty_column_without_a_type_takes_that_of_what_comes(new: Any) -> None:
    for old in (torch.tensor([]), np.array([])):
        joined = append(old, new)
        assert type(joined) is type(old)
        assert str(joined.dtype).removeprefix("torch.") == str(new.dtype)
        assert joined.tolist() == new.tolist()


@pytest.mark.parametrize("dtype", ["int16", "float32", "bool", "uint8"])
def test_a_typed_column_keeps_its_type(dtype: str) -> None:
    new = np.array([1, 1])
    for old in (np.ones(3, dtype), torch.ones(3, dtype=getattr(torch, dtype))):
        joined = append(old, new)
        assert joined.dtype == old.dtype
        assert joined.tolist() == [1] * 5
    masks = append(tv_tensors.Mask(torch.zeros((0, *SIZE), dtype=torch.bool)), np.ones((2, *SIZE), np.uint8))
    assert (type(masks), masks.dtype, masks.shape) == (tv_tensors.Mask, torch.bool, (2, *SIZE))


def test_masks_in_a_list_stay_arrays() -> None:
    new = np.ones((2, *SIZE), np.uint8)
    joined = append([new[0] * 0], new)
    assert [type(mask) for mask in joined] == [np.ndarray] * 3
    assert append((7,), np.array([8, 9])) == (7, 8, 9)
