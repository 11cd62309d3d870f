from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from inout_aug.paste._perturb import check_perturb, draw_perturbation, perturbed

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


def test_memsegs_five_changes_are_drawn_as_plain_values():
    params = draw_perturbation("memseg", np.random.default_rng(0))
    assert set(params) == {"mirror", "rotation", "gain", "shift", "saturation", "hue"}
    assert json.loads(json.dumps(params)) == params
    draws = [draw_perturbation("memseg", np.random.default_rng(seed)) for seed in range(200)]
    assert {tuple(draw["mirror"]) for draw in draws} == {(a, b) for a in (False, True) for b in (False, True)}
    assert -45 <= min(draw["rotation"] for draw in draws) < -40


def test_the_others_are_a_seed():
    assert draw_perturbation("none", np.random.default_rng(0)) == {}
    assert set(draw_perturbation("draem", np.random.default_rng(0))) == {"perturb"}


def test_albumentations_is_a_function_of_the_seed():
    albumentations = pytest.importorskip("albumentations", reason="pip install 'inout-aug[albumentations]'")
    nested = albumentations.Compose(
        [albumentations.OneOf([albumentations.GaussNoise(p=1), albumentations.ColorJitter(p=1)], p=1)]
    )
    for transform in (albumentations.RandomBrightnessContrast(p=1), nested):
        check_perturb(transform)
        first, other = (perturbed(PICTURE, transform, seed) for seed in (1, 2))
        assert np.array_equal(perturbed(PICTURE, transform, 1), first)
        assert not np.array_equal(first, other)
        assert perturbed(PICTURE[..., :1].copy(), albumentations.HorizontalFlip(p=1), 0).shape == (24, 32, 1)


def test_an_albumentations_transform_that_does_not_fit_is_explained():
    albumentations = pytest.importorskip("albumentations", reason="pip install 'inout-aug[albumentations]'")
    with pytest.raises(ValueError, match="Leave out resizing"):
        perturbed(PICTURE, albumentations.Resize(8, 8), 0)
    with pytest.raises(ValueError, match="Leave out resizing"):
        perturbed(PICTURE, albumentations.Normalize(), 0)
    with pytest.raises(ValueError, match=r"failed on a source of shape .* uint16"):
        perturbed(PICTURE.astype(np.uint16), albumentations.Equalize(p=1), 0)


def test_a_missing_albumentations_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "albumentations", None)
    with pytest.raises(ImportError, match=r"pip install 'inout-aug\[albumentations\]'"):
        perturbed(PICTURE, object(), 0)


def test_what_is_no_perturbation_is_refused():
    with pytest.raises(ValueError, match='"memseg", "draem", "none"'):
        check_perturb("blur")
    with pytest.raises(TypeError, match="got function"):
        check_perturb(lambda image: image)
