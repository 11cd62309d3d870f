from pathlib import Path

import cv2
import numpy as np
import pytest

from inout_aug.cli._data import Format, open_data


def write(path: Path, picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


GREY = np.full((32, 40), 90, np.uint8)
MASK = 255 * np.eye(32, 40, dtype=np.uint8)


def labels(dataset):
    return [dataset[i]["label"] for i in range(len(dataset))]


def paths(dataset):
    return {dataset[i]["path"] for i in range(len(dataset))}


def test_surfaces_have_separate_parts():
    train, test = open_data(None, None), open_data(None, Format.SURFACES, "test")
    assert train.targets.count(0) == 540
    assert not {train[i]["path"] for i in range(3)} & {test[i]["path"] for i in range(3)}


def test_shots_thin_the_defects_of_the_training_part_only():
    full, few = open_data(None, None), open_data(None, None, shots=2)
    assert len(few) == full.targets.count(0) + 2
    assert len(open_data(None, None, shots=0)) == full.targets.count(0)
    assert len(open_data(None, None, "test", shots=0)) == len(open_data(None, None, "test"))


def test_ksdd2(tmp_path):
    for part, k, mask in (("train", 0, MASK), ("train", 1, 0 * MASK), ("test", 2, 0 * MASK)):
        write(tmp_path / part / f"{k}.png", GREY)
        write(tmp_path / part / f"{k}_GT.png", mask)
    assert labels(open_data(tmp_path, Format.KSDD2)) == [1, 0]
    assert labels(open_data(tmp_path, Format.KSDD2, "test")) == [0]


@pytest.mark.parametrize("category", [None, "tile"])
def test_mvtec_gives_half_of_the_defects_to_training(tmp_path, category):
    root = tmp_path / (category or "")
    for name in ("train/good", "test/good", "test/crack", "test/spot"):
        for k in range(4):
            write(root / name / f"{k}.png", GREY)
    for name in ("crack", "spot"):
        for k in range(4):
            write(root / "ground_truth" / name / f"{k}_mask.png", MASK)
    train = open_data(tmp_path, Format.MVTEC, category=category)
    test = open_data(tmp_path, Format.MVTEC, "test", category=category)
    assert sorted(labels(train)) == sorted(labels(test)) == [0, 0, 0, 0, 1, 1, 2, 2]
    assert not paths(train) & paths(test)
    assert set(labels(open_data(tmp_path, Format.MVTEC, category=category, binary=True))) == {0, 1}


def test_a_folder_is_divided_by_seed_and_class(tmp_path):
    for k in range(9):
        write(tmp_path / "images" / f"{k}.png", GREY)
    for k in range(3):
        write(tmp_path / "masks" / f"{k}.png", MASK)
    train, test = open_data(tmp_path, Format.FOLDER), open_data(tmp_path, Format.FOLDER, "test")
    assert (labels(train).count(1), labels(test).count(1)) == (2, 1)
    assert (labels(train).count(0), labels(test).count(0)) == (3, 3)
    assert not paths(train) & paths(test)
    assert paths(train) == paths(open_data(tmp_path, Format.FOLDER))
    assert any(paths(train) != paths(open_data(tmp_path, Format.FOLDER, seed=seed)) for seed in (1, 2, 3))
    assert labels(open_data(tmp_path, Format.FOLDER, shots=1)).count(1) == 1


def test_a_folder_that_is_divided_already_stays_so(tmp_path):
    for part, k in (("train", 0), ("train", 1), ("test", 2)):
        write(tmp_path / part / "images" / f"{k}.png", GREY)
        write(tmp_path / part / "masks" / f"{k}.png", k % 2 * MASK)
    assert labels(open_data(tmp_path, Format.FOLDER)) == [0, 1]
    assert labels(open_data(tmp_path, Format.FOLDER, "test")) == [0]


@pytest.mark.real_data
@pytest.mark.parametrize(("folder", "layout"), [("ksdd1", Format.KSDD2), ("magnetic_tile", Format.MVTEC)])
def test_opens_the_real_folders(real_data, folder, layout):
    train, test = open_data(real_data / folder, layout), open_data(real_data / folder, layout, "test")
    assert min(train.targets.count(0), test.targets.count(0)) > 100
    assert set(train.targets) == set(test.targets)
