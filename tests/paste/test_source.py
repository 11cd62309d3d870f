"""The sources against the same steps done on whole images, as the paper words them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from inout_aug.paste._colour import colour_matrix
from inout_aug.paste.source import draw_structure, draw_texture, structure_at, texture_at, tint
from inout_aug.paste.textures import Textures
from inout_aug.seeding import stream

EVERYWHERE = np.arange(48 * 80)


@pytest.fixture
def host():
    noise = stream(0).integers(0, 256, (48, 80, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def whole(colours):
    return colours.reshape(48, 80, -1).astype(float)


def test_structure_is_mirrored_turned_recoloured_and_shuffled(host):
    look = {"mirror": [True, False], "rotation": 27.0, "gain": 1.1, "shift": -0.05, "saturation": 1.4, "hue": 35.0}
    params = draw_structure(host, stream(1), (4, 8)) | look
    mirrored = host[::-1]
    about_centre = cv2.getRotationMatrix2D((39.5, 23.5), 27.0, 1.0)
    turned = cv2.warpAffine(mirrored, about_centre, (80, 48), borderMode=cv2.BORDER_REFLECT_101)
    recoloured = np.clip(turned @ colour_matrix(1.4, 35.0).T * 1.1 - 0.05 * 255, 0, 255)
    cells = recoloured.reshape(4, 12, 8, 10, 3).swapaxes(1, 2).reshape(32, 12, 10, 3)
    expected = cells[params["shuffle"]].reshape(4, 8, 12, 10, 3).swapaxes(1, 2).reshape(48, 80, 3)
    ours = whole(tint(structure_at(EVERYWHERE, host, params, "memseg"), params, host, host.reshape(-1, 3)))
    assert np.abs(ours - expected).max() < 4
    assert np.abs(ours - expected).mean() < 0.5


@pytest.mark.parametrize("size", [(30, 40), (96, 500), (300, 100)])
def test_a_covering_texture_is_scaled_then_cropped(host, size):
    texture = cv2.GaussianBlur(stream(2).integers(0, 256, (*size, 3), np.uint8), (0, 0), 6)
    textures = Textures([texture])
    params = draw_texture(host, stream(3), textures, "cover")
    scale = max(48 / size[0], 80 / size[1])
    scaled = cv2.resize(texture, (round(size[1] * scale), round(size[0] * scale)), interpolation=cv2.INTER_AREA)
    top = round((scaled.shape[0] - 48) * params["crop"][0])
    left = round((scaled.shape[1] - 80) * params["crop"][1])
    expected = scaled[top : top + 48, left : left + 80].astype(float)
    ours = whole(texture_at(EVERYWHERE, host, params, "none", textures, "cover"))
    assert np.abs(ours - expected).mean() < 3
    assert np.corrcoef(ours.ravel(), expected.ravel())[0, 1] > 0.99


def test_a_perturbed_texture_is_perturbed_as_laid_over_the_host(host):
    albumentations = pytest.importorskip("albumentations", reason="pip install 'inout-aug[albumentations]'")
    textures = Textures([stream(2).integers(0, 256, (90, 90, 3), np.uint8)])
    params = draw_texture(host, stream(3), textures, "stretch")
    plain = whole(texture_at(EVERYWHERE, host, params, "none", textures, "stretch"))
    flip = albumentations.HorizontalFlip(p=1)
    flipped = whole(texture_at(EVERYWHERE, host, params | {"perturb": 5}, flip, textures, "stretch"))
    assert np.array_equal(flipped, plain[:, ::-1])


def test_a_few_pixels_are_those_of_the_whole(host):
    some = np.sort(stream(4).choice(EVERYWHERE, 200, replace=False))
    textures = Textures([stream(2).integers(0, 256, (90, 90, 3), np.uint8)])
    for perturb, more in (("none", {}), ("draem", {"perturb": 9})):
        structure, texture = draw_structure(host, stream(1), (3, 5)), draw_texture(host, stream(3), textures, "cover")
        for at in (
            lambda where, s=structure | more, p=perturb: structure_at(where, host, s, p),
            lambda where, t=texture | more, p=perturb: texture_at(where, host, t, p, textures, "cover"),
        ):
            assert np.array_equal(at(some), at(EVERYWHERE)[some])
