"""From latents to masks: luma, a threshold found anew by brute force, and parts counted by scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from inout_generators.defectdiffu.masks import hard_mask, scaled_area, soft_masks
from inout_generators.defectdiffu.spaces import PixelSpace, mask_images

SEEDS = st.integers(0, 2**32 - 1)


def blobs(rng: np.random.Generator, size: tuple[int, int] = (24, 36)) -> np.ndarray:
    return (ndimage.gaussian_filter(rng.normal(size=size), 1.2) > 0.15).astype(np.uint8)


@given(seed=SEEDS, channels=st.sampled_from([1, 3]))
def test_soft_masks_are_the_luma_of_what_latents_stand_for(seed: int, channels: int) -> None:
    latents = torch.from_numpy(np.random.default_rng(seed).uniform(-1.5, 1.5, (3, channels, 5, 7)))
    soft = soft_masks(PixelSpace(channels), latents)
    assert (soft.shape, soft.dtype) == ((3, 5, 7), np.float32)
    assert soft.flags.c_contiguous
    weights = [1.0] if channels == 1 else [0.299, 0.587, 0.114]
    expected = sum(weight * latents[:, c].numpy() for c, weight in enumerate(weights))
    np.testing.assert_allclose(soft, expected, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_mask_comes_back_from_its_latents_whatever_they_lost(channels: int) -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([blobs(rng) for _ in range(4)])
    space = PixelSpace(channels)
    latents = space.encode(mask_images(masks))
    for kept, noise in ((1.0, 0.0), (0.6, 0.05), (0.9, 0.1)):
        told = kept * latents + noise * torch.from_numpy(rng.normal(size=latents.shape)).float()
        for soft, mask in zip(soft_masks(space, told), masks, strict=True):
            np.testing.assert_array_equal(hard_mask(soft, 1), mask)


@given(seed=SEEDS, min_area=st.integers(1, 40))
def test_the_threshold_is_halfway_between_the_two_levels_and_small_parts_go(seed: int, min_area: int) -> None:
    rng = np.random.default_rng(seed)
    soft = 1.6 * blobs(rng) - 0.9 + rng.normal(0, 0.05, (24, 36))
    # the only threshold, of all that split the pixels, at which the published iteration rests
    ordered = np.sort(soft.ravel())
    means = (
        np.cumsum(ordered)[:-1] / np.arange(1, soft.size),
        np.cumsum(ordered[::-1])[-2::-1] / np.arange(soft.size - 1, 0, -1),
    )
    halves = (means[0] + means[1]) / 2
    (rests,) = np.nonzero((ordered[:-1] < halves) & (halves <= ordered[1:]))
    assert len(rests) == 1
    parts, _ = ndimage.label(soft >= halves[rests[0]], np.ones((3, 3)))
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    mask = hard_mask(soft, min_area)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, (areas >= min_area)[parts])
    for turned in (np.flipud, np.fliplr, np.transpose):
        np.testing.assert_array_equal(hard_mask(turned(soft), min_area), turned(mask))


@given(seed=SEEDS, level=st.floats(-1, 1), noise=st.floats(0, 0.1))
def test_noise_without_a_second_level_is_no_defect(seed: int, level: float, noise: float) -> None:
    soft = level + noise * np.random.default_rng(seed).normal(size=(32, 32))
    assert not hard_mask(soft, 1).any()


@given(height=st.integers(16, 2048), width=st.integers(16, 2048), published=st.integers(1, 400))
def test_the_smallest_part_is_the_same_share_of_any_image(height: int, width: int, published: int) -> None:
    area = scaled_area((height, width), published)
    assert abs(area - max(1, published * height * width / 512**2)) <= 0.5
    assert area == scaled_area((width, height), published)
    assert scaled_area((512, 512), published) == published
    assert scaled_area((2 * height, 2 * width), published) >= area
