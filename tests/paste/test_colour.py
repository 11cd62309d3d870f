from __future__ import annotations

import colorsys

import numpy as np
import pytest

from inout_aug.paste._colour import TO_GREY, colour_matrix, is_grey, recolour

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


def test_recolouring_is_linear_then_clipped():
    matrix = colour_matrix(1.4, 50.0)
    expected = np.clip(COLOURS @ matrix.T * 1.2 - 9, 0, 255)
    changed = recolour(COLOURS, matrix=matrix, gain=1.2, shift=-9, white=255)
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed, expected, atol=1e-3)
    without = recolour(COLOURS, matrix=None, gain=1.2, shift=-9, white=255)
    np.testing.assert_allclose(without, np.clip(COLOURS * 1.2 - 9, 0, 255), atol=1e-3)
    one = recolour(COLOURS[:, :1].astype(np.uint16) * 257, matrix=None, gain=1.0, shift=0.0, white=65535)
    np.testing.assert_array_equal(one, COLOURS[:, :1].astype(float) * 257)


def test_grey_is_exactly_grey():
    changed = recolour(COLOURS, matrix=TO_GREY, gain=0.93, shift=3.7, white=255)
    assert np.ptp(changed, axis=1).max() == 0


def test_is_grey():
    assert is_grey(COLOURS[:, :1])
    assert is_grey(np.repeat(COLOURS[:, :1], 3, axis=1))
    for channel in range(3):
        almost = np.full((10, 10, 3), 7, np.uint8)
        almost[4, 4, channel] = 8
        assert not is_grey(almost)
