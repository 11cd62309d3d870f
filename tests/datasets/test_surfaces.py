from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import pytest
from torch.utils.data import DataLoader

from inout_aug.datasets import Surfaces

MATERIALS = ("metal", "fabric", "cast")
DEFECTS = ("scratch", "spot", "crack", "dent")


def test_ten_thousand_distinct_samples_labelled_right() -> None:
    surfaces = Surfaces(10_000, size=(16, 16), channels=1, defect_share=0.5)
    seen = set()
    for item, target in zip(surfaces, surfaces.targets, strict=True):
        seen.add(hash(item["image"].tobytes()))
        assert item["label"] == target
        assert set(np.unique(item["mask"])) - {0} == ({target} if target else set())
    assert len(seen) == 10_000


def test_item() -> None:
    for channels in (1, 3):
        item = Surfaces(5, size=(40, 60), channels=channels)[3]
        assert item["image"].shape == (40, 60, channels)
        assert item["image"].dtype == item["mask"].dtype == np.uint8
        assert item["mask"].shape == (40, 60)
        assert type(item["label"]) is int
    coloured = Surfaces(3, materials=("fabric",), seed=1)[0]["image"].reshape(-1, 3).mean(axis=0)
    assert np.ptp(coloured) > 5


def test_same_samples_in_a_spawned_worker() -> None:
    surfaces = Surfaces(6, size=(48, 64), defect_share=0.5, seed=7)
    loader = DataLoader(surfaces, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    for here, there in zip(surfaces, loader, strict=True):
        np.testing.assert_array_equal(here["image"], there["image"])
        np.testing.assert_array_equal(here["mask"], there["mask"])
        assert (here["label"], here["path"]) == (there["label"], there["path"])


def test_a_sample_depends_on_seed_and_number_alone() -> None:
    whole = Surfaces(3000, size=(32, 32), defect_share=0.3)
    part = Surfaces(100, start=1950, size=(32, 32), defect_share=0.3)
    assert part.targets == whole.targets[1950:2050]
    for i in (0, 49, 50, 99, -1):
        np.testing.assert_array_equal(part[i]["image"], whole[1950 + i % 100]["image"])
        assert part[i]["path"] == whole[1950 + i % 100]["path"]
    other = Surfaces(3000, size=(32, 32), defect_share=0.3, seed=1)
    assert other.targets != whole.targets
    assert (other[0]["image"] != whole[0]["image"]).any()


def test_indices_end() -> None:
    surfaces = Surfaces(3, size=(16, 16))
    assert len(list(surfaces)) == 3
    for index in (3, -4):
        with pytest.raises(IndexError, match="3 samples"):
            surfaces[index]


def test_it_weighs_nothing() -> None:
    surfaces = Surfaces(10**9)
    assert surfaces[10**9 - 1]["image"].shape == (256, 256, 3)
    assert len(pickle.dumps(surfaces)) < 1000


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.25, 1 / 3, 0.5, 1])
@pytest.mark.parametrize("length", [0, 40, 1000, 2370])
def test_every_stretch_has_its_share(share: float, length: int) -> None:
    defective = [target > 0 for target in Surfaces(length, defect_share=share).targets]
    assert len(defective) == length
    for stop in range(10, length + 1, 10):
        assert abs(sum(defective[:stop]) - share * stop) < 1


def test_kinds_and_materials_come_evenly_and_independently() -> None:
    surfaces = Surfaces(1000, size=(16, 16), defect_share=0.4)
    kinds = Counter((item["path"].split("-")[0], item["label"]) for item in surfaces)
    for material in MATERIALS:
        assert kinds[material, 0] == pytest.approx(200, abs=25)
        assert all(kinds[material, k] == pytest.approx(33, abs=17) for k in (1, 2, 3, 4))
    assert max(Counter(surfaces.targets)[k] for k in (1, 2, 3, 4)) == 100


def test_classes_follow_the_names_given() -> None:
    surfaces = Surfaces(20, size=(64, 64), materials=("cast",), defects=("dent", "scratch"), defect_share=1)
    assert surfaces.classes == ("normal", "dent", "scratch")
    for item in surfaces:
        assert item["path"].startswith(f"cast-{surfaces.classes[item['label']]}-")
    binary = Surfaces(20, size=(64, 64), defect_share=0.5, binary=True)
    assert binary.classes == ("normal", "defect")
    assert set(binary.targets) == {0, 1}
    assert {(item["label"], int(item["mask"].max())) for item in binary} == {(0, 0), (1, 1)}


@pytest.mark.parametrize("material", MATERIALS)
@pytest.mark.parametrize("defect", DEFECTS)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_mask_is_where_the_picture_changes(material: str, defect: str, channels: int) -> None:
    surfaces = Surfaces(30, size=(96, 128), channels=channels, contrast=(0.4, 1.0))
    for number in range(30):
        clean, _ = surfaces._render(number, material, None)
        damaged, mask = surfaces._render(number, material, defect)
        change = np.abs(damaged.astype(int) - clean).max(axis=2)
        assert not change[mask == 0].any()
        assert mask.mean() < 0.4
        assert change[mask > 0].max() >= 6
        assert (change[mask > 0] > 0).mean() > 0.6


@pytest.mark.parametrize("defect", DEFECTS)
def test_contrast(defect: str) -> None:
    def strength(contrast: float) -> float:
        surfaces = Surfaces(20, size=(96, 96), channels=1, contrast=contrast)
        changes = []
        for number in range(20):
            clean, _ = surfaces._render(number, "metal", None)
            damaged, _ = surfaces._render(number, "metal", defect)
            changes.append(np.abs(damaged.astype(int) - clean).max())
        return float(np.mean(changes))

    assert strength(0.3) < 0.6 * strength(1)


@pytest.mark.parametrize("material", MATERIALS)
def test_good_parts_vary_but_show_one_product(material: str) -> None:
    def brightness(seed: int) -> np.ndarray:
        parts = Surfaces(25, size=(64, 64), materials=(material,), defect_share=0, seed=seed)
        return np.array([item["image"].mean() for item in parts])

    products = np.stack([brightness(seed) for seed in range(8)])
    assert products.std(axis=1).min() > 2
    assert products.mean(axis=1).std() > products.std(axis=1).mean()
    assert products.min() > 20
    assert products.max() < 225


@pytest.mark.parametrize("size", [(16, 16), (17, 301), (640, 232), (1024, 40)])
@pytest.mark.parametrize("material", MATERIALS)
def test_any_size(size: tuple[int, int], material: str) -> None:
    for item in Surfaces(4, size=size, materials=(material,), defect_share=1):
        assert item["image"].shape == (*size, 3)
        assert item["mask"].any()
        # texture everywhere: no window was read from beyond a canvas
        assert item["image"][:, :, 0].std(axis=0).min() > 0
        assert item["image"][:, :, 0].std(axis=1).min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "length and start must not be negative; got -1"),
        ({"start": -1}, "length and start"),
        ({"size": (15, 64)}, r"size must be \(height, width\)"),
        ({"materials": ("wood",)}, "materials must be .* out of metal, fabric, cast; got \\('wood',\\)"),
        ({"materials": "metal"}, "materials must be"),
        ({"defects": ()}, "defects must be .* scratch, spot, crack, dent"),
        ({"defects": ("dent", "dent")}, "distinct"),
        ({"defect_share": 1.5}, r"defect_share must be in \[0, 1\]"),
        ({"defect_share": float("nan")}, "defect_share"),
        ({"contrast": 0}, "contrast must be"),
        ({"contrast": (1.0, 0.5)}, "contrast must be"),
        ({"channels": 4}, "channels must be 1 or 3; got 4"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Surfaces(**options)  # type: ignore[arg-type]
