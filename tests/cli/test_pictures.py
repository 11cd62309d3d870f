import numpy as np
import pytest

from inout_aug.cli._pictures import Collate, Pictures, common_size, extent
from inout_aug.datasets import Surfaces


def item(shape, label=0, dtype=np.uint8, seed=0):
    image = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    mask = np.zeros(shape[:2], np.uint8)
    if label:
        mask[5, 7] = label
    return {"image": image, "mask": mask, "label": label, "path": "a"}


def test_images_shrink_into_the_size_with_their_proportions_and_never_grow():
    pictures = Pictures([item((200, 100, 1)), item((100, 200, 1)), item((30, 20, 1))], (64, 64))
    assert [picture["image"].shape for picture in pictures] == [(64, 32, 1), (32, 64, 1), (30, 20, 1)]
    assert extent(pictures) == (64, 64)


def test_classes_become_one_and_a_defect_of_one_pixel_survives():
    pictures = Pictures([item((256, 256, 3), label=4), item((256, 256, 3))], (32, 32))
    assert pictures.targets == [1, 0]
    assert pictures.positives == 1
    assert [np.unique(picture["mask"]).tolist() for picture in pictures] == [[0, 1], [0]]
    assert pictures[0]["mask"].sum() == 1


def test_each_image_is_told_of():
    seen = []
    Pictures(Surfaces(5, size=(32, 32)), (32, 32), lambda: seen.append(1))
    assert len(seen) == 5


def test_grey_and_colour_do_not_mix():
    with pytest.raises(ValueError, match="Convert them"):
        Pictures([item((32, 32, 1)), item((32, 32, 3))], (32, 32))


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 1), (np.uint8, 3), (np.uint16, 1)])
def test_normal_images_have_zero_mean_and_unit_deviation(dtype, channels):
    pictures = Pictures([item((40, 32, channels), dtype=dtype, seed=k) for k in range(6)], (40, 40))
    images, labels = Collate(pictures, extent(pictures))(pictures.items)
    assert images.shape == (6, channels, 40, 32)
    assert labels.tolist() == [0.0] * 6
    assert images.mean(dim=(0, 2, 3)).numpy() == pytest.approx(np.zeros(channels), abs=1e-4)
    assert images.square().mean(dim=(0, 2, 3)).sqrt().numpy() == pytest.approx(np.ones(channels), abs=1e-4)


def test_a_smaller_image_stands_in_the_middle_of_zeros():
    pictures = Pictures([item((20, 16, 1)), item((32, 24, 1), label=1)], (32, 32))
    images, labels = Collate(pictures, (32, 24))(pictures.items)
    inside = np.zeros((32, 24), bool)
    inside[6:26, 4:20] = True
    assert not images[0, 0].numpy()[~inside].any()
    assert images[0, 0].numpy()[inside].std() > 0.5
    assert labels.tolist() == [0.0, 1.0]


def test_a_constant_channel_stays_finite():
    flat = {**item((32, 32, 1)), "image": np.full((32, 32, 1), 70, np.uint8)}
    pictures = Pictures([flat], (32, 32))
    images, _ = Collate(pictures, (32, 32))([flat])
    assert np.abs(images.numpy()).max() < 0.01


@pytest.mark.parametrize(("shape", "expected"), [((600, 200, 1), (96, 32)), ((90, 90, 1), (55, 55))])
def test_the_common_size_has_the_proportions_and_at_most_the_pixels(shape, expected):
    assert common_size([item(shape)] * 3, 55 * 56) == expected
