from __future__ import annotations

import itertools
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.datasets import few_shot
from inout_aug.datasets._items import Entry, ItemDataset

labels = st.lists(st.integers(0, 3), max_size=30)


@given(labels, st.data(), st.integers(0, 99))
def test_few_shot_keeps_all_normals_and_spreads_the_rest(targets: list[int], data: st.DataObject, seed: int) -> None:
    defective = sum(t != 0 for t in targets)
    shots = data.draw(st.integers(0, defective))
    kept = few_shot(targets, shots, seed=seed)
    assert kept == sorted(set(kept))
    assert [i for i in kept if targets[i] == 0] == [i for i, t in enumerate(targets) if t == 0]
    drawn = {k: sum(targets[i] == k for i in kept) for k in (1, 2, 3)}
    assert sum(drawn.values()) == shots
    most = max(drawn.values())
    assert all(n >= most - 1 or n == targets.count(k) for k, n in drawn.items())


def test_more_shots_add_to_fewer_and_seeds_differ() -> None:
    targets = [0, 1, 2, 3] * 10
    nested = [set(few_shot(targets, n, seed=4)) for n in range(31)]
    assert all(a < b for a, b in itertools.pairwise(nested))
    assert len({tuple(few_shot(targets, 5, seed=s)) for s in range(20)}) == 20


@pytest.mark.parametrize("shots", [-1, 3])
def test_few_shot_refuses_what_there_is_not(shots: int) -> None:
    with pytest.raises(ValueError, match=rf"\[0, 2\], the number of defective samples; got {shots}"):
        few_shot([0, 1, 1], shots)


def pair(folder: Path, image: np.ndarray, mask: np.ndarray, label: int | None = None) -> Entry:
    cv2.imwrite(str(folder / "image.png"), image)
    cv2.imwrite(str(folder / "mask.png"), mask)
    return Entry(folder / "image.png", folder / "mask.png", label)


def test_nothing_but_labels_is_kept(tmp_path: Path) -> None:
    entry = pair(tmp_path, np.zeros((200, 200, 3), np.uint8), np.ones((200, 200), np.uint8))
    dataset = ItemDataset([entry] * 50, ("normal", "defect"), None)
    before = len(pickle.dumps(dataset))
    assert all(item["label"] == 1 for item in dataset)
    assert dataset.targets == [1] * 50
    assert len(pickle.dumps(dataset)) < before + 500


def test_labels_are_read_once(tmp_path: Path) -> None:
    entry = pair(tmp_path, np.zeros((20, 20), np.uint8), np.ones((20, 20), np.uint8))
    dataset = ItemDataset([entry], ("normal", "defect"), None)
    assert dataset.targets == [1]
    entry.mask.unlink()  # type: ignore[union-attr]
    assert dataset.targets == [1]
    assert pickle.loads(pickle.dumps(dataset)).targets == [1]


def test_defective_with_an_empty_mask_keeps_its_label_and_warns(tmp_path: Path) -> None:
    entry = pair(tmp_path, np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), 2)
    dataset = ItemDataset([entry], ("good", "bent", "torn"), None)
    with pytest.warns(UserWarning, match=r"mask\.png is empty, but its image has label 2 \(torn\)"):
        item = dataset[0]
    assert item["label"] == 2
    assert not item["mask"].any()


@pytest.mark.parametrize("shape", [(40, 60), (10, 15), (80, 120), (13, 20), (14, 20), (21, 31)])
def test_mask_of_the_same_view_at_another_resolution_is_resized(tmp_path: Path, shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[shape[0] // 2 :] = 255
    dataset = ItemDataset([pair(tmp_path, np.zeros((40, 60), np.uint8), mask)], ("normal", "defect"), None)
    fitted = dataset[0]["mask"]
    assert fitted.shape == (40, 60)
    assert set(np.unique(fitted)) == {0, 1}
    assert fitted.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("shape", [(60, 40), (40, 50), (36, 60), (20, 20)])
def test_mask_of_another_view_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    entry = pair(tmp_path, np.zeros((40, 60), np.uint8), np.ones(shape, np.uint8))
    with pytest.raises(ValueError, match=r"not the same view"):
        ItemDataset([entry], ("normal", "defect"), None)[0]


@pytest.mark.parametrize("size", [(16, 15), (64,), 64, (64, 64, 3), (64.5, 64)])
def test_size_is_height_and_width(size: object) -> None:
    with pytest.raises(ValueError, match=r"size must be \(height, width\)"):
        ItemDataset([], ("normal",), size)  # type: ignore[arg-type]
