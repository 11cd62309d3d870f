from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from inout_aug.paste.foreground import HostMasks, Otsu, Threshold, find_foreground


@pytest.fixture
def product():
    """A bright disc on a dark ground, both noisy, with a few specks; and the disc."""
    y, x = np.mgrid[:120, :200]
    disc = (y - 60) ** 2 + (x - 90) ** 2 < 40**2
    rng = np.random.default_rng(0)
    image = np.where(disc, 180, 40) + rng.normal(0, 8, disc.shape)
    image[rng.random(disc.shape) < 0.005] = 255
    image[rng.random(disc.shape) < 0.005] = 0
    return np.clip(image, 0, 255).astype(np.uint8)[..., None], disc


def overlap(one, other):
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("above", [True, False])
def test_threshold_and_otsu_find_the_product(product, channels, dtype, above):
    image, disc = product
    image = image if above else 255 - image
    image = np.repeat(image.astype(dtype) * (257 if dtype == np.uint16 else 1), channels, axis=2)
    level = 110 * (257 if dtype == np.uint16 else 1)
    for foreground in (Threshold(level, above=above), Otsu(above=above)):
        inside = foreground(image)
        assert inside.dtype == np.bool_
        assert overlap(inside, disc) > 0.97


def test_cleaning_removes_specks_and_holes(product):
    image, disc = product
    rough, clean = Otsu(clean=False)(image), Otsu()(image)
    assert cv2.connectedComponents(rough.view(np.uint8))[0] > 10
    assert cv2.connectedComponents(clean.view(np.uint8))[0] == 2
    assert overlap(clean, disc) > overlap(rough, disc)


def test_host_masks_know_a_host_by_its_pixels(product):
    image, disc = product
    other = 255 - image
    masks = pickle.loads(pickle.dumps(HostMasks([(image, disc), (other, ~disc)])))
    assert np.array_equal(masks(other.copy()), ~disc)
    assert np.array_equal(masks(image), disc)
    with pytest.raises(KeyError, match="before any random transform"):
        masks(image[:, ::-1])
    with pytest.raises(ValueError, match="at least one pair"):
        HostMasks([])
    assert repr(masks) != repr(HostMasks([(image, disc)]))
    assert repr(masks) == repr(HostMasks([(other, ~disc), (image, disc)]))


def test_a_foreground_that_returns_nothing_is_refused(product):
    with pytest.raises(TypeError, match="return statement"):
        find_foreground(lambda image: None, product[0])


def test_a_mask_of_another_size_is_refused(product):
    image, disc = product
    with pytest.raises(ValueError, match=r"\(120, 200\); got \(60, 100\)"):
        find_foreground(lambda image: disc[::2, ::2], image)
    with pytest.raises(ValueError, match="one channel of a colour mask"):
        HostMasks([(image, np.repeat(disc[..., None], 3, axis=2))])


def test_a_foreground_that_finds_nothing_is_reported_and_replaced(product):
    image, _ = product
    with pytest.warns(UserWarning, match=r"covers 0\.00%"):
        assert find_foreground(Threshold(255), image) is None


def test_any_non_zero_mask_will_do(product):
    image, disc = product
    for mask in (disc, disc * np.uint8(255), disc.astype(float), disc.tolist()):
        assert np.array_equal(find_foreground(lambda image, mask=mask: mask, image), disc)
