"""PasteDefect in v2.Compose: whatever a sample holds follows, in its own type."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes
from torchvision.transforms import v2

from inout_aug import NSA, AmbiguousLayout, CutPaste, Fields, MemSegPaste, StrokePaste
from inout_aug._array_image import ArrayImage
from inout_aug.integrations.torchvision import PasteDefect
from support import Square, normal_image

SIZE = (48, 64)
IMAGE = normal_image(0, height=SIZE[0], width=SIZE[1])
TENSOR = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())
IMAGES = {
    "tv_tensor": lambda: tv_tensors.Image(TENSOR.clone()),
    "tv_tensor float": lambda: tv_tensors.Image(TENSOR / 255),
    "half": lambda: (TENSOR / 255).half(),
    "tensor": lambda: TENSOR.clone(),
    "pil": lambda: PILImage.fromarray(IMAGE),
    "array": lambda: IMAGE.copy(),
    "grey": lambda: tv_tensors.Image(TENSOR[:1].clone()),
}


def as_array(image: Any) -> Any:
    if isinstance(image, torch.Tensor):
        return image.as_subclass(torch.Tensor).permute(1, 2, 0).float().numpy()
    return np.asarray(image)


def boxes(box_format: str, count: int = 0) -> tv_tensors.BoundingBoxes:
    rotated = box_format in ("XYWHR", "CXCYWHR", "XYXYXYXY")
    given = [4.0, 4, 8, 8, 0] if rotated else [4.0, 4, 12, 12]
    made = tv_tensors.BoundingBoxes(
        torch.tensor([given] * count).reshape(-1, len(given)), format="XYWHR" if rotated else "XYXY", canvas_size=SIZE
    )
    return v2.functional.convert_bounding_box_format(made, new_format=box_format)


@pytest.mark.parametrize("paster", [MemSegPaste(), CutPaste(), NSA(), StrokePaste()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("with_mask", [True, False])
def test_any_image_with_and_without_a_mask(paster: Any, kind: str, with_mask: bool) -> None:
    transform = pickle.loads(pickle.dumps(v2.Compose([PasteDefect(paster, p=1)])))
    image = IMAGES[kind]()
    before = as_array(IMAGES[kind]())
    item = (image, tv_tensors.Mask(torch.zeros(SIZE, dtype=torch.uint8)), 0) if with_mask else (image, 0)
    out = transform(*item)
    changed = (as_array(out[0]) != before).any(axis=2)
    np.testing.assert_array_equal(as_array(image), before)
    assert changed.any()
    assert type(out[0]) is (ArrayImage if kind == "pil" else type(image))
    assert out[-1] == 1
    if with_mask:
        assert isinstance(out[1], tv_tensors.Mask)
        assert (out[1].numpy()[changed] == 1).all()
        assert getattr(out[0], "dtype", None) == getattr(image, "dtype", None)


@pytest.mark.parametrize("kind", IMAGES)
def test_images_alone(kind: str) -> None:
    image = IMAGES[kind]()
    out = v2.Compose([PasteDefect(Square(), p=1)])(image)
    assert type(out) is (ArrayImage if kind == "pil" else type(image))
    assert (as_array(out) != as_array(image)).any(axis=2).sum() == 64


@pytest.mark.parametrize("box_format", ["XYXY", "XYWH", "CXCYWH", "XYWHR", "XYXYXYXY"])
@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("with_masks", [True, False])
def test_detection_targets(box_format: str, count: int, with_masks: bool) -> None:
    target = {"boxes": boxes(box_format, count), "labels": torch.full((count,), 5), "image_id": 3}
    if with_masks:
        target["masks"] = tv_tensors.Mask(torch.zeros(count, *SIZE, dtype=torch.bool))
    transform = v2.Compose([PasteDefect(Square(), positive_label=2, p=1)])
    image, out = transform(IMAGES["tv_tensor"](), target)
    mask = (as_array(image) != IMAGE).any(axis=2)
    left, top, right, bottom = (masks_to_boxes(torch.from_numpy(mask)[None])[0] + torch.tensor([0, 0, 1, 1])).tolist()
    expected = {
        "XYXY": [left, top, right, bottom],
        "XYWH": [left, top, 8, 8],
        "CXCYWH": [left + 4, top + 4, 8, 8],
        "XYWHR": [left, top, 8, 8, 0],
        "XYXYXYXY": [left, top, right, top, right, bottom, left, bottom],
    }
    torch.testing.assert_close(out["boxes"][-1].as_subclass(torch.Tensor), torch.tensor(expected[box_format]))
    assert (out["boxes"].format.name, out["boxes"].dtype) == (box_format, torch.float32)
    assert out["labels"].tolist() == [5] * count + [2]
    assert out["image_id"] == 3
    assert len(target["labels"]) == count
    if with_masks:
        assert out["masks"].dtype == torch.bool
        np.testing.assert_array_equal(out["masks"][-1].numpy(), mask)


def test_boxes_go_through_what_follows() -> None:
    target = {"boxes": boxes("XYWH"), "labels": torch.zeros(0, dtype=torch.int64)}
    flip = v2.Compose([PasteDefect(Square(), p=1), v2.RandomHorizontalFlip(1.0), v2.SanitizeBoundingBoxes()])
    image, out = flip(IMAGES["tv_tensor"](), target)
    changed = (as_array(image) != IMAGE[:, ::-1]).any(axis=2)
    left, top, width, height = (int(v) for v in out["boxes"][0])
    assert changed.sum() == 64
    assert changed[top : top + height, left : left + width].all()


def test_older_defects_stay_in_the_mask() -> None:
    old = torch.zeros(SIZE, dtype=torch.int64)
    old[:3] = 4
    _, mask = PasteDefect(Square(2), p=1)(IMAGES["tensor"](), tv_tensors.Mask(old))
    assert mask.dtype == torch.int64
    assert set(mask.unique().tolist()) == {0, 2, 4}


def test_other_conventions_take_a_layout() -> None:
    layout = Fields(image="picture", mask="gt", label="y", mask_value=255)
    item = {"picture": IMAGES["pil"](), "gt": PILImage.fromarray(np.zeros(SIZE, np.uint8)), "y": torch.tensor(0)}
    out = PasteDefect(Square(), layout=layout, positive_label={1: 6}, p=1)(item)
    assert np.unique(np.asarray(out["gt"])).tolist() == [0, 255]
    assert out["y"] == torch.tensor(6)


def test_randomness_is_torchs() -> None:
    transform = PasteDefect(MemSegPaste(), p=0.5)

    def draws(seed: int) -> list[Any]:
        torch.manual_seed(seed)
        return [transform(IMAGES["tensor"](), 0) for _ in range(12)]

    first, again, other = draws(1), draws(1), draws(2)
    assert all(torch.equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))
    assert 0 < sum(label for _, label in first) < 12
    assert all(torch.equal(image, TENSOR) for image, label in first if not label)


def test_refused_hosts_are_left_as_they_are() -> None:
    flat = torch.full((3, *SIZE), 90, dtype=torch.uint8)
    image, label = PasteDefect(CutPaste(jitter=0), p=1)(flat, 0)
    assert image is flat
    assert label == 0


def test_bad_input_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match="make_params and apply"):
        PasteDefect("memseg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probability"):
        PasteDefect(Square(), p=-1)
    with pytest.raises(ValueError, match="normalised"):
        PasteDefect(Square(), p=1)(v2.functional.normalize(TENSOR / 255, [0.4] * 3, [0.2] * 3), 0)
    with pytest.raises(AmbiguousLayout, match="layout="):
        PasteDefect(Square(), p=1)(IMAGES["tensor"](), 0, 1)
    small = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=(8, 8))
    with pytest.raises(ValueError, match="canvas_size"):
        PasteDefect(Square(), p=1)(IMAGES["tensor"](), {"boxes": small, "labels": torch.zeros(0)})
