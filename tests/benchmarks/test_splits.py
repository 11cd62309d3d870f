from pathlib import Path

import cv2
import numpy as np
import pytest
from evidence.images import Images
from evidence.leaks import moved
from evidence.splits import divided, read_parts

from inout_aug.cli._data import Format
from inout_aug.datasets import Item, Surfaces


def surfaces(length: int, start: int = 0) -> Images:
    return Images.read(Surfaces(length, start=start, size=(64, 48), materials=("metal",)), (64, 48))


def write(folder: Path, items: list[Item]) -> None:
    folder.mkdir(parents=True)
    for number, item in enumerate(items):
        cv2.imwrite(f"{folder}/{number}.png", item["image"][..., ::-1])
        cv2.imwrite(f"{folder}/{number}_GT.png", item["mask"] * 255)


def test_images_know_two_labels_and_all_kinds() -> None:
    images = surfaces(40)
    assert set(images.targets) == {0, 1}
    assert {item["label"] for item in images.items} == {0, 1}
    assert max(int(item["mask"].max()) for item in images.items) == 1
    assert len(set(images.kind)) == 5
    assert images.proportions == [64 / 48] * 40
    few = images.shots(4, seed=0)
    assert sorted(few.kind)[:4] == ["crack", "dent", "normal", "normal"] or len(set(few.kind)) == 5
    assert sum(few.targets) == 4
    assert few.targets.count(0) == images.targets.count(0)


def test_near_duplicates_stay_together() -> None:
    single = surfaces(30)
    double = Images(
        [{**item, "label": images_label} for item, images_label in zip(single.items, single.targets, strict=True)]
        + [{**item, "image": moved(item["image"]), "label": item["label"], "path": "again"} for item in single.items],
        single.classes,
    )
    rest, held = divided(double)
    assert len(rest) + len(held) == 60
    assert abs(len(held) - 20) <= 2
    assert sum(held.targets) > 0
    whole = {item["image"].tobytes() for item in held.items}
    for one, other in zip(double.items[:30], double.items[30:], strict=True):
        assert (one["image"].tobytes() in whole) == (other["image"].tobytes() in whole)


def test_what_is_trained_with_is_not_scored(tmp_path: Path) -> None:
    training, test = surfaces(30), surfaces(30, start=60)
    write(tmp_path / "train", training.items)
    write(tmp_path / "test", [*test.items, {**training.items[4], "image": moved(training.items[4]["image"])}])
    known, scored, left_out = read_parts(tmp_path, Format.KSDD2, (64, 48), "test")
    assert (len(known), len(scored)) == (30, 30)
    assert len(left_out) == 1
    assert "test/30.png" in left_out[0]
    assert "train/4.png" in left_out[0]


def test_validation_leaves_the_test_part_unread(tmp_path: Path) -> None:
    write(tmp_path / "train", surfaces(60).items)
    training, scored, _ = read_parts(tmp_path, Format.KSDD2, (64, 48), "validation")
    assert len(training) + len(scored) == 60
    paths = {item["path"] for item in training.items} & {item["path"] for item in scored.items}
    assert not paths


def test_another_layout_is_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Expected the KSDD2 layout.*holds images/"):
        read_parts(tmp_path, Format.KSDD2, (64, 48), "test")


def test_a_part_without_defects_is_refused(tmp_path: Path) -> None:
    normal = [item for item in surfaces(30).items if not item["label"]]
    write(tmp_path / "train", normal)
    write(tmp_path / "test", surfaces(20, start=60).items)
    with pytest.raises(ValueError, match=r"the training part has \d+ normal and 0 defective"):
        read_parts(tmp_path, Format.KSDD2, (64, 48), "test")
    assert np.all([item["label"] == 0 for item in normal])
