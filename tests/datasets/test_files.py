from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from inout_aug.datasets._files import by_stem, contents, fit_image, fit_mask, list_images, read_image, read_mask

sides = st.integers(1, 40)


def test_read_image_keeps_depth_and_channels(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 20 * 30).astype(np.uint16).reshape(20, 30)
    cv2.imwrite(str(tmp_path / "deep.png"), deep)
    image = read_image(tmp_path / "deep.png")
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, deep[..., None])


def test_read_image_is_rgb(tmp_path: Path) -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    Pillow.fromarray(red).save(tmp_path / "red.png")
    np.testing.assert_array_equal(read_image(tmp_path / "red.png"), red)


def test_read_image_takes_any_file_name(tmp_path: Path) -> None:
    path = tmp_path / "Prüfling №7 表面.png"
    Pillow.fromarray(np.full((16, 17), 7, np.uint8)).save(path)
    assert read_image(path).shape == (16, 17, 1)


def test_read_image_refuses_with_the_file_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "alpha.png"), np.zeros((16, 16, 4), np.uint8))
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((15, 15), np.uint8))
    cv2.imwrite(str(tmp_path / "float.tiff"), np.zeros((16, 16), np.float32))
    (tmp_path / "torn.png").write_bytes((tmp_path / "tiny.png").read_bytes()[:40])
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"alpha\.png.*alpha channel"):
        read_image(tmp_path / "alpha.png")
    with pytest.raises(ValueError, match=r"tiny\.png.*16 pixels"):
        read_image(tmp_path / "tiny.png")
    with pytest.raises(TypeError, match=r"float\.tiff.*float32"):
        read_image(tmp_path / "float.tiff")
    for name in ("torn.png", "empty.png"):
        with pytest.raises(ValueError, match=f"{name} is not a readable image"):
            read_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_image(tmp_path / "absent.png")


def palette_image(values: np.ndarray, colours: list[int]) -> Pillow.Image:
    image = Pillow.fromarray(values, "L")
    image.putpalette(colours)
    return image


def test_read_mask_gives_values_as_on_disk(tmp_path: Path) -> None:
    values = np.zeros((5, 7), np.uint8)
    values[2, 3], values[4, 6] = 1, 2
    Pillow.fromarray(values).save(tmp_path / "grey.png")
    Pillow.fromarray(values > 0).save(tmp_path / "bits.png")
    Pillow.fromarray(np.repeat(values[..., None], 3, axis=2)).save(tmp_path / "rgb.png")
    Pillow.fromarray(values.astype(np.uint16)).save(tmp_path / "deep.png")
    palette_image(values, [0, 0, 0, 128, 0, 0, 0, 128, 0]).save(tmp_path / "voc.png")
    for name in ("grey", "rgb", "deep", "voc"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), values, err_msg=name)
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.png"), values > 0)


def test_read_mask_of_a_black_and_white_palette_goes_by_colour(tmp_path: Path) -> None:
    marked = np.zeros((5, 7), np.uint8)
    marked[2, 3] = 1
    palette_image(1 - marked, [255, 255, 255, 0, 0, 0]).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png"), marked * 255)


def test_read_mask_refuses_colour_and_rubbish(tmp_path: Path) -> None:
    colour = np.zeros((5, 7, 3), np.uint8)
    colour[1, 1] = 255, 0, 0
    Pillow.fromarray(colour).save(tmp_path / "colour.png")
    (tmp_path / "rubbish.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"colour\.png is a colour image"):
        read_mask(tmp_path / "colour.png")
    with pytest.raises(ValueError, match=r"rubbish\.png is not a readable mask"):
        read_mask(tmp_path / "rubbish.png")


@given(st.integers(0, 2**32 - 1), sides, sides, sides, sides)
@settings(max_examples=150, deadline=None)
def test_fit_mask_agrees_with_moving_pixels_one_by_one(seed: int, h: int, w: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random((h, w)) < 0.1).astype(np.uint8) * rng.integers(1, 4, (h, w), dtype=np.uint8)
    expected = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            # from the pixel's first source row and column to before those of the next, at least one
            rows = range(y * h // height, max((y + 1) * h // height, y * h // height + 1))
            columns = range(x * w // width, max((x + 1) * w // width, x * w // width + 1))
            expected[y, x] = max(mask[r, c] for r in rows for c in columns)
    np.testing.assert_array_equal(fit_mask(mask, (height, width)), expected)


@pytest.mark.parametrize("size", [(16, 16), (333, 17), (999, 1000), (1000, 64)])
def test_fit_mask_keeps_a_single_pixel(size: tuple[int, int]) -> None:
    for y, x in ((0, 0), (999, 999), (512, 731)):
        mask = np.zeros((1000, 1000), np.uint8)
        mask[y, x] = 3
        assert fit_mask(mask, size).max() == 3


def test_fit_mask_enlarges_like_nearest_neighbour() -> None:
    mask = np.random.default_rng(0).integers(0, 3, (20, 30), dtype=np.uint8)
    np.testing.assert_array_equal(fit_mask(mask, (60, 60)), mask.repeat(3, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_fit_image_averages_when_shrinking(dtype: type, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (64, 96, channels)).astype(dtype)
    small = fit_image(image, (32, 24))
    assert small.dtype == dtype
    assert small.shape == (32, 24, channels)
    means = image.reshape(32, 2, 24, 4, channels).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 0.51


def test_fit_image_shrinks_one_side_and_enlarges_the_other() -> None:
    stripes = np.zeros((64, 32, 1), np.uint8)
    stripes[::2] = 200
    image = fit_image(stripes, (16, 64))
    assert image.shape == (16, 64, 1)
    assert set(np.unique(image)) == {100}  # a linear look-up alone would alias


def test_list_images_goes_down_sorted_and_skips_the_rest(tmp_path: Path) -> None:
    for name in ("b/2.png", "a.JPG", "b/1.tif", "notes.txt", ".hidden.png", ".cache/x.png", "__.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [p.relative_to(tmp_path).as_posix() for p in list_images(tmp_path)] == ["a.JPG", "b/1.tif", "b/2.png"]


def test_by_stem_refuses_two_files_of_one_stem(tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "x" / "a.png"]
    assert list(by_stem(paths, tmp_path)) == ["a", "x/a"]
    with pytest.raises(ValueError, match=r"a\.png and .*a\.jpg have the same stem 'a'"):
        by_stem([*paths, tmp_path / "a.jpg"], tmp_path)


def test_contents_shows_the_first_entries(tmp_path: Path) -> None:
    assert contents(tmp_path).endswith("holds nothing")
    (tmp_path / "sub").mkdir()
    for i in range(9):
        (tmp_path / f"{i}.png").touch()
    assert contents(tmp_path).endswith("0.png, 1.png, 2.png, 3.png, 4.png, 5.png, 6.png, 7.png, … (2 more)")
    assert contents(tmp_path / "absent" / "deeper") == contents(tmp_path)
