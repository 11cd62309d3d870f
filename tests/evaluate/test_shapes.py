"""Masks in numbers: drawn shapes whose numbers are known."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import ks_2samp, kstwobign

from inout_aug.evaluate import Shape, compare_shapes, shape_of
from inout_aug.evaluate.shapes import heatmap, kolmogorov
from inout_aug.seeding import stream


def mask(draw: Any, size: tuple[int, int] = (100, 200)) -> Any:
    canvas = np.zeros(size, np.uint8)
    draw(canvas)
    return canvas


@pytest.mark.parametrize("angle", [0, 30, 90])
def test_an_ellipse(angle: int) -> None:
    shape = shape_of(mask(lambda m: cv2.ellipse(m, (60, 40), (32, 8), angle, 0, 360, 1, cv2.FILLED)))
    assert shape.elongation == pytest.approx(32.5 / 8.5, rel=0.02)
    assert (shape.x, shape.y) == pytest.approx((60.5 / 200, 40.5 / 100), abs=1e-3)
    assert shape.area == pytest.approx(np.pi * 32.5 * 8.5 / 20000, rel=0.02)


def test_a_line_one_pixel_wide_is_as_long_as_it_is() -> None:
    assert shape_of(mask(lambda m: m[50].__setitem__(slice(10, 60), 3))).elongation == pytest.approx(50)
    assert shape_of(mask(lambda m: m[50].__setitem__(10, 1))).elongation == pytest.approx(1)


def test_parts_are_counted_and_the_largest_is_measured() -> None:
    noise = (stream(0).random((64, 64)) < 0.2).astype(np.uint8)
    assert shape_of(noise).parts == label(noise, np.ones((3, 3)))[1]
    two = mask(lambda m: (cv2.rectangle(m, (0, 0), (19, 19), 1, -1), cv2.rectangle(m, (50, 50), (59, 50), 2, -1)))
    assert shape_of(two).parts == 2
    assert shape_of(two).elongation == pytest.approx(1)


def test_an_empty_mask_has_no_shape() -> None:
    with pytest.raises(ValueError, match="empty mask"):
        shape_of(np.zeros((32, 32), np.uint8))


def test_kolmogorov_is_scipys() -> None:
    for seed in range(5):
        a, b = stream(seed).integers(0, 9, 23), stream(seed, 1).integers(2, 12, 41)
        assert kolmogorov(a, b) == pytest.approx(ks_2samp(a, b).statistic)


def test_the_limit_is_that_of_the_5_percent_level() -> None:
    shapes = [shape_of((stream(k).random((32, 32)) < 0.1).astype(np.uint8)) for k in range(90)]
    area = compare_shapes(shapes[:40], shapes[40:])[0]
    assert area.name == "area"
    assert area.ks_limit == pytest.approx(kstwobign.isf(0.05) * (1 / 40 + 1 / 50) ** 0.5, rel=1e-4)


def test_masks_twice_as_large_differ_in_area_alone() -> None:
    def squares(side: int) -> list[Shape]:
        corners = [(k, 2 * k) for k in range(40)]
        return [shape_of(mask(lambda m, y=y, x=x: m[y : y + side, x : x + side].fill(1))) for y, x in corners]

    found = compare_shapes(squares(8), squares(16))
    assert [shape.name for shape in found if shape.ks > shape.ks_limit] == ["area"]
    assert found[0].real == pytest.approx((64 / 20000,) * 3)


def test_a_heatmap_has_the_share_of_defective_pixels() -> None:
    left = mask(lambda m: m[:, :100].fill(2))
    found = heatmap([left, np.zeros_like(left)], cells=4)
    np.testing.assert_allclose(found, [[0.5, 0.5, 0, 0]] * 4, atol=1e-6)
