"""Masks of generated defects against brute force and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from inout_generators.common.masks import foreground, isodata, perlin_region, shows, without_specks


@given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.05, 0.95), noise=st.floats(0.01, 0.5))
def test_isodata_is_halfway_between_the_means_on_its_two_sides(seed: int, share: float, noise: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((12, 30)) < share, 0.6, -0.8) + rng.normal(0, noise, (12, 30))
    threshold = isodata(values, tolerance=0)
    above = values >= threshold
    assert threshold == pytest.approx((values[above].mean() + values[~above].mean()) / 2, abs=1e-12)


@pytest.mark.parametrize("level", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_no_second_level_is_an_empty_mask_where_isodata_halves_the_noise(level: float, noise: float) -> None:
    values = level + np.random.default_rng(0).normal(0, noise, (64, 64))
    assert (values >= isodata(values)).mean() > 0.4
    assert not foreground(values).any()


@given(level=st.floats(-1, 1), size=st.integers(1, 2000))
def test_a_constant_map_is_empty_however_its_mean_rounds(level: float, size: int) -> None:
    assert not foreground(np.full(size, level)).any()
    assert not foreground(np.full(size, level, np.float32)).any()


def test_a_level_below_the_floor_is_background() -> None:
    values = np.full((16, 16), -1.0, np.float32)
    values[4:8], values[8:12] = -0.54, -0.45
    np.testing.assert_array_equal(foreground(values), values > -0.5)
    assert foreground(values, floor=-1.0)[4:12].all()


def test_the_foreground_is_what_reaches_the_threshold() -> None:
    rng = np.random.default_rng(0)
    wanted = np.zeros((32, 32), np.uint8)
    wanted[5:9, 7:30] = 1
    soft = np.clip(2.0 * wanted - 1 + rng.normal(0, 0.2, wanted.shape), -1, 1).astype(np.float32)
    mask = foreground(soft)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, wanted)


@pytest.mark.parametrize("values", [np.zeros((0, 4)), np.array([0.0, np.nan]), np.array([np.inf, 0.0])])
def test_what_cannot_be_split_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected finite values"):
        foreground(values)


@given(seed=st.integers(0, 2**32 - 1), min_area=st.integers(1, 12))
def test_specks_are_the_small_parts_of_each_class(seed: int, min_area: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.integers(1, 4, (20, 24)) * (rng.random((20, 24)) < 0.4)).astype(np.uint8)
    before = mask.copy()
    cleaned = without_specks(mask, min_area)
    expected = np.zeros_like(mask)
    for k in (1, 2, 3):
        parts, count = ndimage.label(mask == k, np.ones((3, 3)))
        for part in range(1, count + 1):
            if (parts == part).sum() >= min_area:
                expected[parts == part] = k
    np.testing.assert_array_equal(cleaned, expected)
    np.testing.assert_array_equal(mask, before)


def test_a_mask_shows_the_class_it_has_most_of() -> None:
    mask = np.zeros((20, 20), np.uint8)
    assert not shows(mask, 1)
    mask[0, :5], mask[1, :7] = 1, 255
    assert shows(mask, 255)
    assert shows(mask, 255, 7)
    assert not shows(mask, 255, 8)
    assert not shows(mask, 1)
    assert not shows(mask, 2)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(16, 90), width=st.integers(16, 90))
def test_a_perlin_region_is_one_part_and_never_empty(seed: int, height: int, width: int) -> None:
    region = perlin_region(height, width, np.random.default_rng(seed))
    assert region.shape == (height, width)
    assert region.dtype == np.uint8
    assert set(np.unique(region)) <= {0, 1}
    assert ndimage.label(region, np.ones((3, 3)))[1] == 1
    np.testing.assert_array_equal(region, perlin_region(height, width, np.random.default_rng(seed)))
