"""All of it on drawn defects: which differ, which are copies, and what the report says of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from torch import nn

from inout_aug.cache.features import Features
from inout_aug.datasets import KSDD2
from inout_aug.datasets._items import ITEM_LAYOUT
from inout_aug.evaluate import defective, evaluate, kid, looks, view, write_report
from inout_aug.evaluate.pairs import draw_pairs
from inout_aug.evaluate.report import reading
from inout_aug.sample import Sample
from inout_aug.seeding import stream


def parts(
    count: int, seed: int, *, radius: int = 4, depth: int = 90, size: tuple[int, int] = (96, 240)
) -> list[Sample]:
    """Parts with a dark spot on fine grain."""
    found = []
    for k in range(count):
        rng = stream(seed, k)
        image = rng.normal(150, 4, size)
        mask = np.zeros(size, np.uint8)
        centre = tuple(int(rng.integers(12, side - 12)) for side in reversed(size))
        axes = tuple(rng.integers(radius - 1, radius + 2, 2).tolist())
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, cv2.FILLED)
        image[mask > 0] -= depth + 10 * rng.random()
        found.append(Sample(image.round().astype(np.uint8)[..., None], mask, 1))
    return found


def network() -> Features:
    """Means and edges of small cells."""
    return Features(
        nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.AvgPool2d(4)),
        mean=(150, 150, 150),
        std=(30, 30, 30),
        size=64,
    )


@pytest.fixture(scope="module")
def features() -> Features:
    import torch

    torch.manual_seed(0)
    return network()


def measured(synthetic: list[Sample], features: Features, **options: Any) -> Any:
    return evaluate(synthetic, training=parts(12, 1), held_out=parts(30, 2), features=features, **options)


def test_defects_of_the_same_kind_are_found_to_be_so(features: Features) -> None:
    found = measured(parts(40, 3), features)
    assert found.crop == 64
    assert found.fidelity.kid_interval[0] <= 0
    assert found.memorisation.share_interval[1] >= 0.95
    assert found.diversity.pairwise == pytest.approx(found.diversity_real.pairwise, rel=0.1)
    assert not [shape.name for shape in found.shapes if shape.ks > 1.3 * shape.ks_limit]
    assert found.classes == {"synthetic": {1: 40}, "training": {1: 12}, "held out": {1: 30}}


def test_fainter_defects_differ_in_crops_more_than_in_whole_images(features: Features) -> None:
    faint = parts(40, 3, depth=30)
    close, whole = measured(faint, features), measured(faint, features, crop=None)
    assert close.fidelity.kid_interval[0] > 0
    signal = [found.fidelity.kid / np.ptp(found.fidelity.kid_interval) for found in (close, whole)]
    assert signal[0] > signal[1]


def test_copies_in_any_position_are_found(features: Features) -> None:
    copies = [
        Sample(np.ascontiguousarray(np.flip(s.image, axis)), np.ascontiguousarray(np.flip(s.mask, axis)), 1)
        for s in parts(12, 1)
        for axis in (0, 1, (0, 1))
        if s.mask is not None
    ]
    found = measured(copies, features)
    assert found.memorisation.share < 0.4  # a crop moved at the edge of the image is another view
    assert found.memorisation_strict.share < 0.4
    assert any("look at the pairs" in sentence for sentence in reading(found))
    same = [near == row // 3 for row, near in enumerate(found.memorisation.nearest)]
    assert np.mean(same) > 0.9


def test_figures_are_those_of_the_single_functions(features: Features) -> None:
    made, real = parts(8, 3), parts(30, 2)
    found = measured(made, features, crop=48, seed=5)
    vectors = [looks(features, [view(sample, 48) for sample in part]).pooled for part in (real, made)]
    assert (found.fidelity.kid, found.fidelity.kid_std) == kid(*vectors, seed=5)


def test_larger_masks_are_named(features: Features) -> None:
    found = measured(parts(40, 3, radius=9), features)
    differing = [shape.name for shape in found.shapes if shape.ks > shape.ks_limit]
    assert "area" in differing
    assert "x" not in differing


def test_samples_without_masks_are_compared_as_whole_images(features: Features) -> None:
    bare = [Sample(sample.image, None, 1) for sample in parts(8, 3)]
    found = measured(bare, features)
    assert found.crop is None
    assert found.shapes == ()


def test_crops_at_other_scales_are_refused(features: Features) -> None:
    other = parts(8, 3, size=(48, 120))
    with pytest.raises(ValueError, match="76 pixels across and real ones 152"):
        measured(other, features)
    sizes = {sample.size for sample in defective(other, size=(96, 240))}
    assert sizes == {(96, 240)}
    assert measured(defective(other, size=(96, 240)), features).crop == 64
    assert measured(other, features, crop=None).crop is None


def test_too_few_images_are_refused(features: Features) -> None:
    with pytest.raises(ValueError, match="got 3, 12 and 30"):
        measured(parts(3, 3), features)
    with pytest.raises(ValueError, match="got 4, 0 and 4"):
        evaluate(parts(4, 3), training=[], held_out=parts(4, 2), features=features)


def test_only_samples_that_show_a_defect_count() -> None:
    good = parts(3, 0)
    empty = Sample(good[0].image, np.zeros_like(good[0].mask), 1)
    normal = Sample(good[0].image, good[0].mask, 0)
    assert defective([good[0], empty, normal, good[2]]) == [good[0], good[2]]


def test_one_training_image_is_enough(features: Features) -> None:
    found = evaluate(parts(8, 3), training=parts(1, 1), held_out=parts(8, 2), features=features)
    assert found.fidelity_training is None
    assert found.memorisation_strict is None
    assert found.memorisation.nearest == (0,) * 8


def test_a_report_has_a_page_pictures_and_json(features: Features, tmp_path: Path) -> None:
    made, training, held_out = parts(8, 3), parts(4, 1), parts(6, 2)
    found = evaluate(made, training=training, held_out=held_out, features=features)
    real = {"training": training, "held_out": held_out}
    for _ in range(2):  # the second replaces the first
        page = write_report(tmp_path / "out", found, made, **real, title="Spots", notes={"command": "by hand"})
    text = page.read_text()
    assert "# Spots: fidelity" in text
    assert "- command: by hand" in text
    assert "LPIPS: not measured, no weights" in text
    assert f"{found.fidelity.kid:.4g} ±" in text
    for name in ("samples.png", "nearest.png", "memorisation.png", "masks.png"):
        assert f"]({name})" in text
        assert cv2.imread(str(tmp_path / "out" / name)).size > 0
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert data["memorisation"]["share"] == found.memorisation.share
    assert data["shapes"][0]["name"] == "area"
    assert data["crop"] == found.crop


def test_a_folder_of_others_is_left_alone(features: Features, tmp_path: Path) -> None:
    made = parts(6, 3)
    found = evaluate(made, training=made, held_out=made, features=features)
    (tmp_path / "masks.png").write_text("mine")
    with pytest.raises(FileExistsError, match=r"masks\.png that inout-aug evaluate did not write"):
        write_report(tmp_path, found, made, training=made, held_out=made)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        write_report(tmp_path / "file", found, made, training=made, held_out=made)


def test_pairs_show_the_pixels_that_were_compared(features: Features) -> None:
    made, training, held_out = parts(5, 3), parts(4, 1), parts(4, 2)
    found = evaluate(made, training=training, held_out=held_out, features=features)
    sheet = draw_pairs(found, made, training=training, held_out=held_out, tile=64)
    first = int(np.argmin(found.memorisation.distances))
    panel = sheet[43 : 43 + 64, 16 : 16 + 64]
    np.testing.assert_array_equal(panel[..., :1], view(made[first], 64))
    beside = sheet[43 : 43 + 64, 16 + 2 * 68 : 16 + 2 * 68 + 64]
    np.testing.assert_array_equal(beside[..., :1], view(training[found.memorisation.nearest[first]], 64))


@pytest.mark.real_data
def test_brightened_and_mirrored_real_defects_are_copies(real_data: Path) -> None:
    weights = real_data / "weights" / "squeezenet1_0_imagenet.safetensors"
    train, test = (KSDD2(real_data / "ksdd1", split, strict_counts=False) for split in ("train", "test"))
    training, held_out = (
        [ITEM_LAYOUT.unpack(dataset[k]) for k in np.flatnonzero(dataset.targets)[:6].tolist()]
        for dataset in (train, test)
    )
    copies = [
        replace(s, image=cv2.convertScaleAbs(s.image[:, ::-1], alpha=1.08)[..., None], mask=s.mask[:, ::-1].copy())
        for s in training
        if s.mask is not None
    ]
    found = evaluate(copies, training=training, held_out=held_out, features=Features.squeezenet(weights), crop=128)
    assert found.memorisation.share == 0
    assert found.memorisation.nearest == tuple(range(6))
