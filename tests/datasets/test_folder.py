from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from inout_aug.datasets import MaskFolder


def image(path: Path, value: int = 90, dtype: type = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((24, 32), value, dtype))


def mask(path: Path, *areas: tuple[int, int]) -> None:
    """Write a mask with so many pixels of each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(24 * 32, np.uint8)
    start = 0
    for value, area in areas:
        values[start : start + area] = value
        start += area
    cv2.imwrite(str(path), values.reshape(24, 32))


def test_two_folders_nested(tmp_path: Path) -> None:
    images, masks = tmp_path / "i", tmp_path / "m"
    image(images / "line1" / "7.jpg")
    image(images / "line2" / "7.png")
    mask(masks / "line1" / "7.png", (255, 4))
    mask(masks / "line2" / "7.bmp")
    data = pickle.loads(pickle.dumps(MaskFolder(images, masks)))
    assert data.targets == [1, 0]
    assert data.classes == ("normal", "defect")
    assert data[0]["mask"].sum() == 4
    assert data[0]["path"].endswith("7.jpg")


def test_one_folder_with_a_suffix(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        image(tmp_path / f"{name}.png")
    mask(tmp_path / "b_mask.png", (1, 9))
    data = MaskFolder(tmp_path, tmp_path, mask_suffix="_mask", missing_mask="normal")
    assert data.targets == [0, 1, 0]
    assert [item["label"] for item in data] == [0, 1, 0]
    assert data[1]["mask"].sum() == 9
    assert not data[2]["mask"].any()


def test_masks_below_the_images(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    mask(tmp_path / "masks" / "a.png", (255, 1))
    assert MaskFolder(tmp_path, tmp_path / "masks").targets == [1]


def test_deep_images_stay_deep(tmp_path: Path) -> None:
    image(tmp_path / "i" / "a.png", 60000, np.uint16)
    mask(tmp_path / "m" / "a.png")
    item = MaskFolder(tmp_path / "i", tmp_path / "m")[0]
    assert item["image"].dtype == np.uint16
    assert (item["image"] == 60000).all()


def test_classes_from_values(tmp_path: Path) -> None:
    areas = {"a": [(1, 5), (2, 3)], "b": [(1, 3), (2, 5)], "c": [], "d": [(2, 1)]}
    for name, values in areas.items():
        image(tmp_path / "i" / f"{name}.png")
        mask(tmp_path / "m" / f"{name}.png", *values)
    data = MaskFolder(tmp_path / "i", tmp_path / "m", classes=("scratch", "dent"))
    assert data.classes == ("normal", "scratch", "dent")
    assert data.targets == [1, 2, 0, 2]
    assert [set(np.unique(item["mask"])) for item in data] == [{0, 1, 2}, {0, 1, 2}, {0}, {0, 2}]
    assert MaskFolder(tmp_path / "i", tmp_path / "m").targets == [1, 1, 0, 1]


def test_classes_from_palette_indices(tmp_path: Path) -> None:
    image(tmp_path / "i" / "a.png")
    (tmp_path / "m").mkdir()
    values = np.zeros((24, 32), np.uint8)
    values[3, 3] = 2
    indexed = Pillow.fromarray(values, "L")
    indexed.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    indexed.save(tmp_path / "m" / "a.png")
    data = MaskFolder(tmp_path / "i", tmp_path / "m", classes=("scratch", "dent"))
    np.testing.assert_array_equal(data[0]["mask"], values)


def test_a_value_that_is_no_class_is_refused(tmp_path: Path) -> None:
    image(tmp_path / "i" / "a.png")
    mask(tmp_path / "m" / "a.png", (255, 4))
    with pytest.raises(ValueError, match=r"a\.png holds the value 255; classes= names the ids 1 to 2.*leave classes"):
        _ = MaskFolder(tmp_path / "i", tmp_path / "m", classes=("scratch", "dent")).targets


def test_missing_masks_and_images_are_named(tmp_path: Path) -> None:
    images, masks = tmp_path / "i", tmp_path / "m"
    image(images / "a.png")
    image(images / "b.png")
    mask(masks / "a.png")
    with pytest.raises(FileNotFoundError, match=r"b\.png has no mask \(1 such\).*missing_mask='normal'.*holds a\.png"):
        MaskFolder(images, masks)
    with pytest.raises(FileNotFoundError, match=r"a\.png has no mask \(2 such\): expected .*a_gt\.\*"):
        MaskFolder(images, masks, mask_suffix="_gt")
    assert MaskFolder(images, masks, missing_mask="normal").targets == [0, 0]
    mask(masks / "c.png")
    with pytest.raises(FileNotFoundError, match=r"c\.png is the mask of no image \(1 such\).*holds a\.png, b\.png"):
        MaskFolder(images, masks, missing_mask="normal")


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    (tmp_path / "i").mkdir()
    (tmp_path / "m").mkdir()
    with pytest.raises(FileNotFoundError, match="no images in"):
        MaskFolder(tmp_path / "i", tmp_path / "m")
    with pytest.raises(FileNotFoundError, match=r"the folder of the masks.*holds i/, m/"):
        MaskFolder(tmp_path / "i", tmp_path / "masks")
    with pytest.raises(ValueError, match="missing_mask must be 'refuse' or 'normal'; got 'skip'"):
        MaskFolder(tmp_path / "i", tmp_path / "m", missing_mask="skip")  # type: ignore[arg-type]
    image(tmp_path / "i" / "a.png")
    image(tmp_path / "i" / "a.jpg")
    with pytest.raises(ValueError, match="same stem 'a'"):
        MaskFolder(tmp_path / "i", tmp_path / "m", missing_mask="normal")


def test_visa_like_folders_without_a_split(tmp_path: Path) -> None:
    image(tmp_path / "Images" / "Normal" / "0000.JPG")
    image(tmp_path / "Images" / "Anomaly" / "000.JPG")
    mask(tmp_path / "Masks" / "Anomaly" / "000.png", (3, 7))
    data = MaskFolder(tmp_path / "Images", tmp_path / "Masks", missing_mask="normal")
    assert data.targets == [1, 0]
