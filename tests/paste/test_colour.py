from __future__ import annotations

import colorsys

import numpy as np
import pytest

from inout_aug.paste._colour import TO_GREY, colour_matrix, is_grey, recolour, to_levels, with_depth

COLOURS = np.random.default_rng(0).integers(0, 256, (200, 3), np.uint8)


def test_nothing_changes_at_full_saturation_and_no_turn():
    np.testing.assert_allclose(colour_matrix(1.0, 0.0), np.eye(3), atol=1e-12)


def test_no_saturation_gives_luminance():
    np.testing.assert_allclose(colour_matrix(0.0, 0.0), TO_GREY, atol=1e-12)
    np.testing.assert_allclose(TO_GREY @ [255, 0, 0], 76.245)


@pytest.mark.parametrize("hue", [-70.0, 15.0, 120.0])
def test_hue_turns_about_the_grey_axis(hue):
    matrix = colour_matrix(1.0, hue)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-12)
    assert np.trace(matrix) == pytest.approx(1 + 2 * np.cos(np.radians(hue)))


def test_a_third_of_a_turn_sends_red_to_green():
    assert colour_matrix(1.0, 120.0) @ [1, 0, 0] == pytest.approx([0, 1, 0])
    assert colorsys.rgb_to_hsv(*(colour_matrix(1.0, 120.0) @ [0.9, 0.1, 0.1]))[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("dtype", "scale", "off"), [(np.uint8, 1, 1), (np.uint16, 257, 0.51)])
def test_recolouring_is_linear_then_rounded_and_clipped(dtype, scale, off):
    colours = COLOURS.astype(dtype) * dtype(scale)
    matrix = colour_matrix(1.4, 50.0) * 1.2
    expected = np.clip(colours @ matrix.T - 9 * scale, 0, 255 * scale)
    changed = recolour(colours, matrix=matrix, shift=-9 * scale)
    assert changed.dtype == dtype
    np.testing.assert_allclose(changed, expected, atol=off)
    assert np.abs(changed - expected).mean() < 0.3
    one = recolour(colours[:, :1], matrix=1.2 * np.eye(1), shift=-9 * scale)
    np.testing.assert_allclose(one, np.clip(colours[:, :1] * 1.2 - 9 * scale, 0, 255 * scale), atol=off)


def test_grey_is_exactly_grey():
    changed = recolour(COLOURS, matrix=TO_GREY * 0.93, shift=3.7)
    assert np.ptp(changed, axis=1).max() == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_real_values_become_the_nearest_levels(dtype):
    white = np.iinfo(dtype).max
    levels = to_levels(np.array([-3.0, 0.4, 1.6, white - 0.4, white + 9.0], np.float32), np.dtype(dtype))
    assert levels.dtype == dtype
    assert levels.tolist() == [0, 0, 2, white, white]


def test_a_depth_is_changed_at_the_same_brightness():
    wide = with_depth(COLOURS, np.dtype(np.uint16))
    assert wide.dtype == np.uint16
    assert np.array_equal(wide, COLOURS * np.uint16(257))
    back = with_depth(wide + np.uint16(100) * (wide < 65000), np.dtype(np.uint8))
    assert back.dtype == np.uint8
    assert np.array_equal(back, COLOURS)
    assert with_depth(COLOURS, COLOURS.dtype) is COLOURS


def test_is_grey():
    assert is_grey(COLOURS[:, :1])
    assert is_grey(np.repeat(COLOURS[:, :1], 3, axis=1))
    for channel in range(3):
        almost = np.full((10, 10, 3), 7, np.uint8)
        almost[4, 4, channel] = 8
        assert not is_grey(almost)
