"""Mixing against the formula in floats, and the least contrast that it must have."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from inout_aug.paste._blend import blend, fade_in, noise_of
from inout_aug.plugin import HostRefused
from inout_aug.seeding import stream


def noisy(level, sigma, dtype=np.uint8, channels=3):
    values = stream(0).normal(level, sigma, (90, 110, channels))
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


def pixels(dtype, channels, seed, count=5000):
    return stream(seed).integers(0, np.iinfo(dtype).max + 1, (count, channels), dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("opacity", [0.15, 0.5, 1.0])
def test_opacity_weighs_the_colours_and_fades_where_wanted(dtype, channels, opacity):
    values, colours = pixels(dtype, channels, 1), pixels(dtype, channels, 2)
    for fade in (None, stream(3).uniform(0.01, 1, (5000, 1)).astype(np.float32)):
        weight = opacity if fade is None else opacity * fade
        expected = (1 - weight) * values + weight * colours
        host = noisy(100, 5, dtype, channels)
        painted = blend(values, colours, opacity, fade=fade, host=host, min_contrast=0)
        assert painted.dtype == dtype
        np.testing.assert_allclose(painted, expected, atol=0.51)


@pytest.mark.parametrize("faded", [False, True])
@pytest.mark.parametrize(
    ("level", "colour", "sign"), [(120, 121, 1), (120, 119, -1), (120, 120, 1), (5, 4, 1), (251, 252, -1)]
)
def test_a_faint_change_is_lifted_away_from_zero_and_from_the_ends_of_the_range(level, colour, sign, faded):
    fade = np.linspace(0.1, 1, 4000, dtype=np.float32)[:, None] if faded else None
    values, colours = (np.full((4000, 3), grey, np.uint8) for grey in (level, colour))
    host = noisy(120, 6)
    change = blend(values, colours, 1.0, fade=fade, host=host, min_contrast=2).astype(float) - values
    assert 10 < 2 * noise_of(host) < 14
    assert change.mean() == pytest.approx(sign * 2 * noise_of(host), abs=0.6)
    assert (np.abs(change[0]) < np.abs(change[-1])).all() == faded


@pytest.mark.parametrize("colour", [90, 140])
def test_no_other_change_is_lifted(colour):
    values, colours = (np.full((4000, 3), grey, np.uint8) for grey in (120, colour))
    assert np.array_equal(blend(values, colours, 1.0, fade=None, host=noisy(120, 6), min_contrast=2), colours)


@pytest.mark.parametrize("faded", [False, True])
def test_what_changes_nothing_is_refused(faded):
    values = pixels(np.uint8, 3, 1)
    fade = np.ones((5000, 1), np.float32) if faded else None
    with pytest.raises(HostRefused, match="min_contrast > 0, or textures"):
        blend(values, values.copy(), 0.7, fade=fade, host=noisy(120, 6), min_contrast=0)
    turned = values[::-1].copy()  # of the same mean
    assert not np.array_equal(blend(values, turned, 0.7, fade=fade, host=noisy(120, 6), min_contrast=0), values)


@pytest.mark.parametrize(("sigma", "expected"), [(0.0, 2.55), (1.0, 2.55), (5.0, 5.0), (10.0, 10.0), (40.0, 12.75)])
def test_noise_is_its_deviation_within_limits(sigma, expected):
    assert noise_of(noisy(128, sigma)) == pytest.approx(expected, rel=0.2)
    assert noise_of(noisy(128 * 257, sigma * 257, np.uint16, 1)) == pytest.approx(257 * expected, rel=0.2)


def test_neither_stripes_nor_shading_is_noise():
    y, x = np.mgrid[:200, :300]
    for pattern in (60 * np.sign(np.sin(x)), 60 * np.sign(np.sin(y)), 0.3 * x + 0.2 * y):
        host = np.clip(120 + pattern + stream(1).normal(0, 4, (200, 300)), 0, 255).astype(np.uint8)[..., None]
        assert noise_of(host) == pytest.approx(4, rel=0.25)


def test_a_fade_rises_with_the_distance_from_the_edge():
    mask = stream(2).random((60, 80)) < 0.97
    mask[10:50, 20:60] = True
    fade = fade_in(mask, 5)
    assert fade.dtype == np.float32
    np.testing.assert_allclose(fade, np.minimum(ndimage.distance_transform_edt(mask) / 6, 1), atol=0.05)
    assert (fade[mask] > 0).all()
    assert not fade[~mask].any()
