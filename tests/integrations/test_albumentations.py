"""PasteDefect in A.Compose: masks, boxes and labels follow, replays are exact, seeds hold."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from inout_aug import NSA, CutPaste, MemSegPaste, StrokePaste
from inout_aug.boxes import boxes_of
from inout_aug.outlines import instances
from support import Square, normal_image

A = pytest.importorskip("albumentations")
from inout_aug.integrations.albumentations import PasteDefect  # noqa: E402  # after the skip

SIZE = (48, 64)
FORMATS: dict[str, Any] = {"pascal_voc": "xyxy", "coco": "xywh", "yolo": "yolo", "albumentations": None}


def host(dtype: Any = np.uint8, channels: int = 3) -> Any:
    image = normal_image(0, height=SIZE[0], width=SIZE[1], channels=channels)
    image = image[..., 0] if channels == 0 else image
    return (image / np.float32(255)).astype(dtype) if np.issubdtype(dtype, np.floating) else image.astype(dtype)


def empty_mask() -> Any:
    return np.zeros(SIZE, np.uint8)


def compose(paste: Any, *others: Any, box_format: str = "pascal_voc", seed: int = 0, **params: Any) -> Any:
    boxes = A.BboxParams(box_format, label_fields=["classes"], **params)
    return A.Compose([paste, *others], bbox_params=boxes, seed=seed)


def boxes_in(mask: Any, box_format: str = "pascal_voc", size: Any = SIZE) -> Any:
    """Boxes of a mask's defects, found from the mask alone."""
    found = list(instances(mask))
    if box_format == "albumentations":
        return boxes_of(found, "xyxy", size) / [size[1], size[0], size[1], size[0]]
    return boxes_of(found, FORMATS[box_format], size)


PASTERS = [MemSegPaste(), CutPaste(), NSA(), StrokePaste(), Square()]


@pytest.mark.parametrize("paster", PASTERS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("with_boxes", [True, False])
def test_any_paster_any_type_any_targets(paster: Any, dtype: Any, with_mask: bool, with_boxes: bool) -> None:
    given: dict[str, Any] = {"image": host(dtype), "label": 0}
    if with_mask:
        given["mask"] = empty_mask()
    given |= {"bboxes": [], "classes": []} if with_boxes else {}
    paste = PasteDefect(paster, p=1)
    transform = compose(paste) if with_boxes else A.Compose([paste], seed=0)
    transform = pickle.loads(pickle.dumps(transform))
    out = transform(**{key: value.copy() if isinstance(value, np.ndarray) else value for key, value in given.items()})
    changed = (out["image"] != given["image"]).any(axis=2)
    assert out["image"].dtype == dtype
    assert changed.any()
    assert out["label"] == 1
    if with_mask:
        assert (out["mask"][changed] == 1).all()
        assert set(np.unique(out["mask"])) == {0, 1}
    if with_mask and with_boxes:
        np.testing.assert_allclose(out["bboxes"], boxes_in(out["mask"]), atol=1e-3)
        assert out["classes"] == [1] * len(out["bboxes"])


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1)])
def test_grey_images(shape: Any) -> None:
    out = A.Compose([PasteDefect(Square(), p=1)])(image=host()[..., 0].reshape(shape), mask=empty_mask())
    assert out["image"].shape == shape
    assert out["mask"].sum() == 64


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("container", [list, np.array])
@pytest.mark.parametrize("classes", [["bolt"], [4]])
def test_boxes_are_appended_in_their_format_with_their_labels(box_format: str, container: Any, classes: Any) -> None:
    first = {"pascal_voc": [4, 4, 12, 12], "coco": [4, 4, 8, 8], "yolo": [0.125, 1 / 6, 0.125, 1 / 6]}
    old = first.get(box_format, [0.0625, 1 / 12, 0.1875, 0.25])
    scratch = "scratch" if classes == ["bolt"] else 9
    transform = compose(PasteDefect(Square(), labels={"classes": scratch}, p=1), box_format=box_format)
    out = transform(image=host(), mask=empty_mask(), bboxes=container([old]), classes=container(classes))
    np.testing.assert_allclose(out["bboxes"], [old, *boxes_in(out["mask"], box_format)], atol=1e-4)
    assert type(out["bboxes"]) is type(container([old]))
    assert list(out["classes"]) == [classes[0], scratch]


@pytest.mark.parametrize("empty", [[], np.zeros((0, 4), np.float32)])
@pytest.mark.parametrize("scratch", ["scratch", 9])
def test_empty_boxes_get_the_first_one_and_later_calls_are_as_good(empty: Any, scratch: Any) -> None:
    transform = compose(PasteDefect(Square(), labels={"classes": scratch}, p=1), A.HorizontalFlip(p=1))
    for _ in range(3):
        out = transform(image=host(), mask=empty_mask(), bboxes=empty, classes=[])
        np.testing.assert_allclose(out["bboxes"], boxes_in(out["mask"]), atol=1e-3)
        assert list(out["classes"]) == [scratch]


def test_boxes_that_a_crop_emptied_get_the_first_one() -> None:
    crop = A.Crop(x_min=20, y_min=20, x_max=60, y_max=44)
    boxes = A.BboxParams("pascal_voc", label_fields=["classes"])
    transform = A.Compose([crop, PasteDefect(Square(), p=1)], bbox_params=boxes, seed=0)
    out = transform(image=host(), mask=empty_mask(), bboxes=[[1, 1, 9, 9]], classes=[5])
    np.testing.assert_allclose(out["bboxes"], boxes_in(out["mask"], size=(24, 40)), atol=1e-3)
    assert out["classes"] == [1]


def test_labels_inside_boxes_are_the_defects_class() -> None:
    transform = A.Compose([PasteDefect(Square(3), p=1)], bbox_params=A.BboxParams("pascal_voc"), seed=0)
    out = transform(image=host(), bboxes=[[4, 4, 12, 12, 7]])
    assert [box[4] for box in out["bboxes"]] == [7, 3]


def test_masks_are_instances_and_keypoints_stay() -> None:
    transform = A.Compose([PasteDefect(Square(), p=1)], keypoint_params=A.KeypointParams("xy"), seed=0)
    old = empty_mask()
    old[:4, :4] = 1
    out = transform(image=host(), mask=empty_mask(), masks=[old], keypoints=[(3, 5)])
    assert len(out["masks"]) == 2
    np.testing.assert_array_equal(out["masks"][1], out["mask"])
    np.testing.assert_array_equal(transform(image=host(), masks=[])["masks"][0].sum(), 64)
    assert [tuple(point) for point in out["keypoints"]] == [(3, 5)]


def test_a_mask_keeps_older_defects_and_its_own_convention() -> None:
    old = empty_mask()
    old[:2] = 255
    out = A.Compose([PasteDefect(Square(), mask_value=255, p=1)], seed=1)(image=host(), mask=old.copy())
    assert set(np.unique(out["mask"])) == {0, 255}
    assert (out["mask"][old > 0] == 255).all()
    assert out["mask"].sum() > old.sum()
    with pytest.raises(ValueError, match="one value per pixel"):
        A.Compose([PasteDefect(Square(), p=1)])(image=host(), mask=np.zeros((*SIZE, 4), np.uint8))


@pytest.mark.parametrize("paster", [Square(), MemSegPaste(), "cutpaste"])
def test_a_replay_is_exact(paster: Any) -> None:
    boxes = A.BboxParams("pascal_voc", label_fields=["classes"])
    transforms = [A.RandomBrightnessContrast(p=1), PasteDefect(paster, p=0.7), A.HorizontalFlip(), A.GaussNoise(p=0)]
    transform = A.ReplayCompose(transforms, bbox_params=boxes)
    given = {"image": host(), "mask": empty_mask(), "bboxes": [[4, 4, 12, 12]], "classes": [2], "label": 0}
    painted = 0
    for _ in range(8):
        out = transform(**given)
        again = A.ReplayCompose.replay(out["replay"], **given)
        np.testing.assert_array_equal(again["image"], out["image"])
        np.testing.assert_array_equal(again["mask"], out["mask"])
        assert (again["bboxes"], again["classes"], again["label"]) == (out["bboxes"], out["classes"], out["label"])
        painted += out["label"]
    assert painted > 0


def test_a_replay_paints_another_image_at_the_same_place() -> None:
    out = A.ReplayCompose([PasteDefect(Square(), p=1)])(image=host(), mask=empty_mask())
    other = normal_image(5, height=SIZE[0], width=SIZE[1])
    again = A.ReplayCompose.replay(out["replay"], image=other, mask=empty_mask())
    np.testing.assert_array_equal(again["mask"], out["mask"])
    np.testing.assert_array_equal((again["image"] != other).any(axis=2), out["mask"] > 0)


def test_a_named_paster_can_be_written_down(tmp_path: Any) -> None:
    paste = PasteDefect("memseg", options={"opacity": (0.5, 0.9)}, labels={"label": 2}, mask_value=255, p=0.5)
    transform = A.Compose([paste, A.HorizontalFlip()], seed=3)
    again = A.from_dict(json.loads(json.dumps(A.to_dict(transform))))
    again.set_random_seed(3)
    for _ in range(4):
        first, second = (t(image=host(), mask=empty_mask(), label=0) for t in (transform, again))
        np.testing.assert_array_equal(first["image"], second["image"])
        np.testing.assert_array_equal(first["mask"], second["mask"])
        assert first["label"] == second["label"]
    with pytest.raises(NotImplementedError, match="Name it"):
        A.to_dict(A.Compose([PasteDefect(MemSegPaste())]))


def test_randomness_is_the_composes_own() -> None:
    def masks(seed: int) -> Any:
        transform = A.Compose([PasteDefect(Square(), p=0.8), A.OneOf([PasteDefect(Square(), p=1)])], seed=seed)
        np.random.seed(0)
        return np.stack([transform(image=host(), mask=empty_mask())["mask"] for _ in range(6)])

    np.testing.assert_array_equal(masks(1), masks(1))
    assert (masks(1) != masks(2)).any()
    assert len({mask.tobytes() for mask in masks(1)}) > 3


class Painted(Dataset):  # type: ignore[type-arg]
    def __init__(self) -> None:
        self.transform = A.Compose([PasteDefect(Square(), p=1)], seed=7)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return self.transform(image=host(), mask=empty_mask())["mask"]


def seed_worker(worker: int) -> None:
    from torch.utils.data import get_worker_info

    info: Any = get_worker_info()
    info.dataset.transform.set_random_seed(info.seed % 2**32)


def test_workers_draw_what_they_are_seeded_with() -> None:
    def masks() -> Any:
        import torch

        generator = torch.Generator().manual_seed(1)
        loader = DataLoader(Painted(), 2, num_workers=2, worker_init_fn=seed_worker, generator=generator)
        return [bytes(mask.numpy().tobytes()) for batch in loader for mask in batch]

    first = masks()
    assert first == masks()
    assert len(set(first)) == 8


def test_refused_hosts_are_left_as_they_are() -> None:
    flat = np.full((*SIZE, 3), 90, np.uint8)
    paste = PasteDefect(CutPaste(jitter=0), p=1)
    out = A.ReplayCompose([paste])(image=flat, mask=empty_mask(), label=0)
    np.testing.assert_array_equal(out["image"], flat)
    assert (out["mask"].any(), out["label"]) == (False, 0)


def test_bad_input_is_refused_with_the_remedy() -> None:
    with pytest.raises(TypeError, match="make_params and apply"):
        PasteDefect(MemSegPaste)
    with pytest.raises(ValueError, match="options="):
        PasteDefect(MemSegPaste(), options={"opacity": 1})
    with pytest.raises(ValueError, match="probability"):
        PasteDefect(Square(), p=2)
    with pytest.raises(ValueError, match="mask_value"):
        PasteDefect(Square(), mask_value=0)
    with pytest.raises(ValueError, match="normalised"):
        A.Compose([A.Normalize(), PasteDefect(Square(), p=1)])(image=host())
    with pytest.raises(ValueError, match="each image"):
        A.Compose([PasteDefect(Square(), p=1)])(images=np.stack([host()] * 2))
    strings = compose(PasteDefect(Square(), p=1))
    with pytest.raises(ValueError, match="labels="):
        strings(image=host(), bboxes=[[4, 4, 12, 12]], classes=["bolt"])
    boxes = A.BboxParams("pascal_voc", label_fields=["classes", "scores"])
    with pytest.raises(ValueError, match="labels="):
        A.Compose([PasteDefect(Square(), p=1)], bbox_params=boxes)(image=host(), bboxes=[], classes=[], scores=[])
