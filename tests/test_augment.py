import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage
from torch.utils.data import Subset
from torchvision import transforms as v1
from torchvision import tv_tensors

from inout_aug import InOutAugment, MemSegPaste
from inout_aug._array_image import ArrayImage
from inout_aug.layout import Fields
from inout_aug.sample import Sample
from support import Parts, Shelf, Square


@given(st.floats(0, 3), st.integers(1, 200))
def test_ratio_has_one_exact_meaning(ratio, length):
    train = InOutAugment(generators=[Square()], ratio=ratio)(Parts(length, every=0))
    assert len(train) == length + round(ratio * length)
    assert train.targets.sum() == round(ratio * length)


@given(st.integers(10, 300), st.floats(0.15, 0.95))
def test_balance_reaches_the_share(length, share):
    train = InOutAugment(generators=[Square()], balance=share)(Parts(length))
    assert abs(train.targets.sum() - share * len(train)) <= 1


def test_n_aug_is_the_count():
    assert len(InOutAugment(generators=[Square()], n_aug=0)(Parts(10))) == 10
    assert len(InOutAugment(generators=[Square(), Shelf(10)], n_aug=13)(Parts(10))) == 23


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({}, "exactly one of ratio=, n_aug=, balance= and uniform="),
        ({"ratio": 1, "seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_refused(settings, what):
    with pytest.raises(ValueError, match=what):
        InOutAugment(generators=[Square()], **settings)


@pytest.mark.parametrize("generators", [["memseg"], [Square], Square(), "memseg"])
def test_something_that_is_no_generator_is_refused(generators):
    with pytest.raises(TypeError, match=r"MemSegPaste\(\)"):
        InOutAugment(generators=generators, ratio=1)


class NoLength:
    def __getitem__(self, index):
        return Parts(3)[index]


class Reading(Parts):
    """Gives whatever `give` makes of a normal sample."""

    def __init__(self, give):
        super().__init__(4, every=0, wrap=lambda image, mask, label, index: give(image))


class Uneven(Parts):
    """Only its defective samples have a mask."""

    def __init__(self):
        super().__init__(10, wrap=lambda x, m, y, i: {"image": x, "mask": m if y else None, "label": y})
        self.targets = self.targets[1:] + self.targets[:1]

    def __getitem__(self, index):
        return super().__getitem__((index + 1) % 10)


class Normalising(Parts):
    """So bright that normalised values stay in [0, 1]."""

    def __init__(self):
        super().__init__(10)
        self.transform = v1.Compose([v1.ToTensor(), v1.Normalize([0.5] * 3, [0.5] * 3)])

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return self.transform(image // 4 + 160), label


def floats(image):
    return torch.from_numpy(image.transpose(2, 0, 1) / np.float32(255))


@pytest.mark.parametrize(
    ("dataset", "options", "error", "what"),
    [
        (Parts(10, every=1), {}, ValueError, "no normal sample to paint on.*normal_label="),
        (Parts(10), {"labels": [0, 1]}, ValueError, "one entry per sample"),
        (NoLength(), {}, TypeError, "has no __len__.*IterableDataset"),
        (iter([]), {}, TypeError, "indexable or an IterableDataset"),
        (Parts(0), {}, ValueError, "empty"),
        (Reading(lambda x: (floats(x) * 4 - 2, 0)), {}, ValueError, "looks normalised.*transform=.*denormalize="),
        (Reading(lambda x: (floats(x) * 255, 0)), {}, ValueError, "0..255"),
        (Reading(lambda x: (floats(x) * np.nan, 0)), {}, ValueError, "NaN"),
        (Reading(lambda x: (x[:15, :15], 0)), {}, ValueError, "16 pixels"),
        (Reading(lambda x: (np.dstack([x, x[..., :1]]), 0)), {}, ValueError, "alpha"),
        (Reading(lambda x: (x[None], 0)), {}, ValueError, r"\(H, W, C\)"),
        (Reading(lambda x: (PILImage.new("RGBA", (20, 20)), 0)), {}, TypeError, "convert"),
        (Reading(lambda x: (x, x[:8, :8, 0])), {}, TypeError, "size"),
        (Reading(lambda x: (x, x, 0)), {}, TypeError, "several images"),
        (Reading(lambda x: (x, x[..., 0] * 0)), {}, ValueError, "mask_value=1 or mask_value=255"),
        (Parts(10), {"layout": Fields(image=0, label=1), "mask_value": 255}, ValueError, "to the layout itself"),
        (Parts(10), {"transform": 3}, TypeError, "callable"),
        ({"train": Parts(10)}, {}, TypeError, r"dataset\['train'\]"),
        (Uneven(), {}, TypeError, "different forms.*mask of zeros"),
        (Normalising(), {}, ValueError, "own transform normalises"),
        (Parts(10, wrap=lambda x, m, y, i: {"image": x, "label": y}), {"defaults": {"pth": ""}}, TypeError, "pth"),
    ],
)
def test_bad_datasets_are_refused_with_the_remedy(dataset, options, error, what):
    with pytest.raises(error, match=what):
        InOutAugment(generators=[Square()], n_aug=2)(dataset, **options)


def test_several_positive_labels_are_ambiguous_until_one_is_named():
    parts = Parts(10, every=0)
    parts.targets = [0] * 8 + [1, 2]
    with pytest.raises(ValueError, match="positive_label="):
        InOutAugment(generators=[Square()], ratio=1)(parts)
    assert InOutAugment(generators=[Square()], ratio=1, positive_label=2)(parts).targets[-1] == 2


def test_balance_already_passed_is_told():
    with pytest.raises(ValueError, match="positive already"):
        InOutAugment(generators=[Square()], balance=0.1)(Parts(40, every=2))


def test_too_few_cached_samples_are_told():
    with pytest.raises(ValueError, match="20 samples wanted, 8 there"):
        InOutAugment(generators=[Shelf(8)], n_aug=20)(Parts(10))


def test_the_transform_runs_after_injection_on_real_and_synthetic_alike():
    mean, std = 0.4, 0.2
    normalize = v1.Compose([v1.ToTensor(), v1.Normalize([mean] * 3, [std] * 3)])
    as_pil = Parts(10, wrap=lambda image, mask, label, index: (PILImage.fromarray(image), label))
    moved = InOutAugment(generators=[Square()], n_aug=5)(as_pil, transform=normalize)
    inside = Parts(10, wrap=lambda image, mask, label, index: (normalize(PILImage.fromarray(image)), label))
    accepted = InOutAugment(generators=[Square()], n_aug=5)(inside, denormalize=([mean] * 3, [std] * 3))
    for i in range(15):
        assert torch.allclose(moved[i][0], accepted[i][0], atol=1e-5)
        assert moved[i][1] == accepted[i][1]


class Archive:
    """A layout of one's own: items are `bytes` records."""

    def unpack(self, item):
        return Sample(np.frombuffer(item["pixels"], np.uint8).reshape(24, 32, 3), None, item["meta"]["class"])

    def pack(self, sample, like):
        return {"pixels": sample.image.tobytes(), "meta": {"class": sample.label}}


def test_a_custom_layout_is_one_small_object():
    parts = Parts(
        10,
        wrap=lambda image, mask, label, index: {"pixels": image.tobytes(), "meta": {"class": label}},
        targets=False,
    )
    train = InOutAugment(generators=[Square()], n_aug=3)(parts, layout=Archive())
    assert train[12]["meta"] == {"class": 1}
    assert train[12]["pixels"] != parts[train.sample(12).origin.host]["pixels"]


CONTAINERS = {
    "pil": lambda image, mask, label, index: (PILImage.fromarray(image), PILImage.fromarray(mask * 255)),
    "numpy": lambda image, mask, label, index: (image, mask, label),
    "tensor": lambda image, mask, label, index: {"image": floats(image), "mask": torch.from_numpy(mask).bool()},
    "tv_tensors": lambda image, mask, label, index: (
        tv_tensors.Image(image.transpose(2, 0, 1)),
        label,
        tv_tensors.Mask(torch.from_numpy(mask).long()),
    ),
    "grey 16 bit": lambda image, mask, label, index: (image[..., 0].astype(np.uint16) * 257, mask),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_synthetic_items_have_the_form_of_real_ones(name):
    def form(value):
        if isinstance(value, dict):
            return tuple((key, form(part)) for key, part in value.items())
        if isinstance(value, tuple):
            return tuple(form(part) for part in value)
        if type(value) in (PILImage.Image, ArrayImage):
            return PILImage.Image, value.mode, value.size
        return type(value), getattr(value, "dtype", None), getattr(value, "shape", None)

    train = InOutAugment(generators=[Square(), Shelf(10)], n_aug=10)(Parts(10, wrap=CONTAINERS[name]))
    assert len({form(train[i]) for i in range(20)}) == 1


def test_zero_shot_masks_need_one_word():
    parts = Parts(10, every=0, wrap=lambda image, mask, label, index: (image, mask))
    train = InOutAugment(generators=[Square()], n_aug=3)(parts, mask_value=255)
    assert set(np.unique(train[12][1])) == {0, 255}


def test_the_normal_class_is_found_by_its_name_whatever_its_number():
    parts = Parts(20, wrap=lambda image, mask, label, index: (image, 1 - label))
    parts.classes, parts.targets = ["crack", "good"], [1 - label for label in parts.targets]
    train = InOutAugment(generators=[Square()], n_aug=6)(parts)
    assert [train[i][1] for i in range(20, 26)] == [0] * 6
    assert all(parts.targets[train.sample(i).origin.host] == 1 for i in range(20, 26))
    parts.classes = ["crack", "fine"]
    with pytest.raises(ValueError, match=r"which class is normal.*\['crack', 'fine'\].*normal_label="):
        InOutAugment(generators=[Square()], n_aug=6)(parts)
    assert len(InOutAugment(generators=[Square()], n_aug=6, normal_label="fine", positive_label="crack")(parts)) == 26


@pytest.mark.parametrize("value", [1, 255])
def test_a_layout_by_hand_finds_the_mask_values_too(value):
    parts = Parts(20, wrap=lambda image, mask, label, index: (image, mask * np.uint8(value), label, index))
    train = InOutAugment(generators=[Square()], n_aug=3)(parts, layout=Fields(image=0, mask=1, label=2))
    assert np.unique(train[22][1]).tolist() == [0, value]


def test_a_dataset_may_declare_its_layout():
    parts = Parts(20, every=0, wrap=lambda image, mask, label, index: (image, mask, label, index))
    parts.layout = Fields(image=0, mask=1, label=2, mask_value=255)
    assert InOutAugment(generators=[Square()], n_aug=3)(Subset(parts, range(9)))[10][1].max() == 255


def test_representations_tell_what_it_is():
    augment = InOutAugment(generators=[MemSegPaste()], ratio=0.5)
    assert repr(augment).startswith("InOutAugment(generators=[MemSegPaste(")
    assert repr(augment(Parts(20))) == "InOutDataset(20 real + 10 synthetic, Parts)"


class TwoClasses:
    """Cached samples of the defect classes 1 and 2 in turn."""

    name, fingerprint, distribution = "TwoClasses", "two", "in"

    def bind(self, count, like, seed):
        return _TwoDraws(np.arange(count) % 2 + 1, like)


class _TwoDraws:
    def __init__(self, classes, like):
        self.classes, self.like = classes.astype(np.uint8), like

    def __call__(self, position, epoch):
        mask = np.zeros(self.like.size, np.uint8)
        mask[2:5, 2:5] = self.classes[position]
        return Sample(self.like.image, mask, int(self.classes[position]))


@pytest.mark.parametrize(
    ("real_ids", "positive_label", "expected"),
    [((1,), None, {1}), ((1,), {1: 1, 2: 1}, {1, 2}), ((1, 2), 1, {1, 2}), ((), None, {1})],
)
def test_masks_of_all_classes_are_one_where_the_dataset_knows_one(real_ids, positive_label, expected):
    def item(k):
        mask = np.zeros((32, 32), np.uint8)
        mask[:4, :4] = k
        return {"image": np.full((32, 32, 3), 90, np.uint8), "mask": mask, "label": int(k > 0)}

    real = [item(0)] * 4 + [item(k) for k in real_ids]
    augment = InOutAugment(generators=[TwoClasses()], n_aug=6, positive_label=positive_label)
    train = augment(real, mask_value=1)
    made = [train[index] for index in range(len(real), len(train))]
    assert {item["label"] for item in made} == {1}
    assert {int(item["mask"].max()) for item in made} == expected
