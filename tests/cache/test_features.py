"""Features: the same whatever the threads, of the cells a mask touches, from files that hold no code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import squeezenet1_0

from inout_aug.cache.features import Features
from inout_aug.seeding import stream


def averages(size: Any = (64, 64), bgr: bool = False) -> Features:
    """The colours of 8 × 8 pixels, between 0 and 1."""
    return Features(nn.AvgPool2d(8), mean=(0, 0, 0), std=(255, 255, 255), size=size, bgr=bgr)


def convolutions(seed: int = 0) -> Features:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 32, 7, stride=4), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2))
    return Features(model, mean=(120, 120, 120), std=(60, 60, 60), size=64)


def image(seed: int = 0, shape: tuple[int, ...] = (64, 64, 3)) -> Any:
    return stream(seed).integers(0, 255, shape, endpoint=True).astype(np.uint8)


def test_a_map_is_what_the_model_gives() -> None:
    pixels = image()
    expected = pixels.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(averages().map(pixels), expected, rtol=1e-12)
    np.testing.assert_allclose(averages(bgr=True).map(pixels), expected[::-1], rtol=1e-12)


def test_cells_are_those_the_mask_touches() -> None:
    pixels = image()
    mask = np.zeros((64, 64), np.uint8)
    mask[7, 7] = mask[8, 20] = 1
    cells = averages().cells(pixels, mask)
    colours = [pixels[0:8, 0:8].mean(axis=(0, 1)), pixels[8:16, 16:24].mean(axis=(0, 1))]
    np.testing.assert_allclose(cells, [colour / np.linalg.norm(colour) for colour in colours], rtol=1e-12)
    assert averages().cells(pixels, None).shape == (64, 3)


def test_proportions_are_kept_where_one_number_gives_the_size() -> None:
    assert averages(size=64).map(image(shape=(200, 50, 1))).shape == (3, 16, 8)  # no side below 64 pixels
    assert averages(size=128).map(image(shape=(128, 32, 1))).shape == (3, 32, 8)
    assert averages(size=(64, 64)).map(image(shape=(200, 50, 1))).shape == (3, 8, 8)


def test_sixteen_bit_and_grey_images_are_seen_as_eight_bit_colour() -> None:
    grey = image(shape=(64, 64, 1))
    expected = averages().map(np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(averages().map(grey), expected)
    np.testing.assert_array_equal(averages().map(grey.astype(np.uint16) * 257), expected)


def test_pictures_know_where_and_have_length_one() -> None:
    pixels = image()
    pixels[:20] = 0
    features = convolutions()
    picture = features.picture(pixels)
    assert np.linalg.norm(picture) == pytest.approx(1)
    assert np.linalg.norm(picture - features.picture(np.ascontiguousarray(pixels[::-1]))) > 0.1


def test_the_number_of_threads_changes_nothing_that_is_kept() -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(convolutions().map(image()).copy())
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-12)


def test_the_last_image_is_remembered_by_identity_only() -> None:
    features = averages()
    first = image(0)
    kept = features.map(first)
    assert features.map(first) is kept
    np.testing.assert_array_equal(features.map(image(1)), averages().map(image(1)))


def test_fingerprints_tell_weights_and_preparation_apart() -> None:
    different = [convolutions(0), convolutions(1), averages(), averages(size=64), averages(bgr=True)]
    assert len({features.fingerprint for features in different}) == 5
    assert convolutions(0).fingerprint == convolutions(0).fingerprint
    copy = pickle.loads(pickle.dumps(different[0]))
    assert copy.fingerprint == different[0].fingerprint
    np.testing.assert_array_equal(copy.map(image()), different[0].map(image()))


def test_squeezenet_from_a_safetensors_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = squeezenet1_0(weights=None)
    # half precision, as such files often are
    save_file({name: value.half() for name, value in network.state_dict().items()}, tmp_path / "weights.safetensors")
    features = Features.squeezenet(tmp_path / "weights.safetensors", size=64)
    pixels = image()
    tensor = torch.from_numpy(pixels[..., ::-1] - np.array([104.0, 117.0, 123.0])).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network.half().double().eval().features(tensor)[0].numpy()
    np.testing.assert_allclose(features.map(pixels), expected, rtol=1e-9, atol=1e-9)
    with pytest.raises(FileNotFoundError):
        Features.squeezenet(tmp_path / "none.safetensors")
    save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(RuntimeError, match="Missing key"):
        Features.squeezenet(tmp_path / "other.safetensors")


@pytest.mark.parametrize(("name", "cells"), [("resnet18", 4), ("vit_tiny_patch16_224", 14)])
def test_any_timm_model_from_a_safetensors_file(tmp_path: Path, name: str, cells: int) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    size = 64 if name == "resnet18" else None
    features = Features.timm(name, weights=tmp_path / "weights.safetensors", size=size)
    found = features.map(image(shape=(64, 64, 3)))
    assert found.shape[1:] == (cells, cells)
    assert (
        features.fingerprint
        != Features.timm(name, weights=tmp_path / "weights.safetensors", layer=-1, size=size).fingerprint
    )
