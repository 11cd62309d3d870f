from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from inout_aug.paste.perlin import Perlin
from inout_aug.paste.simplex import Simplex

noise = pytest.importorskip("noise", reason="needs the noise package: pip install 'inout-aug[noise]'")


def share(field, size, cells):
    return np.mean([(field(*size, cells=cells, angle=30.0, seed=seed) > 0.5).mean() for seed in range(25)])


@pytest.mark.parametrize("octaves", [1, 3, 6])
def test_share_of_area_above_the_threshold_is_that_of_perlin(octaves):
    size, cells = (160, 160), (8, 8)
    assert share(Simplex(octaves=octaves), size, cells) == pytest.approx(share(Perlin(), size, cells), rel=0.25)


def test_values_are_those_of_the_noise_package():
    # cells of 2 pixels are sampled at each pixel
    field = Simplex()(20, 30, cells=(10, 15), angle=0.0, seed=5)
    origin_y, origin_x = np.random.Generator(np.random.PCG64(5)).random(2) * 256
    y, x = (np.arange(20) + 0.5 - 10) / 4 + origin_y, (np.arange(30) + 0.5 - 15) / 4 + origin_x
    theirs = np.array([[noise.snoise2(b, a) for b in x] for a in y])
    ratio = field / theirs
    assert ratio.std() < 1e-3 * ratio.mean()


@pytest.mark.parametrize("angle", [0.0, 20.0, -70.0])
def test_angle_turns_the_field_counter_clockwise(angle):
    fields = [Simplex()(200, 200, cells=(1, 16), angle=angle, seed=seed) for seed in range(4)]
    down, right = np.gradient(np.stack(fields).astype(np.float64), axis=(1, 2))
    turn = math.degrees(math.atan2(-2 * (down * right).sum(), (right**2 - down**2).sum())) / 2
    assert abs((turn - angle + 90) % 180 - 90) < 8


def test_more_octaves_are_rougher():
    smooth, rough = (Simplex(octaves=octaves)(128, 128, cells=(2, 2), angle=0.0, seed=0) for octaves in (1, 5))
    assert np.abs(np.diff(rough)).mean() > 1.5 * np.abs(np.diff(smooth)).mean()


@pytest.mark.parametrize("size", [(1, 1), (16, 4096), (231, 64), (512, 512)])
def test_any_size_with_few_calls(size, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return 0.25

    Simplex(octaves=4)(8, 8, cells=(1, 1), angle=0.0, seed=0)  # finds its scale
    monkeypatch.setattr(noise, "snoise2", counted)
    field = Simplex(octaves=4)(*size, cells=(32, 32), angle=10.0, seed=0)
    assert field.shape == size
    assert field.dtype == np.float32
    assert len(calls) <= 10_000


def test_a_seed_fixes_the_field_and_another_changes_it():
    one, same, other = (Simplex()(64, 64, cells=(4, 4), angle=10.0, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "noise", None)
    with pytest.raises(ImportError, match=r"pip install 'inout-aug\[noise\]'"):
        Simplex()


@pytest.mark.parametrize("octaves", [0, 7])
def test_octaves_are_bounded(octaves):
    with pytest.raises(ValueError, match="between 1 and 6"):
        Simplex(octaves=octaves)
