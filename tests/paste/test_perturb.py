from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from inout_aug import MemSegPaste
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


@pytest.mark.parametrize("library", ["torchvision", "kornia"])
def test_transforms_of_other_libraries_are_functions_of_the_seed(library):
    if library == "torchvision":
        transform = v2.Compose([v2.ColorJitter(0.5, 0.5, 0.5, 0.2), v2.RandomRotation(20)])
    else:
        kornia = pytest.importorskip("kornia.augmentation", reason="pip install 'inout-aug[kornia]'")
        transform = kornia.ColorJiggle(0.5, 0.5, 0.5, 0.2, p=1.0)
    check_perturb(transform)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, other = (perturbed(PICTURE, transform, seed) for seed in (1, 2))
    assert np.array_equal(perturbed(PICTURE, transform, 1), first)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_any_of_them_changes_what_a_paster_paints():
    host = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    paster = MemSegPaste(perturb=v2.RandomInvert(p=1.0), min_contrast=0)
    params = paster.make_params(host, np.random.default_rng(0))
    unperturbed = {name: value for name, value in params.items() if name != "perturb"}
    plain = MemSegPaste(perturb="none", min_contrast=0).apply(host, unperturbed)[0]
    assert not np.array_equal(paster.apply(host, params)[0], plain)


def test_what_is_no_perturbation_is_refused():
    with pytest.raises(ValueError, match='"memseg", "draem", "none"'):
        check_perturb("blur")
    with pytest.raises(TypeError, match="got function"):
        check_perturb(lambda image: image)
