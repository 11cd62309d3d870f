from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageEnhance, ImageOps

from inout_aug.paste import draem


class Fixed(np.random.Generator):
    """A random stream whose uniform and integer draws are given."""

    def __init__(self, *, uniform=0.0, integer=0, random=0.0):
        super().__init__(np.random.PCG64(0))
        self.given = uniform, integer, random

    def uniform(self, low=0.0, high=1.0, size=None):
        return self.given[0] if size is None else np.full(size, self.given[0])

    def integers(self, *_, **__):
        return self.given[1]

    def random(self, *_, **__):
        return self.given[2]


@pytest.fixture(scope="module")
def photograph():
    """A smooth colour picture with a few grains, uint8."""
    y, x = np.mgrid[:60, :80] / 60
    rng = np.random.default_rng(0)
    colours = np.stack([0.2 + 0.6 * x / 1.4, 0.5 + 0.3 * np.sin(5 * y), 0.6 - 0.4 * y * x / 1.4], axis=2)
    return (np.clip(colours + rng.normal(0, 0.02, colours.shape), 0, 1) * 255).astype(np.uint8)


def assert_close(ours, theirs, *, within):
    assert np.abs(ours.astype(int) - np.asarray(theirs).astype(int)).max() <= within


def test_perturbations_agree_with_pillow(photograph):
    picture = Image.fromarray(photograph)
    assert_close(draem.invert(photograph, Fixed()), ImageChops.invert(picture), within=0)
    assert_close(draem.solarize(photograph, Fixed(integer=100)), ImageOps.solarize(picture, 100), within=0)
    assert_close(draem.posterize(photograph, Fixed(integer=3)), ImageOps.posterize(picture, 3), within=0)
    large = np.tile(photograph, (5, 5, 1))  # Pillow rounds the pixels per level down, which shows in small pictures
    assert_close(draem.equalize(large, Fixed()), ImageOps.equalize(Image.fromarray(large)), within=3)
    assert_close(draem.autocontrast(photograph, Fixed(uniform=5.0)), ImageOps.autocontrast(picture, 5), within=3)
    sharper = np.asarray(ImageEnhance.Sharpness(picture).enhance(1.8))
    assert_close(draem.sharpness(photograph, Fixed(uniform=1.8))[1:-1, 1:-1], sharper[1:-1, 1:-1], within=2)


def test_solarize_does_nothing_half_of_the_time(photograph):
    assert draem.solarize(photograph, Fixed(integer=100, random=0.7)) is photograph


def test_gamma_is_a_power_of_each_channel(photograph):
    assert_close(draem.gamma(photograph, Fixed(uniform=2.0)), np.rint((photograph / 255) ** 2 * 255), within=0)


@pytest.mark.parametrize("space", range(6))
def test_brightness_changes_luminance_and_little_else(photograph, space):
    brighter = draem.brightness(photograph, Fixed(uniform=1.1, integer=space))  # × 1.1, + 1.1/255
    before, after = (np.asarray(Image.fromarray(image).convert("L"), float) for image in (photograph, brighter))
    assert 1.03 < (after / before).mean() < 1.2


def test_hue_turns_and_grey_stays(photograph):
    turned = draem.hue_and_saturation(photograph, Fixed(uniform=0.0))
    assert_close(turned, photograph, within=1)
    red = np.full((16, 16, 3), [200, 100, 100], np.uint8)
    # 42.5/255 of a turn is 60°, and as much is added to the saturation of a half
    yellow = draem.hue_and_saturation(red, Fixed(uniform=42.5))
    assert_close(yellow, np.full((16, 16, 3), [200, 200, 67], np.uint8), within=1)
    grey = np.full((16, 16, 3), 90, np.uint8)
    assert_close(draem.hue_and_saturation(grey, Fixed(uniform=42.5)), grey, within=0)


def test_rotate_leaves_black_corners(photograph):
    turned = draem.rotate(photograph, Fixed(uniform=45.0))
    assert not turned[0, 0].any()
    assert_close(turned[30, 40], photograph[30, 40], within=12)


@given(
    st.integers(16, 40),
    st.integers(16, 40),
    st.sampled_from([1, 3]),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(0, 2**32 - 1),
)
def test_any_image_keeps_its_shape_and_dtype_and_is_left_alone(height, width, channels, dtype, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)
    before = image.copy()
    changed = draem.perturb(image, seed)
    assert changed.shape == image.shape
    assert changed.dtype == dtype
    assert np.array_equal(image, before)
    assert np.array_equal(draem.perturb(image, seed), changed)


@pytest.mark.parametrize("name", [perturbation.__name__ for perturbation in draem.PERTURBATIONS])
def test_sixteen_bits_give_what_eight_bits_give(photograph, name):
    perturbation = getattr(draem, name)
    eight = perturbation(photograph, np.random.default_rng(4)).astype(float)
    sixteen = perturbation(photograph.astype(np.uint16) * 257, np.random.default_rng(4)) / 257
    assert np.abs(eight - sixteen).mean() < 1.0


def test_three_distinct_ones_are_chosen(photograph, monkeypatch):
    seen = []

    def spy(index):
        def note(image, rng):
            seen.append(index)
            return image

        return note

    monkeypatch.setattr(draem, "PERTURBATIONS", tuple(spy(index) for index in range(10)))
    for seed in range(60):
        draem.perturb(photograph, seed)
        assert len(set(seen[-3:])) == 3
    assert len(seen) == 180
    assert set(seen) == set(range(10))
