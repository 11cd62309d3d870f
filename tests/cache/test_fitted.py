"""A converted cache holds the same samples in the same order, is made once, and loses no defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.cache import SampleCache, fill_cache
from inout_aug.cache.fitted import fit_cache, with_channels, with_depth
from inout_aug.cache.sampler import CachedSampler
from inout_aug.plugin import Request
from inout_aug.sample import Sample
from standin import Noise


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"


def filled(path: Path, n: int = 6, shape: Any = (24, 32, 3), **options: Any) -> SampleCache:
    generator = options.pop("generator", Noise(dtype=options.get("dtype", "uint8")))
    return fill_cache(generator, path, n, shape=shape, progress=False, **options)


def fitted(cache: SampleCache, shape: tuple[int, ...], dtype: Any = np.uint8, *, lossy: bool = False) -> SampleCache:
    return fit_cache(cache, np.zeros(shape, dtype), lossy=lossy, progress=False)


def test_what_fits_is_the_cache_itself(tmp_path: Path, folder: Path) -> None:
    cache = filled(tmp_path / "a")
    assert fitted(cache, (24, 32, 3)) is cache
    assert not folder.exists()


def test_samples_are_resized_once(tmp_path: Path, folder: Path) -> None:
    cache = filled(tmp_path / "a")
    smaller = fitted(cache, (16, 20, 3))
    for before, after in zip(cache, smaller, strict=True):
        expected = cv2.resize(before.image, (20, 16), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(after.image, expected)
        assert after.label == before.label
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    fitted(SampleCache(tmp_path / "a"), (16, 20, 3))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written


def test_a_grown_cache_is_fitted_anew(tmp_path: Path) -> None:
    cache = filled(tmp_path / "a", 3)
    assert len(fitted(cache, (16, 20, 3))) == 3
    assert len(fitted(filled(tmp_path / "a", 5), (16, 20, 3))) == 5


def test_mixed_sizes_keep_their_positions(tmp_path: Path) -> None:
    shapes = [(24, 32, 3), (48, 16, 3)]
    cache = filled(tmp_path / "a", shape=lambda k: shapes[k % 2])
    whole = fitted(cache, (48, 16, 3))
    for position in range(6):
        if cache[position].image.shape == (48, 16, 3):
            np.testing.assert_array_equal(whole[position].image, cache[position].image)
        assert whole[position].origin.params["params"]["params"]["index"] == cache.indices[position]


class Speck(Noise):
    """A defect of one pixel, of the class asked for."""

    def make(self, request: Request) -> Sample:
        mask = np.zeros((request.height, request.width), np.uint8)
        mask[request.seed % request.height, request.seed % request.width] = request.defect_class
        return Sample(super().make(request).image, mask, request.defect_class)


def test_a_defect_of_one_pixel_does_not_vanish(tmp_path: Path) -> None:
    cache = filled(tmp_path / "a", 12, (96, 128, 1), generator=Speck(), conditions={"defect_class": 7})
    for sample in fitted(cache, (17, 19, 1)):
        assert set(np.unique(np.asarray(sample.mask))) == {0, 7}


def test_grey_becomes_colour_and_eight_bit_sixteen(tmp_path: Path) -> None:
    cache = filled(tmp_path / "a", shape=(24, 32, 1))
    deep = fitted(cache, (24, 32, 3), np.uint16)
    for before, after in zip(cache, deep, strict=True):
        np.testing.assert_array_equal(after.image, np.repeat(before.image.astype(np.uint16) * 257, 3, axis=2))


def test_what_would_be_lost_is_refused_unless_allowed(tmp_path: Path) -> None:
    cache = filled(tmp_path / "a")
    with pytest.raises(ValueError, match=r"has colour images, the dataset grey ones.*lossy=True"):
        fitted(cache, (24, 32, 1))
    grey = fitted(cache, (24, 32, 1), lossy=True)
    np.testing.assert_array_equal(grey[0].image[..., 0], cv2.cvtColor(cache[0].image, cv2.COLOR_RGB2GRAY))
    deep = filled(tmp_path / "b", dtype="uint16")
    with pytest.raises(ValueError, match=r"has 16-bit images, the dataset 8-bit ones"):
        fitted(deep, (24, 32, 3))
    np.testing.assert_array_equal(
        fitted(deep, (24, 32, 3), lossy=True)[0].image, np.rint(deep[0].image / 257).astype(np.uint8)
    )


def test_draws_of_a_converted_cache_say_where_they_are_from(tmp_path: Path) -> None:
    cache = filled(tmp_path / "a")
    like = Sample(np.zeros((16, 16, 3), np.uint8))
    drawn = CachedSampler(cache).bind(6, like, 0)(2, 0)
    original = cache[int(np.flatnonzero(cache.indices == drawn.origin.params["index"])[0])]
    assert drawn.image.shape == (16, 16, 3)
    assert drawn.origin == original.origin


@given(st.integers(0, 65535))
def test_depth_there_and_back(value: int) -> None:
    image = np.full((16, 16, 1), value, np.uint16)
    eight = with_depth(image, "uint8")
    assert eight[0, 0, 0] == round(value / 257)
    assert abs(int(with_depth(eight, "uint16")[0, 0, 0]) - value) <= 128


def test_channels_there_and_back() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    np.testing.assert_array_equal(with_channels(with_channels(grey, 3), 1), grey)
