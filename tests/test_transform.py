import pickle

import albumentations as A
import numpy as np
import pytest
import torch
from albumentations.pytorch import ToTensorV2
from PIL import Image as PILImage
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2

from inout_aug.layout import Fields, infer_layout
from inout_aug.transform import ItemTransform
from support import normal_image

IMAGE = normal_image(0)
MASK = np.zeros(IMAGE.shape[:2], np.uint8)
MASK[2:5, 2:9] = 1
TENSOR = torch.from_numpy(IMAGE.transpose(2, 0, 1).copy())


def negate(image):
    return 255 - image


def mark(item):
    return {**item, "seen": True}


def apply(transform, item, on="auto"):
    return pickle.loads(pickle.dumps(ItemTransform(transform, infer_layout(item), on)))(item)[0]


def test_a_plain_callable_gets_the_image_of_image_and_label():
    image, label = apply(negate, (IMAGE, 1))
    assert np.array_equal(image, 255 - IMAGE)
    assert label == 1


def test_torchvision_1_compose_gets_the_image():
    image, _ = apply(v1.Compose([v1.ToTensor(), v1.Normalize(0.5, 0.5)]), (PILImage.fromarray(IMAGE), 0))
    assert torch.allclose(image, (TENSOR / 255 - 0.5) / 0.5)


@pytest.mark.parametrize("item", [(IMAGE, MASK), {"image": IMAGE, "label": 0}])
def test_a_plain_callable_where_it_could_get_more_is_refused(item):
    with pytest.raises(TypeError, match="transform_on='image' or 'item'"):
        apply(negate, item)
    assert np.array_equal(apply(negate, item, "image")[infer_layout(item).image], 255 - IMAGE)


def test_on_item_gets_the_whole_item():
    assert apply(mark, {"image": IMAGE, "label": 0}, "item")["seen"]


@pytest.mark.parametrize("container", [np.asarray, PILImage.fromarray])
def test_albumentations_moves_image_and_mask_together(container):
    flip = A.Compose([A.HorizontalFlip(p=1), ToTensorV2()])
    image, mask = apply(flip, (container(IMAGE), container(MASK)))
    assert torch.equal(image, TENSOR.flip(-1))
    assert np.array_equal(mask, MASK[:, ::-1])
    image, label = apply(A.HorizontalFlip(p=1), (container(IMAGE), 1))
    assert np.array_equal(image, IMAGE[:, ::-1])
    assert label == 1


def test_albumentations_on_tensors_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match="ToTensorV2"):
        apply(A.HorizontalFlip(p=1), (TENSOR, 0))


@pytest.mark.parametrize(
    "mask", [torch.from_numpy(MASK), tv_tensors.Mask(torch.from_numpy(MASK)), PILImage.fromarray(MASK), MASK]
)
def test_torchvision_2_moves_image_and_mask_together(mask):
    flip = v2.Compose(
        [
            v2.ToImage(),
            v2.RandomHorizontalFlip(p=1),
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        ]
    )
    image, moved = apply(flip, (PILImage.fromarray(IMAGE), mask))
    assert torch.allclose(image, TENSOR.flip(-1) / 255)
    assert torch.equal(torch.as_tensor(moved), torch.from_numpy(MASK).flip(-1))
    assert isinstance(moved, tv_tensors.Mask) == isinstance(mask, tv_tensors.Mask)


def test_torchvision_2_on_classification():
    image, label = apply(v2.RandomVerticalFlip(p=1), (TENSOR, 1))
    assert torch.equal(image, TENSOR.flip(-2))
    assert label == 1


class Own:
    def unpack(self, item):
        raise AssertionError

    pack = unpack


def test_with_a_layout_of_ones_own_the_transform_gets_the_item():
    assert ItemTransform(mark, Own())({"x": 1}) == ({"x": 1, "seen": True}, None)
    with pytest.raises(TypeError, match="item"):
        ItemTransform(mark, Own(), "image")


def test_bad_transforms_are_refused():
    with pytest.raises(TypeError, match="callable"):
        ItemTransform(3, Fields(image=0, label=1))
    with pytest.raises(ValueError, match="transform_on"):
        ItemTransform(negate, Fields(image=0, label=1), "mask")


@pytest.mark.parametrize("shape", [(24, 32), (24, 32, 1), (1, 24, 32)])
@pytest.mark.parametrize("transform", [A.HorizontalFlip(p=1), v2.RandomHorizontalFlip(p=1)])
def test_numpy_image_and_mask_move_together(transform, shape):
    marked = IMAGE * (MASK == 0)[..., None]
    image, mask = apply(transform, (marked, MASK.reshape(shape)))
    image = image if isinstance(image, np.ndarray) else image.permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(mask) == 1, (image == 0).all(axis=2))
    assert np.array_equal(np.asarray(mask), MASK[:, ::-1])


@pytest.mark.parametrize(
    ("transform", "turned"),
    [(A.HorizontalFlip(p=1), np.fliplr), (v2.RandomRotation((90, 90), expand=True), np.rot90)],
)
def test_without_masks_the_defect_is_followed_all_the_same(transform, turned):
    image = IMAGE if isinstance(transform, A.HorizontalFlip) else TENSOR
    item, moved = ItemTransform(transform, infer_layout((image, 1)))((image, 1), MASK)
    assert len(item) == 2
    assert np.array_equal(np.asarray(moved), turned(MASK))
    assert ItemTransform(negate, infer_layout((IMAGE, 1)))((IMAGE, 1), MASK)[1] is None


def test_a_defect_is_not_followed_where_it_cannot_be_lost():
    flips = v2.RandomApply([v2.RandomHorizontalFlip(p=1), v2.RandomVerticalFlip(p=1)], p=1)
    whole = v2.Compose([v2.ToImage(), flips, v2.RandomApply([v2.ColorJitter(0.2)]), v2.Normalize([0.5], [0.5])])
    layout = infer_layout((TENSOR, 1))
    for scaled in (v2.ToDtype(torch.float32, scale=True), v2.GaussianBlur(3)):
        item, moved = ItemTransform(v2.Compose([scaled, whole]), layout)((TENSOR / 255, 1), MASK)
        assert moved is None
        assert item[0].shape == TENSOR.shape
    assert ItemTransform(v2.Compose([whole, v2.RandomCrop(16)]), layout)((TENSOR / 255, 1), MASK)[1].shape == (16, 16)

    class GaussianBlur(v2.CenterCrop):
        """A user's own, of a name that torchvision has as well."""

    assert ItemTransform(GaussianBlur(16), layout)((TENSOR, 1), MASK)[1].shape == (16, 16)
