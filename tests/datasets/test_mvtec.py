from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from inout_aug.datasets import MVTecAD, VisA

COUNTS = {"train/good": 4, "test/good": 3, "test/bent": 6, "test/a torn edge": 5, "test/good_but_dirty": 1}


def write(path: Path, value: int, shape: tuple[int, ...] = (24, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full(shape, value, np.uint8))


def make(root: Path, mask_suffix: str = "_mask") -> Path:
    for part, count in COUNTS.items():
        for i in range(count):
            write(root / part / f"{i:03}.png", i)
            if part.startswith("test") and part != "test/good":
                write(root / part.replace("test", "ground_truth") / f"{i:03}{mask_suffix}.png", 255)
    return root


def test_items(tmp_path: Path) -> None:
    train, test = MVTecAD(make(tmp_path)), MVTecAD(tmp_path, "test")
    assert train.classes == test.classes == ("good", "a torn edge", "bent", "good_but_dirty")
    assert train.targets == [0] * 4
    assert Counter(test.targets) == {0: 3, 1: 5, 2: 6, 3: 1}
    for item, target in zip(test, test.targets, strict=True):
        assert item["image"].shape == (24, 32, 1)
        assert item["label"] == target
        assert Path(item["path"]).parent.name == test.classes[target]
        assert (item["mask"] == target).all()


def test_targets_read_no_file(tmp_path: Path) -> None:
    make(tmp_path)
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    assert len(MVTecAD(tmp_path, "test").targets) == 15


def test_binary(tmp_path: Path) -> None:
    test = MVTecAD(make(tmp_path), "test", binary=True)
    assert test.classes == ("good", "defect")
    assert Counter(test.targets) == {0: 3, 1: 12}
    assert {int(item["mask"].max()) for item in test} == {0, 1}


def test_a_parent_folder_named_good_flips_no_label(tmp_path: Path) -> None:
    test = MVTecAD(make(tmp_path / "good" / "goods"), "test")
    assert Counter(test.targets) == {0: 3, 1: 5, 2: 6, 3: 1}


def test_masks_named_like_their_images(tmp_path: Path) -> None:
    make(tmp_path, mask_suffix="")
    assert MVTecAD(tmp_path, "test")[3]["mask"].all()
    write(tmp_path / "ground_truth" / "bent" / "000_mask.png", 255)
    with pytest.raises(ValueError, match="same stem '000'"):
        MVTecAD(tmp_path, "test")


def test_category(tmp_path: Path) -> None:
    make(tmp_path / "tile")
    make(tmp_path / "wood")
    assert len(MVTecAD(tmp_path, category="tile")) == 4
    with pytest.raises(FileNotFoundError, match="category= one of tile, wood"):
        MVTecAD(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"category 'zip'.*holds tile/, wood/"):
        MVTecAD(tmp_path, category="zip")


def test_wrong_layouts_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected the MVTec AD layout.*holds nothing"):
        MVTecAD(tmp_path)
    make(tmp_path)
    with pytest.raises(ValueError, match="split must be 'train' or 'test'; got 'all'"):
        MVTecAD(tmp_path, "all")  # type: ignore[arg-type]
    (tmp_path / "ground_truth" / "bent" / "004_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"004\.png has no mask .*004_mask\.png.*holds 000_mask\.png"):
        MVTecAD(tmp_path, "test")
    write(tmp_path / "train" / "bent" / "000.png", 1)
    with pytest.raises(ValueError, match=r"holds bent beside 'good'.*supervised"):
        MVTecAD(tmp_path)


def test_supervised_is_stratified_and_loses_nothing(tmp_path: Path) -> None:
    train, test = MVTecAD.supervised(make(tmp_path))
    assert Counter(train.targets) == {0: 4, 1: 2, 2: 3}
    assert Counter(test.targets) == {0: 3, 1: 3, 2: 3, 3: 1}  # of a single image none moves
    paths = [item["path"] for part in (train, test) for item in part]
    assert len(set(paths)) == len(paths) == sum(COUNTS.values())
    assert [item["label"] for item in train] == train.targets


def test_supervised_by_seed_fraction_and_binary(tmp_path: Path) -> None:
    make(tmp_path)

    def paths(**options: object) -> list[str]:
        return [item["path"] for item in MVTecAD.supervised(tmp_path, **options)[0]]  # type: ignore[arg-type]

    assert paths(seed=1) == paths(seed=1) == paths(seed=1, binary=True)
    assert len({tuple(paths(seed=s)) for s in range(8)}) > 4
    assert len(paths(train_fraction=0.01)) == 4 + 2
    assert len(paths(train_fraction=0.99)) == 4 + 4 + 5
    assert set(MVTecAD.supervised(tmp_path, binary=True)[0].targets) == {0, 1}
    for fraction in (0, 1, float("nan")):
        with pytest.raises(ValueError, match="strictly between 0 and 1"):
            paths(train_fraction=fraction)


def test_shots_change_the_training_part_only(tmp_path: Path) -> None:
    make(tmp_path)
    all_test = [item["path"] for item in MVTecAD.supervised(tmp_path)[1]]
    for shots, expected in ((0, {0: 4}), (2, {0: 4, 1: 1, 2: 1}), (5, {0: 4, 1: 2, 2: 3})):
        train, test = MVTecAD.supervised(tmp_path, shots=shots)
        assert Counter(train.targets) == expected
        assert [item["path"] for item in test] == all_test
    with pytest.raises(ValueError, match=r"\[0, 5\]"):
        MVTecAD.supervised(tmp_path, shots=6)


def test_size_and_pickle(tmp_path: Path) -> None:
    test = pickle.loads(pickle.dumps(MVTecAD(make(tmp_path), "test", size=(16, 20))))
    assert test[4]["image"].shape == (16, 20, 1)
    assert test[4]["mask"].shape == (16, 20)


def make_visa(root: Path) -> Path:
    rows = ["object,split,label,image,mask"]
    for category in ("candle", "pcb1"):
        for i in range(3):
            image = f"{category}/Data/Images/Normal/{i:04}.JPG"
            write(root / image, 90, (24, 32, 3))
            rows.append(f"{category},{'train' if i < 2 else 'test'},normal,{image},")
        image, mask = f"{category}/Data/Images/Anomaly/000.JPG", f"{category}/Data/Masks/Anomaly/000.png"
        write(root / image, 90, (24, 32, 3))
        write(root / mask, 4)
        rows.append(f"{category},test,anomaly,{image},{mask}")
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\n".join(rows))
    return root


def test_visa(tmp_path: Path) -> None:
    make_visa(tmp_path)
    assert VisA(tmp_path, category="pcb1").targets == [0, 0]
    test = pickle.loads(pickle.dumps(VisA(tmp_path, "test", category="candle")))
    assert test.targets == [0, 1]
    assert test[0]["image"].shape == (24, 32, 3)
    assert [set(np.unique(item["mask"])) for item in test] == [{0}, {1}]
    assert "candle" in test[1]["path"]


def test_visa_refuses_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"MaskFolder.*MVTecAD"):
        VisA(tmp_path, category="candle")
    make_visa(tmp_path)
    with pytest.raises(ValueError, match=r"no 'train' part of 'wax'; it has \[\('candle', 'test'\)"):
        VisA(tmp_path, category="wax")
    with pytest.raises(FileNotFoundError, match=r"2cls_fewshot\.csv"):
        VisA(tmp_path, category="candle", protocol="2cls_fewshot")
    (tmp_path / "pcb1/Data/Masks/Anomaly/000.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"the split names .*Masks.*000\.png, which is missing"):
        VisA(tmp_path, "test", category="pcb1")
    (tmp_path / "split_csv" / "1cls.csv").write_text("name,part\na,b")
    with pytest.raises(ValueError, match="other columns"):
        VisA(tmp_path, category="candle")


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore:.*is empty, but its image has label:UserWarning")  # uneven/027
def test_magnetic_tile(real_data: Path) -> None:
    root = real_data / "magnetic_tile"
    test = MVTecAD(root, "test")
    assert test.classes == ("good", "blowhole", "break", "crack", "fray", "uneven")
    assert Counter(test.targets) == {0: 167, 1: 78, 2: 59, 3: 39, 4: 22, 5: 67}
    assert MVTecAD(root).targets == [0] * 499
    sizes, empty = set(), []
    for item in test:
        assert item["image"].shape[2] == 1
        assert set(np.unique(item["mask"])) <= {0, item["label"]}
        sizes.add(item["image"].shape)
        if item["label"] and not item["mask"].any():
            empty.append(Path(item["path"]).relative_to(root).as_posix())
    assert len(sizes) > 100
    assert [name.rsplit(".", 1)[0] for name in empty] == ["test/uneven/027"]
    train, rest = MVTecAD.supervised(root, shots=5, binary=True, size=(64, 64))
    assert Counter(train.targets) == {0: 499, 1: 5}
    assert len({Path(train[i]["path"]).parent.name for i in range(499, 504)}) == 5
    assert Counter(rest.targets) == {0: 167, 1: 131}
