from __future__ import annotations

import math

import numpy as np
import pytest

from inout_aug.datasets._defects import DEFECTS, press
from inout_aug.datasets._materials import MATERIALS, Surface
from inout_aug.seeding import stream


@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("scale", [16, 100, 512])
def test_stamp_is_bounded_by_its_cover(defect: str, scale: int) -> None:
    for i in range(40):
        stamp = DEFECTS[defect](stream(i), scale, 0.3)
        assert stamp.cover.dtype == stamp.shift.dtype == np.float32
        assert stamp.cover.shape == stamp.shift.shape
        assert stamp.cover.min() >= 0
        assert 0.9 < stamp.cover.max() < 1 + 1e-6
        assert (np.abs(stamp.shift) <= stamp.cover + 1e-5).all()
        # the window holds all of it: the rim is bare
        rim = np.concatenate([stamp.cover[0], stamp.cover[-1], stamp.cover[:, 0], stamp.cover[:, -1]])
        assert rim.max() < 0.05


@pytest.mark.parametrize("light", [0, math.pi / 2, math.pi, 4.0])
def test_the_far_side_of_a_dent_is_bright(light: float) -> None:
    shift = DEFECTS["dent"](stream(5), 200, light).shift
    half = len(shift) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    towards_light = x * math.cos(light) + y * math.sin(light)
    assert shift[towards_light < 0].mean() > 0.01
    assert shift[towards_light > 0].mean() < -0.01


@pytest.mark.parametrize("defect", DEFECTS)
def test_press_changes_the_luminance_inside_the_mask_only(defect: str) -> None:
    for i in range(30):
        clean = stream(i).uniform(50, 200, (40, 70)).astype(np.float32)
        surface = Surface(clean.copy(), (1.0, 1.0, 1.0), 0.0)
        mask, cover = press(surface, DEFECTS[defect](stream(i, 1), 40, 0.0), stream(i, 2), 0.5)
        assert mask.any()
        np.testing.assert_array_equal(mask > 0, cover > 0)
        changed = surface.luminance != clean
        assert not changed[mask == 0].any()
        assert changed.sum() > 0.8 * mask.sum()


@pytest.mark.parametrize("material", MATERIALS)
def test_a_material_is_lit_as_it_says(material: str) -> None:
    falls = []
    for seed in range(30):
        surface = MATERIALS[material](stream(seed), stream(seed, 1), 120, 120)
        y, x = np.mgrid[-1:1:120j, -1:1:120j]
        towards_light = x * math.cos(surface.light) + y * math.sin(surface.light)
        assert np.isfinite(surface.luminance).all()
        falls.append(surface.luminance[towards_light > 0.3].mean() - surface.luminance[towards_light < -0.3].mean())
    assert np.mean(falls) > 3
