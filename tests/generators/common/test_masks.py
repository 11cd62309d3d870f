"""Masks of generated defects against brute force and scipy."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from inout_generators.common.masks import perlin_region, shows, without_specks


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
