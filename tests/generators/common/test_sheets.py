"""Sheets of samples as files: the picture that was drawn, in the format that the name says."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from inout_aug.sample import Sample
from inout_aug.sheet import Entry, contact_sheet
from inout_generators.common.sheets import write_sheet

RED = (200, 30, 10)


def samples(count: int = 5, channels: int = 3, dtype: Any = np.uint8) -> list[Sample]:
    mask = np.zeros((48, 64), np.uint8)
    mask[10:30, 20:40] = 1
    colour = np.array(RED[:channels], dtype) * dtype(np.iinfo(dtype).max // 255)
    return [Sample(np.full((48, 64, channels), colour, dtype), mask if k % 2 else None, k % 2) for k in range(count)]


def read(path: Path) -> Any:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]


def test_the_file_is_the_contact_sheet_colour_by_colour(tmp_path: Path) -> None:
    path, names = tmp_path / "sheet.png", [f"a scratch, {k}" for k in range(5)]
    write_sheet(path, iter(samples()), names=iter(names), tile=64)
    entries = [Entry(sample=each, name=name, details="") for each, name in zip(samples(), names, strict=True)]
    sheet = read(path)
    np.testing.assert_array_equal(sheet, contact_sheet(entries, columns=4, tile=64))
    assert (sheet == RED).all(2).sum() > 6 * 64**2
    assert not (sheet == RED[::-1]).all(2).any()
    plain = tmp_path / "plain.png"
    write_sheet(plain, samples(), tile=64)
    assert read(plain).shape == sheet.shape
    assert (read(plain) != sheet).any()


def test_four_samples_stand_side_by_side(tmp_path: Path) -> None:
    shapes = []
    for count in (1, 3, 4, 5, 8, 9):
        write_sheet(tmp_path / "sheet.png", samples(count), tile=32)
        shapes.append(read(tmp_path / "sheet.png").shape)
    (one, three, four, five, eight, nine) = shapes
    assert one[1] < three[1] < four[1] == five[1] == eight[1] == nine[1]
    assert one[0] == three[0] == four[0] < five[0] == eight[0] < nine[0]


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".jpg", b"\xff\xd8\xff"), (".webp", b"RIFF"), (".bmp", b"BM")]
)
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (1, np.uint16), (3, np.uint16)])
def test_the_suffix_is_the_format_whatever_the_samples_are(
    tmp_path: Path, suffix: str, start: bytes, channels: int, dtype: Any
) -> None:
    # a name that is no ASCII, which some of OpenCV's own writers cannot take
    path = tmp_path / f"Größe{suffix}"
    write_sheet(path, samples(2, channels, dtype), tile=32)
    content = path.read_bytes()
    assert content.startswith(start)
    again = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert (again.dtype, again.shape[2]) == (np.uint8, 3)


def test_what_makes_no_sheet_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    with pytest.raises(ValueError, match="at least one sample"):
        write_sheet(path, [])
    for names in (["one"], ["one"] * 3):
        with pytest.raises(ValueError, match="zip"):
            write_sheet(path, samples(2), names=names)
    with pytest.raises(ValueError, match="tile is at least 32"):
        write_sheet(path, samples(2), tile=8)
    with pytest.raises(cv2.error):
        write_sheet(path.with_suffix(".sheet"), samples(2))
    assert not list(tmp_path.iterdir())
