from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inout_aug.paste import perlin
from inout_aug.paste.perlin import Perlin, perlin_field, random_gradients


def fade(t):
    return 6 * t**5 - 15 * t**4 + 10 * t**3


def noise_at(gradient_y, gradient_x, y, x):
    """The textbook formula at points, in cells: four dot products, blended along x, then along y."""
    row = np.minimum(np.asarray(y).astype(int), len(gradient_y) - 2)
    column = np.minimum(np.asarray(x).astype(int), len(gradient_y[0]) - 2)
    v, u = y - row, x - column

    def dot(down, right):
        near = row + down, column + right
        return gradient_y[near] * (v - down) + gradient_x[near] * (u - right)

    upper = dot(0, 0) + fade(u) * (dot(0, 1) - dot(0, 0))
    lower = dot(1, 0) + fade(u) * (dot(1, 1) - dot(1, 0))
    return math.sqrt(2) * (upper + fade(v) * (lower - upper))


def rotated_noise(monkeypatch, size, cells, angle, seed):
    """A rotated field, and what it is by the formula."""
    lattices = []

    def remember(rows, columns, seed):
        lattices.append(random_gradients(rows, columns, seed))
        return lattices[-1]

    with monkeypatch.context() as patch:
        patch.setattr(perlin, "random_gradients", remember)
        field = Perlin()(*size, cells=cells, angle=angle, seed=seed)
    (gradients,) = lattices
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    down, right = (np.indices(size).T - [(side - 1) / 2 for side in size]).T
    y = (cosine * down + sine * right) * cells[0] / size[0] + (len(gradients[0]) - 1) / 2
    x = (cosine * right - sine * down) * cells[1] / size[1] + (len(gradients[0][0]) - 1) / 2
    return field, noise_at(*gradients, y, x)


def structure_direction(field):
    """The direction of greatest variation in degrees, counter-clockwise from the x axis, in [0, 180)."""
    down, right = np.gradient(field.astype(np.float64))
    turn = math.degrees(math.atan2(-2 * (down * right).sum(), (right**2 - down**2).sum())) / 2
    return turn % 180


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_field_equals_the_formula_at_each_pixel(height, width, rows, columns, seed):
    gradients = random_gradients(rows, columns, seed)
    expected = [
        [noise_at(*gradients, y * rows / height, x * columns / width) for x in range(width)] for y in range(height)
    ]
    field = Perlin()(height, width, cells=(rows, columns), angle=0.0, seed=seed)
    assert field.dtype == np.float32
    np.testing.assert_allclose(field, expected, atol=1e-5)


def test_field_agrees_with_the_noise_package_given_its_gradients():
    noise = pytest.importorskip("noise", reason="needs the noise package: pip install 'inout-aug[noise]'")
    rows, columns, pixels, step = 5, 7, 8, 1e-2
    # At a lattice point the noise is zero and its slope is the gradient there.
    gradient_y = np.array(
        [[noise.pnoise2(x, y + step) - noise.pnoise2(x, y - step) for x in range(columns + 1)] for y in range(rows + 1)]
    )
    gradient_x = np.array(
        [[noise.pnoise2(x + step, y) - noise.pnoise2(x - step, y) for x in range(columns + 1)] for y in range(rows + 1)]
    )
    field = perlin_field(
        (gradient_y / (2 * step)).astype(np.float32),
        (gradient_x / (2 * step)).astype(np.float32),
        rows * pixels,
        columns * pixels,
    )
    theirs = [[noise.pnoise2(x / pixels, y / pixels) for x in range(columns * pixels)] for y in range(rows * pixels)]
    assert np.ptp(theirs) > 0.5
    np.testing.assert_allclose(field / math.sqrt(2), theirs, atol=1e-3)


@pytest.mark.parametrize("size", [(96, 96), (64, 152), (232, 72), (101, 47), (512, 512)])
@pytest.mark.parametrize("cells", [(1, 2), (4, 4), (8, 16), (32, 2), (32, 32)])
def test_rotated_field_equals_the_formula_at_the_rotated_pixels(size, cells, monkeypatch):
    for angle in (25.0, -80.0):
        field, exact = rotated_noise(monkeypatch, size, cells, angle, seed=3)
        assert np.abs(field - exact).max() < 0.035
        assert abs((field - exact).mean()) < 0.002


def test_interpolation_takes_no_area_from_a_rotated_field(monkeypatch):
    pairs = [
        rotated_noise(monkeypatch, (160, 160), cells, 30.0, seed)
        for cells in [(2, 2), (8, 8), (16, 16), (20, 4)]
        for seed in range(12)
    ]
    areas = np.array([[(part > 0.5).mean() for part in pair] for pair in pairs])
    assert areas[:, 0].mean() == pytest.approx(areas[:, 1].mean(), rel=0.02)
    np.testing.assert_allclose(areas[:, 0], areas[:, 1], atol=0.01)


@pytest.mark.parametrize("zero_corners", [False, True])
@pytest.mark.parametrize("angle", [0.0, 20.0, -70.0, 90.0])
def test_angle_turns_the_field_counter_clockwise(zero_corners, angle):
    # 16 cells along x and 1 along y vary along x before rotation
    fields = [Perlin(zero_corners=zero_corners)(200, 200, cells=(1, 16), angle=angle, seed=seed) for seed in range(4)]
    direction = structure_direction(np.concatenate([field[60:140, 60:140] for field in fields]))
    assert abs((direction - angle + 90) % 180 - 90) < 8


@pytest.mark.parametrize(("height", "width"), [(200, 600), (600, 200), (17, 33), (256, 256)])
@pytest.mark.parametrize("rows", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("columns", [1, 8, 32])
def test_no_size_is_refused(height, width, rows, columns):
    field = Perlin()(height, width, cells=(rows, columns), angle=40.0, seed=0)
    assert field.shape == (height, width)
    assert np.isfinite(field).all()
    assert 0 < np.abs(field).max() < 1.1


def test_rotation_keeps_the_share_of_area_above_the_threshold():
    upright = [(Perlin()(128, 384, cells=(4, 12), angle=0.0, seed=seed) > 0.5).mean() for seed in range(40)]
    rotated = [(Perlin()(128, 384, cells=(4, 12), angle=45.0, seed=seed) > 0.5).mean() for seed in range(40)]
    emptied = [
        (Perlin(zero_corners=True)(128, 384, cells=(4, 12), angle=45.0, seed=seed) > 0.5).mean() for seed in range(40)
    ]
    assert np.mean(rotated) == pytest.approx(np.mean(upright), rel=0.15)
    assert np.mean(emptied) < 0.75 * np.mean(upright)


def test_a_seed_fixes_the_field_and_another_changes_it():
    one, same, other = (Perlin()(64, 64, cells=(4, 4), angle=10.0, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_number_of_opencv_threads_changes_no_bit():
    threads = cv2.getNumThreads()
    try:
        fields = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            fields.append(Perlin()(500, 700, cells=(8, 16), angle=33.0, seed=1))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(*fields)


def test_gradients_are_unit_vectors_in_all_directions():
    y, x = random_gradients(30, 30, seed=0)
    np.testing.assert_allclose(np.hypot(y, x), 1, atol=1e-6)
    assert abs(y.mean()) < 0.1
    assert abs(x.mean()) < 0.1


@pytest.mark.parametrize("bad", [{"height": 0}, {"width": 0}, {"cells": (0, 1)}])
def test_nothing_to_draw_is_refused(bad):
    with pytest.raises(ValueError, match="at least 1 pixel and 1 cell"):
        Perlin()(**{"height": 8, "width": 8, "cells": (1, 1), "angle": 0.0, "seed": 0} | bad)
