from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from inout_aug.datasets import KSDD2


def make(folder: Path, labels: Iterable[int], first: int = 10000, size: tuple[int, int] = (60, 20)) -> Path:
    """Write images whose value is their position, and a mask of a single pixel where the label is 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, label in enumerate(labels):
        mask = np.zeros(size, np.uint8)
        mask[size[0] // 3, size[1] // 3] = 255 * label
        cv2.imwrite(f"{folder}/{first + i}.png", np.full((*size, 3), i, np.uint8))
        cv2.imwrite(f"{folder}/{first + i}_GT.png", mask)
    return folder


def test_items(tmp_path: Path) -> None:
    make(tmp_path / "train", [0, 1, 0])
    make(tmp_path / "test", [1], first=20000)
    train = KSDD2(tmp_path, strict_counts=False)
    assert len(train) == 3
    assert train.targets == [0, 1, 0]
    assert train.classes == ("normal", "defect")
    for i, item in enumerate(train):
        assert item["image"].shape == (60, 20, 3)
        assert (item["image"] == i).all()
        assert item["mask"].dtype == np.uint8
        assert item["mask"].sum() == item["label"] == train.targets[i]
        assert item["path"] == str(tmp_path / "train" / f"{10000 + i}.png")
    assert KSDD2(tmp_path, "test", strict_counts=False).targets == [1]


def test_a_folder_named_good_flips_no_label(tmp_path: Path) -> None:
    make(tmp_path / "good" / "train", [1, 0, 1])
    assert KSDD2(tmp_path / "good", strict_counts=False).targets == [1, 0, 1]


def test_copies_are_ignored(tmp_path: Path) -> None:
    folder = make(tmp_path / "train", [0, 1])
    for name in ("10001.png", "10001_GT.png"):
        shutil.copy(folder / name, folder / name.replace(".png", " (copy).png"))
        shutil.copy(folder / name, folder / name.replace("10001", "10001(copy)"))
    assert KSDD2(tmp_path, strict_counts=False).targets == [0, 1]


def test_missing_mask_and_orphan_mask_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "train", [0, 1])
    (folder / "10001_GT.png").rename(tmp_path / "kept.png")
    with pytest.raises(FileNotFoundError, match=r"10001\.png has no mask 10001_GT\.png.*missing_mask='normal'"):
        KSDD2(tmp_path, strict_counts=False)
    (tmp_path / "kept.png").rename(folder / "10001_GT.png")
    (folder / "10000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"10000_GT\.png is the mask of no image"):
        KSDD2(tmp_path, strict_counts=False)


def test_wrong_layout_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Expected the KSDD2 layout.*holds pictures/"):
        KSDD2(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "readme.txt").touch()
    with pytest.raises(FileNotFoundError, match=r"no images in .*holds readme\.txt"):
        KSDD2(tmp_path)
    with pytest.raises(ValueError, match="split must be 'train' or 'test'; got 'val'"):
        KSDD2(tmp_path, "val")  # type: ignore[arg-type]


def test_official_counts(tmp_path: Path) -> None:
    folder = make(tmp_path / "test", [0, 1], first=0)
    with pytest.raises(ValueError, match=r"holds 2 images.*test part has 1004.*strict_counts=False"):
        KSDD2(tmp_path, "test")
    for i in range(1004):
        shutil.copy(folder / "0.png", folder / f"{20000 + i}.png")
        shutil.copy(folder / ("1_GT.png" if i < 110 else "0_GT.png"), folder / f"{20000 + i}_GT.png")
    for name in ("0.png", "0_GT.png", "1.png", "1_GT.png"):
        (folder / name).rename(tmp_path / name)
    test = KSDD2(tmp_path, "test")
    assert (test.targets.count(0), test.targets.count(1)) == (894, 110)
    assert KSDD2(tmp_path, "test", shots=0).targets == [0] * 894
    shutil.copy(tmp_path / "1_GT.png", folder / "21003_GT.png")
    with pytest.raises(ValueError, match=r"893 images have an empty mask and 111 a defect; KSDD2 has \(894, 110\)"):
        _ = KSDD2(tmp_path, "test").targets


def test_shots(tmp_path: Path) -> None:
    make(tmp_path / "train", [0, 1] * 10)
    few = KSDD2(tmp_path, strict_counts=False, shots=3, seed=1)
    assert (few.targets.count(0), few.targets.count(1)) == (10, 3)
    assert [item["label"] for item in few] == few.targets
    chosen = {tuple(int(item["image"][0, 0, 0]) for item in KSDD2(tmp_path, strict_counts=False, shots=3, seed=s))
              for s in range(6)}  # fmt: skip
    assert len(chosen) > 1
    with pytest.raises(ValueError, match=r"\[0, 10\]"):
        KSDD2(tmp_path, strict_counts=False, shots=11)


def test_images_are_read_only_when_asked_for(tmp_path: Path) -> None:
    folder = make(tmp_path / "train", [0, 1])
    (folder / "10001.png").write_bytes(b"torn")
    train = KSDD2(tmp_path, strict_counts=False)
    assert train.targets == [0, 1]
    assert train[0]["label"] == 0
    with pytest.raises(ValueError, match=r"10001\.png is not a readable image"):
        train[1]


@pytest.mark.parametrize("size", [(16, 16), (30, 40), (233, 17)])
def test_size_never_loses_a_defect(tmp_path: Path, size: tuple[int, int]) -> None:
    make(tmp_path / "train", [1, 0], size=(200, 150))
    train = KSDD2(tmp_path, strict_counts=False, size=size)
    assert train[0]["image"].shape == (*size, 3)
    assert train[0]["mask"].shape == size
    assert train[0]["mask"].any()
    assert [item["label"] for item in train] == train.targets == [1, 0]


def test_pickles(tmp_path: Path) -> None:
    make(tmp_path / "train", [0, 1])
    train = pickle.loads(pickle.dumps(KSDD2(tmp_path, strict_counts=False)))
    assert train.targets == [0, 1]
    assert train[1]["mask"].sum() == 1


@pytest.mark.real_data
@pytest.mark.parametrize(("split", "counts"), [("train", (194, 29)), ("test", (139, 21))])
def test_ksdd1(real_data: Path, split: str, counts: tuple[int, int]) -> None:
    data = KSDD2(real_data / "ksdd1", split, strict_counts=False)  # type: ignore[arg-type]
    assert (data.targets.count(0), data.targets.count(1)) == counts
    for i in (0, data.targets.index(1)):
        item = data[i]
        assert item["image"].shape[1:] == (250, 1)
        assert item["mask"].shape == item["image"].shape[:2]
        assert item["mask"].max() == item["label"] == data.targets[i]
    with pytest.raises(ValueError, match="strict_counts=False"):
        KSDD2(real_data / "ksdd1", split)  # type: ignore[arg-type]
