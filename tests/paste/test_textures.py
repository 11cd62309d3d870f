from __future__ import annotations

import pickle
import warnings

import cv2
import numpy as np
import pytest

from inout_aug.paste.textures import Textures


def picture(height, width, seed=0, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "a.png"), picture(40, 50, 1))
    cv2.imwrite(str(tmp_path / "deep" / "b.PNG"), picture(40, 50, 2, channels=1))
    cv2.imwrite(str(tmp_path / "deep" / "er" / "c.tiff"), picture(40, 50, 3).astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "d.png"), picture(40, 50, 4, channels=4))
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_is_searched_at_any_depth(folder):
    textures = Textures(folder)
    assert textures.names == ["a.png", "d.png", "deep/b.PNG", "deep/er/c.tiff"]
    assert len(textures) == 4


def test_pictures_come_in_rgb_with_the_hosts_channels_and_their_own_bits(folder):
    textures = Textures(folder)
    colour = textures.fetch(0, (40, 50, 3), "cover")
    assert np.array_equal(colour, picture(40, 50, 1)[..., ::-1])
    assert np.array_equal(textures.fetch(1, (40, 50, 3), "cover"), picture(40, 50, 4, channels=4)[..., 2::-1])
    assert np.array_equal(textures.fetch(2, (40, 50, 1), "cover")[..., 0], picture(40, 50, 2, channels=1))
    assert textures.fetch(3, (40, 50, 3), "cover").dtype == np.uint16
    grey = textures.fetch(0, (40, 50, 1), "cover")
    np.testing.assert_allclose(grey[..., 0], colour @ [0.299, 0.587, 0.114], atol=0.6)
    assert np.array_equal(np.ptp(textures.fetch(2, (40, 50, 3), "cover"), axis=2), np.zeros((40, 50)))


@pytest.mark.parametrize("host", [(64, 64), (100, 33), (20, 400), (512, 512)])
@pytest.mark.parametrize("fit", ["cover", "stretch"])
def test_a_large_texture_is_shrunk_by_areas_to_a_little_more_than_needed(host, fit):
    large = Textures([np.full((300, 500), 77, np.uint8)])
    texture = large.fetch(0, (*host, 1), fit)
    assert (texture == 77).all()
    ratios = [host[0] / texture.shape[0], host[1] / texture.shape[1]]
    if fit == "stretch":
        assert all(
            2**-0.5 - 0.01 < ratio <= 1 or side == full
            for ratio, side, full in zip(ratios, texture.shape, (300, 500), strict=False)
        )
    else:
        assert texture.shape[:2] == (300, 500) or 2**-0.5 - 0.01 < max(ratios) <= 1
    checks = np.indices((256, 256)).sum(0).astype(np.uint8) % 2 * 255
    assert np.ptp(Textures([checks]).fetch(0, (32, 32, 1), "cover")) < 60


def test_the_cache_is_bounded_and_stays_at_home():
    textures = Textures([picture(64, 64, seed) for seed in range(20)], cache_bytes=100_000)
    for index in np.random.default_rng(0).integers(0, 20, 200):
        for size in (16, 32, 48):
            textures.fetch(int(index), (size, size, 1), "cover")
        assert sum(kept.nbytes for kept in textures._cache.values()) <= 100_000
    one = Textures([picture(64, 64)])
    before = len(pickle.dumps(one))
    one.fetch(0, (64, 64, 1), "cover")
    assert len(pickle.dumps(one)) == before
    assert np.array_equal(pickle.loads(pickle.dumps(one)).fetch(0, (64, 64, 3), "cover"), picture(64, 64))


def test_an_unreadable_picture_is_passed_over_with_one_warning(folder):
    (folder / "a.png").write_bytes(b"not a picture")
    (folder / "d.png").write_bytes(b"")
    textures = Textures(folder)
    with pytest.warns(UserWarning, match=r"texture .*[ad]\.png cannot be read") as caught:
        assert textures.readable(0, (40, 50, 3), "cover") == 2
    assert len(caught) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert textures.readable(0, (40, 50, 3), "cover") == 2
        assert textures.readable(1, (40, 50, 3), "cover") == 2
        assert textures.readable(3, (40, 50, 3), "cover") == 3


def test_a_float_picture_is_unreadable(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tiff"), np.zeros((20, 20), np.float32))
    with pytest.warns(UserWarning, match="float32"), pytest.raises(ValueError, match=r"none of the 1 textures"):
        Textures(tmp_path).readable(0, (40, 50, 3), "cover")


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\.jpg.*\.png"):
        Textures(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        Textures(tmp_path / "absent")


@pytest.mark.parametrize(
    ("arrays", "error", "message"),
    [
        ([], ValueError, "empty list"),
        ([np.zeros((20, 20))], TypeError, "texture 0 must be a uint8 or uint16 array; got float64"),
        ([picture(20, 20), "b.png"], TypeError, "texture 1 .* got str"),
        ([np.zeros((2, 20, 20, 3), np.uint8)], ValueError, r"got \(2, 20, 20, 3\)"),
    ],
)
def test_what_is_no_picture_is_refused(arrays, error, message):
    with pytest.raises(error, match=message):
        Textures(arrays)


def test_the_repr_tells_the_content(folder):
    first = repr(Textures(folder))
    assert str(folder) not in first
    assert repr(Textures(folder)) == first
    (folder / "a.png").unlink()
    assert repr(Textures(folder)) != first
    assert repr(Textures([picture(20, 20, 1)])) != repr(Textures([picture(20, 20, 2)]))
