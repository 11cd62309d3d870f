"""Crops and feature vectors: the same rule for all, native pixels, every mirroring."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from torch import nn

from inout_aug.cache.features import Features, unit
from inout_aug.evaluate import crop_side, looks, turned_pictures, view
from inout_aug.evaluate.views import distances
from inout_aug.sample import Sample
from inout_aug.seeding import stream


def part(*defects: tuple[slice, slice], size: tuple[int, int] = (200, 500), channels: int = 1, seed: int = 0) -> Sample:
    image = stream(seed).integers(0, 255, (*size, channels)).astype(np.uint8)
    mask = np.zeros(size, np.uint8)
    for k, defect in enumerate(defects, start=1):
        mask[defect] = k
    return Sample(image, mask, 1)


def colours(size: Any = 64) -> Features:
    return Features(nn.AvgPool2d(8), mean=(0, 0, 0), std=(255, 255, 255), size=size)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_has_the_images_own_pixels_around_the_largest_defect(channels: int) -> None:
    sample = part(np.s_[10:12, 10:12], np.s_[100:110, 300:320], channels=channels)
    np.testing.assert_array_equal(view(sample, 64), sample.image[73:137, 278:342])


@pytest.mark.parametrize(
    ("defect", "corner"),
    [(np.s_[0:4, 0:4], (0, 0)), (np.s_[196:200, 496:500], (136, 436)), (np.s_[90:92, 0:500], (59, 218))],
)
def test_a_crop_stays_inside_the_image(defect: Any, corner: tuple[int, int]) -> None:
    sample = part(defect)
    top, left = corner
    np.testing.assert_array_equal(view(sample, 64), sample.image[top : top + 64, left : left + 64])


def test_a_small_image_is_continued_by_reflection() -> None:
    sample = part(np.s_[3:5, 3:5], size=(20, 100))
    crop = view(sample, 48)
    assert crop.shape == (48, 48, 1)
    padded = np.pad(sample.image, ((14, 14), (0, 0), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(crop, padded[:, :48])


def test_sixteen_bit_crops_stay_so() -> None:
    sample = part(np.s_[100:110, 300:320])
    deep = Sample(sample.image.astype(np.uint16) * 257, sample.mask, 1)
    np.testing.assert_array_equal(view(deep, 64), view(sample, 64).astype(np.uint16) * 257)


def test_without_a_defect_there_is_nothing_to_crop() -> None:
    for sample in (part(), Sample(part().image, None, 1)):
        with pytest.raises(ValueError, match="crop shows the defect"):
            view(sample, 64)
        assert view(sample, None) is sample.image


def test_the_crop_of_a_dataset_is_twice_a_typical_defect() -> None:
    small, large = part(np.s_[100:105, 100:104]), part(np.s_[50:150, 100:108])
    assert crop_side([small] * 5) == 64
    assert crop_side([small, small, large]) == 64
    assert crop_side([large] * 3) == 200  # no larger than the image
    assert crop_side([part(np.s_[20:60, 20:60], size=(90, 100))]) is None  # no close-up any more
    assert crop_side([Sample(part().image, None, 1)]) is None


def test_looks_are_means_of_what_the_network_gives() -> None:
    images = [part(size=(64, 64), channels=3, seed=k).image for k in range(3)]
    found = looks(colours(), images)
    cells = np.stack([image.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)) / 255 for image in images])
    np.testing.assert_allclose(found.pooled, unit(cells.mean(axis=(1, 2))) * 3**0.5)
    np.testing.assert_allclose(np.linalg.norm(found.pictures, axis=1), 1)
    assert found.pictures.shape == (3, 27)
    assert len(found) == 3


def test_every_mirroring_of_a_view_is_among_its_turned_pictures() -> None:
    square = part(size=(96, 96)).image
    wide = part(size=(64, 96)).image
    for images, count in (([square], 8), ([square, wide], 4)):
        turned = turned_pictures(colours(96), images)
        assert turned.shape[:2] == (len(images), count)
        np.testing.assert_allclose(turned[:, 0], looks(colours(96), images).pictures)
    turned = turned_pictures(colours(96), [square])[0]
    for copy in (square[:, ::-1], square[::-1], square[::-1, ::-1], square.transpose(1, 0, 2), np.rot90(square)):
        seen = looks(colours(96), [np.ascontiguousarray(copy)]).pictures
        assert distances(seen, turned).min() < 1e-6


def test_distances_are_euclidean() -> None:
    a, b = (unit(stream(k).normal(size=(7, 5))) for k in (0, 1))
    np.testing.assert_allclose(distances(a, b), cdist(a, b), atol=1e-9)
