import numpy as np
import pytest

from inout_aug.paste._raster import rasterise


def place(strokes, height, width):
    """Opacity on the whole image."""
    part, top, left = rasterise(strokes, height, width)
    canvas = np.zeros((height, width), np.float32)
    canvas[top : top + part.shape[0], left : left + part.shape[1]] = part
    return canvas


def test_a_disc_has_the_soft_edge_of_its_formula():
    y, x = np.mgrid[:40, :50]
    distance = np.hypot(y - 19.3, x - 24.8)
    expected = 0.8 * np.clip(1 - (distance / 7.5) ** 2, 0, 1) ** 2
    np.testing.assert_allclose(place([[[19.3, 24.8, 7.5, 0.8]]], 40, 50), expected, atol=1e-5)


@pytest.mark.parametrize("radius", [1.5, 3.0, 9.0])
def test_a_straight_stroke_has_its_edge_all_along_and_no_beads(radius):
    canvas = place([[[30.4, 10, radius, 1], [30.4, 90, radius, 1]]], 61, 100)
    y = np.arange(61)
    profile = np.clip(1 - ((y - 30.4) / radius) ** 2, 0, 1) ** 2
    np.testing.assert_allclose(canvas[:, 15:85], np.repeat(profile[:, None], 70, axis=1), atol=0.06)


def test_a_stroke_thinner_than_a_pixel_is_never_broken_but_fainter():
    thick = place([[[20.5, 5, 1.2, 1], [31.7, 75, 1.2, 1]]], 50, 80)
    thin = place([[[20.5, 5, 0.3, 1], [31.7, 75, 0.3, 1]]], 50, 80)
    np.testing.assert_allclose(thin, thick / 4, atol=1e-6)
    assert thick[:, 6:74].max(axis=0).min() > 0.4


def test_radius_and_opacity_change_evenly_between_points():
    canvas = place([[[20, 10, 2, 0.2], [20, 90, 8, 1.0]]], 41, 100)
    assert canvas[20, [30, 50, 70]] == pytest.approx([0.4, 0.6, 0.8], abs=0.04)
    assert np.count_nonzero(canvas[:, 50]) in (9, 10)


def test_crossing_strokes_do_not_add_up():
    canvas = place([[[20, 5, 3, 0.5], [20, 35, 3, 0.5]], [[5, 20, 3, 0.5], [35, 20, 3, 0.5]]], 41, 41)
    assert canvas.max() == pytest.approx(0.5)


def test_what_runs_out_of_the_image_is_cut_off():
    stroke = np.array([[-30, -40, 4, 1], [60, 90, 4, 1]])
    whole = place([stroke + np.array([50, 50, 0, 0])], 200, 200)
    np.testing.assert_allclose(place([stroke], 40, 50), whole[50:90, 50:100], atol=1e-3)


def test_a_stroke_elsewhere_leaves_nothing():
    assert rasterise([[[-50, 5, 2, 1], [-40, 5, 2, 1]]], 30, 30)[0].size == 0
    assert rasterise([[[5, 50, 2, 1], [5, 60, 2, 1]]], 30, 30)[0].size == 0
