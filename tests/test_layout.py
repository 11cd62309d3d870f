import dataclasses
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from torchvision import tv_tensors

from inout_aug.layout import AmbiguousLayout, Fields, get_field, infer_layout, with_mask_value
from inout_aug.sample import Origin, Sample
from support import normal_image

IMAGE = normal_image(0)
MASK = np.zeros(IMAGE.shape[:2], np.uint8)
Pair = namedtuple("Pair", "image label")


@dataclasses.dataclass
class ImageItem:
    """The form of anomalib 2's items: many fields, most of them empty."""

    image: Any
    gt_label: Any = None
    gt_mask: Any = None
    mask_path: Any = None
    image_path: str = ""
    pred_score: Any = None


TENSOR = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())

ITEMS = {
    "torchvision classification": ((PILImage.fromarray(IMAGE), 0), (0, None, 1)),
    "segmentation": ((IMAGE, MASK), (0, 1, None)),
    "pil segmentation": ((PILImage.fromarray(IMAGE), PILImage.fromarray(MASK)), (0, 1, None)),
    "image, mask, label": ((TENSOR, torch.from_numpy(MASK), 0), (0, 1, 2)),
    "image, label, mask": ((TENSOR, torch.tensor(0), torch.from_numpy(MASK)[None]), (0, 2, 1)),
    "list with a path": ([IMAGE, 0, "a.png"], (0, None, 1)),
    "named tuple": (Pair(IMAGE, 0), (0, None, 1)),
    "tv_tensors": ((tv_tensors.Image(TENSOR), tv_tensors.Mask(torch.from_numpy(MASK))), (0, 1, None)),
    "albumentations": ({"image": IMAGE, "mask": MASK}, ("image", "mask", None)),
    "anomalib 1": (
        {"image": TENSOR, "mask": torch.from_numpy(MASK), "label": 0, "image_path": "a"},
        ("image", "mask", "label"),
    ),
    "anomalib 2": (ImageItem(TENSOR, torch.tensor(False), torch.from_numpy(MASK)), ("image", "gt_mask", "gt_label")),
    "hugging face classification": ({"image": PILImage.fromarray(IMAGE), "label": 0}, ("image", None, "label")),
    "hugging face segmentation": (
        {"pixel_values": TENSOR, "labels": torch.from_numpy(MASK)},
        ("pixel_values", "labels", None),
    ),
    "ordered": (OrderedDict(img=IMAGE, target=0), ("img", None, "target")),
}


@pytest.mark.parametrize("name", ITEMS)
def test_usual_items_are_understood(name):
    item, expected = ITEMS[name]
    layout = infer_layout(item)
    assert (layout.image, layout.mask, layout.label) == expected


@pytest.mark.parametrize("name", ITEMS)
def test_pack_gives_the_same_form_and_leaves_the_host_alone(name):
    item, _ = ITEMS[name]
    layout = infer_layout(item)
    host = layout.unpack(item)
    image, mask = host.image.copy(), np.zeros(host.size, np.uint8)
    image[3:6, 3:6], mask[3:6, 3:6] = 7, 1
    packed = layout.pack(Sample(image, mask, 1, Origin(host=0)), item)
    assert type(packed) is type(item)
    again = layout.unpack(packed)
    assert np.array_equal(again.image, image)
    assert again.label == 1
    assert layout.mask is None or np.array_equal(again.mask, mask)
    assert np.array_equal(layout.unpack(item).image, host.image)


def test_other_fields_are_the_hosts_or_a_declared_default():
    item = {"image": IMAGE, "label": 0, "path": "host.png", "batch": 7}
    sample = Sample(IMAGE, None, 1)
    assert infer_layout(item).pack(sample, item)["path"] == "host.png"
    packed = infer_layout(item, defaults={"path": ""}).pack(sample, item)
    assert (packed["path"], packed["batch"]) == ("", 7)


@pytest.mark.parametrize(
    ("item", "what"),
    [
        (IMAGE, "tuple, list, mapping or dataclass"),
        ((IMAGE,), "neither mask nor label"),
        ((IMAGE, "good"), "neither mask nor label"),
        ((0, IMAGE), "no image"),
        ((IMAGE, 0, 17), "may each be the label"),
        ((IMAGE, MASK, MASK), "may each be the mask"),
        ({"image": IMAGE, "img": IMAGE, "label": 0}, "may each be the image"),
        ({"image": IMAGE, "label": 0, "target": 1}, "may each be the label"),
        ({"photo": IMAGE, "label": 0}, "no image"),
        ((IMAGE, MASK[:8, :8]), "same|size"),
        ((IMAGE, IMAGE, 0), "several images"),
        ((IMAGE, {"boxes": [], "labels": []}), "neither mask nor label"),
    ],
)
def test_ambiguous_items_are_refused_with_the_remedy(item, what):
    with pytest.raises(AmbiguousLayout, match=what) as caught:
        infer_layout(item)
    assert "layout=Fields(" in str(caught.value)


def test_fields_settle_what_is_ambiguous():
    item = (IMAGE, 0, 17)
    layout = Fields(image=0, label=1)
    assert layout.pack(Sample(IMAGE, None, 1), item)[1:] == (1, 17)
    with pytest.raises(AmbiguousLayout, match="no field 'mask'"):
        Fields(image=0, mask="mask").unpack(item)


def test_fields_are_checked():
    with pytest.raises(ValueError, match="a mask or a label"):
        Fields(image=0)
    with pytest.raises(ValueError, match="mask_value"):
        Fields(image=0, label=1, mask_value=0)


def test_a_sample_without_mask_does_not_fit_a_dataset_with_masks():
    layout = infer_layout((IMAGE, MASK))
    with pytest.raises(ValueError, match="gave no mask"):
        layout.pack(Sample(IMAGE, None, 1), (IMAGE, MASK))


def test_defaults_must_name_fields():
    with pytest.raises(AmbiguousLayout, match=r"defaults= names \['pth'\]"):
        infer_layout({"image": IMAGE, "label": 0, "path": "a"}, defaults={"pth": ""})


def test_ignored_pixels_are_no_defect_and_stay_ignored():
    layout = Fields(image=0, mask=1, mask_value=1, ignore_value=255)
    bordered = MASK.copy()
    bordered[0] = 255
    host = layout.unpack((IMAGE, bordered))
    assert (host.label, host.mask.max()) == (0, 0)
    image, mask = IMAGE.copy(), MASK.copy()
    image[3:6, 3:6], mask[3:6, 3:6] = 7, 1
    packed = layout.pack(Sample(image, mask, 1, Origin(host=0)), (IMAGE, bordered))[1]
    assert (packed[0] == 255).all()
    assert (packed[3:6, 3:6] == 1).all()
    assert with_mask_value(Fields(image=0, mask=1, ignore_value=255), [(IMAGE, packed)]).mask_value == 1


def test_fields_without_a_mask_value_find_it_at_wrapping():
    layout = Fields(image=0, mask=1)
    assert with_mask_value(layout, [(IMAGE, MASK), (IMAGE, np.full_like(MASK, 255))]).mask_value == 255
    assert with_mask_value(Fields(image=0, mask=1, mask_value=7), [(IMAGE, MASK)]).mask_value == 7
    with pytest.raises(ValueError, match="mask_value=1 or mask_value=255"):
        with_mask_value(layout, [(IMAGE, MASK)])


@pytest.mark.parametrize(
    ("others", "shared"),
    [
        ({"path": "a.png", "index": 3, "weight": np.float64(0.5), "taken": None, "file": Path("a.png")}, True),
        ({"boxes": [[1, 2, 3, 4]]}, False),
        ({"meta": {"camera": 1}}, False),
        ({"embedding": np.zeros(3)}, False),
        ({"embedding": torch.zeros(3)}, False),
    ],
)
def test_an_item_is_shared_if_only_its_image_and_mask_can_be_changed(others, shared):
    item = {"image": np.zeros((32, 32, 3), np.uint8), "mask": torch.zeros(32, 32), "label": 0, **others}
    assert Fields(image="image", mask="mask", label="label").shared(item) is (item if shared else None)


@pytest.mark.parametrize(
    ("form", "label"),
    [(dict, "label"), (Pair, "label"), (ImageItem, "gt_label"), (lambda **parts: [*parts.values()], "")],
)
def test_a_shared_image_of_pil_is_converted_once(form, label):
    image = PILImage.fromarray(IMAGE)
    item = form(image=image, **{label: 3})
    layout = infer_layout(item)
    shared = layout.shared(item)
    assert type(shared) is type(item)
    assert get_field(shared, layout.label) == 3
    seen = get_field(shared, layout.image)
    assert np.shares_memory(np.asarray(seen), layout.unpack(shared).image)
    assert seen == image
    assert get_field(item, layout.image) is image
