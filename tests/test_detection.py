"""Boxes, labels and masks of detection items follow new defects, whatever their form."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from scipy import ndimage
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.ops import box_convert
from torchvision.transforms import v2

from inout_aug import InOutAugment
from inout_aug.detection import Detection, find_detection
from inout_aug.layout import AmbiguousLayout
from inout_aug.sample import Origin, Sample
from support import Belt, Parts, Shelf, Square, normal_image

SIZE = (24, 32)
BOX = [[4.0, 4.0, 8.0, 8.0]]  # of the real defects of `Parts`


def tensors(image: Any, mask: Any, label: int, index: int) -> Any:
    target = {
        "boxes": torch.tensor(BOX[:label]).reshape(-1, 4),
        "labels": torch.full((label,), 3),
        "masks": torch.from_numpy(np.stack([mask] * label) if label else np.zeros((0, *SIZE), np.uint8)),
        "area": torch.full((label,), 16.0),
        "iscrowd": torch.zeros(label, dtype=torch.int64),
        "image_id": torch.tensor([index]),
    }
    return torch.from_numpy(image.transpose(2, 0, 1).copy()), target


def wrapped(image: Any, mask: Any, label: int, index: int) -> Any:
    tensor, target = tensors(image, mask, label, index)
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=SIZE)
    target["boxes"] = v2.functional.convert_bounding_box_format(boxes, new_format="CXCYWH")
    target["masks"] = tv_tensors.Mask(target["masks"])
    return tv_tensors.Image(tensor), target


def arrays(image: Any, mask: Any, label: int, index: int) -> Any:
    return {"image": image, "boxes": np.array(BOX[:label]).reshape(-1, 4), "labels": np.full(label, 3)}


def lists(image: Any, mask: Any, label: int, index: int) -> Any:
    boxes = [[4.0, 4.0, 4.0, 4.0]] * label
    return {"image": PILImage.fromarray(image), "objects": {"bbox": boxes, "category": [3] * label}}


def rows(image: Any, mask: Any, label: int, index: int) -> Any:
    row = {"bbox": [4.0, 4.0, 4.0, 4.0], "category_id": 3, "area": 16.0, "iscrowd": 0}
    return PILImage.fromarray(image), [row] * label


FORMS = {
    "torchvision": (tensors, None),
    "tv_tensors": (wrapped, None),
    "arrays": (arrays, None),
    "hugging face": (lists, None),
    "coco annotations": (rows, Detection(image=0, target=1, boxes="bbox", labels="category_id", format="xywh")),
}


def boxes_in(item: Any, form: str) -> tuple[Any, list[int]]:
    """Read boxes as xyxy, and labels, by other means than the library's."""
    if form == "coco annotations":
        boxes = torch.tensor([row["bbox"] for row in item[1]]).reshape(-1, 4)
        return box_convert(boxes, "xywh", "xyxy").numpy(), [row["category_id"] for row in item[1]]
    if form == "hugging face":
        boxes = torch.tensor(item["objects"]["bbox"]).reshape(-1, 4)
        return box_convert(boxes, "xywh", "xyxy").numpy(), item["objects"]["category"]
    target = item if isinstance(item, dict) else item[1]
    boxes = torch.as_tensor(target["boxes"]).as_subclass(torch.Tensor)
    return (box_convert(boxes, "cxcywh", "xyxy") if form == "tv_tensors" else boxes).numpy(), list(target["labels"])


def image_in(item: Any) -> Any:
    image = item["image"] if isinstance(item, dict) else item[0]
    return image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else np.asarray(image)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", ["defective", "normal"])
def test_synthetic_positives_have_the_box_of_the_pasted_defect(form: str, first: str) -> None:
    wrap, layout = FORMS[form]
    parts = Parts(20, every=5 if first == "defective" else 0, wrap=wrap, targets=False)
    train = InOutAugment(generators=[Square()], n_aug=6, positive_label=3)(parts, layout=layout)
    for index in range(20, 26):
        sample, item = train.sample(index), train[index]
        params = sample.origin.params
        expected = [[params["x"], params["y"], params["x"] + 8, params["y"] + 8]]
        boxes, labels = boxes_in(item, form)
        np.testing.assert_allclose(boxes, expected)
        assert labels == [3]
        np.testing.assert_array_equal(image_in(item), sample.image)
        assert type(item) is type(parts[1])
    assert set(train.targets[20:]) == {3}
    assert all(len(boxes_in(parts[i], form)[0]) == 0 for i in range(1, 5))  # hosts are left as they are


def test_everything_else_a_target_has_for_each_box_follows_and_types_stay() -> None:
    parts = Parts(10, every=5, wrap=wrapped, targets=False)
    item = InOutAugment(generators=[Square()], n_aug=1)(parts)[10]
    target, real = item[1], parts[0][1]
    assert {key: (type(v), v.dtype, v.shape) for key, v in target.items()} == {
        key: (type(v), v.dtype, v.shape) for key, v in real.items()
    }
    assert (target["boxes"].format, target["boxes"].canvas_size) == (real["boxes"].format, SIZE)
    assert (target["area"].item(), target["iscrowd"].item(), target["masks"].sum().item()) == (64, 0, 64)


@pytest.mark.parametrize("box_format", ["xyxy", "xywh", "cxcywh", "yolo"])
def test_boxes_and_instances_agree_with_scipy(box_format: Any) -> None:
    rng = np.random.default_rng(0)
    mask = (ndimage.gaussian_filter(rng.normal(size=(40, 56)), 2) > 0.1).astype(np.uint8)
    labelled, count = ndimage.label(mask, np.ones((3, 3)))
    expected = {(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in ndimage.find_objects(labelled)}
    layout = Detection(image="image", boxes="bboxes", labels="labels", format=box_format)
    host = {"image": np.zeros((40, 56, 3), np.uint8), "bboxes": [], "labels": []}
    item = layout.pack(Sample(host["image"], mask, 2, Origin(host=0)), host)
    boxes = torch.tensor(item["bboxes"])
    if box_format == "yolo":
        boxes = boxes * torch.tensor([56, 40, 56, 40])
    if box_format != "xyxy":
        boxes = box_convert(boxes, "xywh" if box_format == "xywh" else "cxcywh", "xyxy")
    assert {tuple(round(v, 3) for v in box) for box in boxes.tolist()} == expected
    assert item["labels"] == [2] * count
    assert host["bboxes"] == []


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_coco_segmentations_are_read_back_by_pycocotools() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    mask = np.zeros(SIZE, np.uint8)
    mask[2:9, 3:12] = 1
    mask[4:6, 5:8] = 0
    mask[15:20, 20:30] = 1
    host = normal_image(0), []
    item = FORMS["coco annotations"][1].pack(Sample(host[0], mask, 5, Origin(host=0)), host)  # type: ignore[union-attr]
    whole = np.zeros(SIZE, np.uint8)
    for row in item[1]:
        shape = row["segmentation"]
        runs = coco.frPyObjects(shape, *SIZE)
        whole |= np.asarray(coco.decode(runs if isinstance(shape, dict) else coco.merge(runs)))
        assert (row["category_id"], row["iscrowd"]) == (5, 0)
    np.testing.assert_array_equal(whole, mask)
    assert sum(row["area"] for row in item[1]) == mask.sum()


def test_specks_get_no_box_unless_they_are_all_there_is() -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[2, 2], mask[10:14, 10:14] = 1, 1
    layout = Detection(image=0, target=1, min_pixels=9)
    host = tensors(normal_image(0), mask, 0, 0)
    image = normal_image(0)
    assert len(layout.pack(Sample(image, mask, 1, Origin(host=0)), host)[1]["boxes"]) == 1
    mask[10:14, 10:14] = 0
    assert len(layout.pack(Sample(image, mask, 1, Origin(host=0)), host)[1]["boxes"]) == 1


def test_boxes_are_added_to_those_that_are_there() -> None:
    host = wrapped(*Parts(1, every=1, wrap=lambda *parts: parts)[0])
    mask = np.zeros(SIZE, np.uint8)
    mask[15:20, 20:30] = 1
    item = find_detection(host, denormalize=None, defaults=None).pack(  # type: ignore[union-attr]
        Sample(normal_image(0), mask, 4, Origin(host=0)), host
    )
    assert item[1]["labels"].tolist() == [3, 4]
    assert item[1]["boxes"].tolist() == [[6, 6, 4, 4], [25, 17.5, 10, 5]]
    assert item[1]["masks"].shape == (2, *SIZE)


def test_cached_samples_have_boxes_too() -> None:
    train = InOutAugment(generators=[Shelf()], n_aug=4, positive_label=2)(
        Parts(8, every=0, wrap=tensors, targets=False)
    )
    assert [train[i][1]["boxes"].tolist() for i in range(8, 12)] == [[[2, 2, 6, 6]]] * 4


def test_v2_transforms_and_loaders_take_them() -> None:
    transform = v2.Compose(
        [v2.RandomHorizontalFlip(1.0), v2.ToDtype(torch.float32, scale=True), v2.SanitizeBoundingBoxes()]
    )
    parts = Parts(12, every=4, wrap=wrapped, targets=False)
    train = InOutAugment(generators=[Square()], ratio=1.0)(parts, transform=transform)
    plain = InOutAugment(generators=[Square()], ratio=1.0)(parts)
    loader = DataLoader(train, 4, collate_fn=lambda batch: tuple(zip(*batch, strict=True)), num_workers=1)
    count = 0
    for images, targets in loader:
        for image, target in zip(images, targets, strict=True):
            expected = plain[count][1]["boxes"].clone()
            expected[:, 0] = SIZE[1] - expected[:, 0]
            torch.testing.assert_close(torch.Tensor(target["boxes"]), torch.Tensor(expected))
            assert image.dtype == torch.float32
            count += 1
    assert count == 24


def test_albumentations_gets_items_as_keywords() -> None:
    albumentations = pytest.importorskip("albumentations")
    params = albumentations.BboxParams("pascal_voc", label_fields=["labels"])
    flip = albumentations.Compose([albumentations.HorizontalFlip(p=1)], bbox_params=params)

    def keywords(image: Any, mask: Any, label: int, index: int) -> Any:
        return {"image": image, "bboxes": np.array(BOX[:label]).reshape(-1, 4), "labels": np.full(label, 3)}

    parts, augment = Parts(8, every=4, wrap=keywords, targets=False), InOutAugment(generators=[Square()], n_aug=2)
    layout = Detection(image="image", boxes="bboxes")
    plain, flipped = augment(parts, layout=layout)[8], augment(parts, layout=layout, transform=flip)[8]
    np.testing.assert_array_equal(flipped["image"], plain["image"][:, ::-1])
    left, top, right, bottom = plain["bboxes"][0]
    np.testing.assert_allclose(flipped["bboxes"], [[SIZE[1] - right, top, SIZE[1] - left, bottom]], rtol=1e-5)
    assert flipped["labels"] == [3]
    with pytest.raises(TypeError, match="mapping"):
        augment(Parts(8, every=4, wrap=tensors, targets=False), transform=flip)[8]


def test_streams_take_any_real_category() -> None:
    belt = Belt(Parts(20, every=5, wrap=tensors, targets=False))
    items = list(InOutAugment(generators=[Square()], ratio=0.5, positive_label=7)(belt))
    labels = [target["labels"].tolist() for _, target in items]
    assert (len(items), labels.count([7]), labels.count([3])) == (30, 10, 4)


def test_layouts_pickle() -> None:
    layout = Detection(image=0, target=1, defaults={"id": 0})
    assert pickle.loads(pickle.dumps(layout)) == layout


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"image": normal_image(0), "bboxes": [[0, 0, 4, 4]], "labels": [1]}, "format of 'bboxes'"),
        ({"image": normal_image(0), "boxes": torch.zeros(0, 4)}, "no labels"),
        (
            {"image": normal_image(0), "mask": np.zeros(SIZE, np.uint8), "boxes": torch.zeros(0, 4), "labels": []},
            "boxes and a mask",
        ),
        ((normal_image(0), []), "empty list"),
        ({"image": normal_image(0), "annotations": []}, "empty list"),
    ],
)
def test_what_cannot_be_told_is_refused_with_the_remedy(item: Any, message: str) -> None:
    with pytest.raises(AmbiguousLayout, match=message) as caught:
        find_detection(item, denormalize=None, defaults=None)
    assert "layout=" in str(caught.value)


def test_one_box_of_a_classification_item_is_no_detection() -> None:
    item = {"image": normal_image(0), "label": 1, "bbox": [1, 2, 3, 4]}
    assert find_detection(item, denormalize=None, defaults=None) is None


def test_bad_targets_are_refused() -> None:
    augment = InOutAugment(generators=[Square()], n_aug=1)

    def several(image: Any, mask: Any, label: int, index: int) -> Any:
        item = tensors(image, mask, label, index)
        item[1]["labels"] += index
        return item

    with pytest.raises(ValueError, match="positive_label="):
        augment(Parts(20, every=5, wrap=several, targets=False))

    def scored(image: Any, mask: Any, label: int, index: int) -> Any:
        item = tensors(image, mask, label, index)
        item[1]["scores"] = torch.ones(label)
        return item

    parts = Parts(20, every=5, wrap=scored, targets=False)
    with pytest.raises(ValueError, match="defaults="):
        augment(parts)[20]
    assert augment(parts, defaults={"scores": 0.5})[20][1]["scores"].tolist() == [0.5]
    with pytest.raises(ValueError, match="normal without a box"):
        InOutAugment(generators=[Square()], n_aug=1, normal_label=0)(parts)
    with pytest.raises(AmbiguousLayout, match="no boxes at all"):
        Detection(image=0, target=1).unpack((normal_image(0), {"image_id": 3}))
    with pytest.raises(ValueError, match="one label for each box"):
        Detection(image=0, target=1).unpack((normal_image(0), {"boxes": torch.zeros(2, 4), "labels": torch.zeros(1)}))
    mask = np.zeros(SIZE, np.uint8)
    mask[2:4, 2:4], mask[8:12, 8:12] = 1, 2
    with pytest.raises(ValueError, match="classes \\[1, 2\\]"):
        Detection(image=0, target=1).pack(Sample(normal_image(0), mask, 1), tensors(normal_image(0), mask, 0, 0))
