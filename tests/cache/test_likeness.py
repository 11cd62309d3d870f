"""Gates that compare with real images: procedural ones with an untrained network, photographs with a trained one."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from inout_aug.cache import Gate, fill_cache
from inout_aug.cache.features import Features
from inout_aug.cache.likeness import NotMemorised, Realistic, Visible, calibrate_gates, nearest
from inout_aug.datasets import KSDD2, Surfaces
from inout_aug.paste.foreground import Otsu
from inout_aug.sample import Sample
from inout_aug.seeding import stream
from standin import Noise


@pytest.fixture(scope="module")
def features() -> Features:
    """Untrained convolutions know textures well enough."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 5, stride=2), nn.ReLU(), nn.Conv2d(64, 128, 5, stride=4), nn.ReLU())
    return Features(model, mean=(110, 110, 110), std=(50, 50, 50), size=64)


def sample_of(item: Any) -> Sample:
    return Sample(item["image"], item["mask"], item["label"])


@pytest.fixture(scope="module")
def surfaces() -> Surfaces:
    return Surfaces(200, size=(64, 64), seed=1)


@pytest.fixture(scope="module")
def positives(surfaces: Surfaces) -> list[Sample]:
    return [sample_of(surfaces[index]) for index in np.flatnonzero(surfaces.targets)[:24]]


@pytest.fixture(scope="module")
def normals(surfaces: Surfaces) -> list[Sample]:
    return [sample_of(surfaces[index]) for index in np.flatnonzero(np.equal(surfaces.targets, 0))[:40]]


def kept(gate: Gate, samples: list[Sample]) -> float:
    return float(np.mean([gate.judge(sample)[0] for sample in samples]))


def copied(sample: Sample) -> Sample:
    """As a generator that learned it by heart would give it."""
    noisy = np.clip(sample.image + stream(0).normal(0, 1, sample.image.shape), 0, 255)
    return Sample(np.rint(noisy).astype(np.uint8), sample.mask, sample.label)


def test_nearest_is_the_smallest_distance() -> None:
    rng = stream(0)
    vectors, references = (part / np.linalg.norm(part, axis=1)[:, None] for part in rng.normal(size=(2, 1500, 8)))
    expected = [np.linalg.norm(references - vector, axis=1).min() for vector in vectors]
    np.testing.assert_allclose(nearest(vectors, references), expected, atol=1e-6)


def test_a_mask_on_a_normal_surface_is_less_visible_than_a_defect(
    features: Features, positives: list[Sample], normals: list[Sample]
) -> None:
    gate = Visible.calibrated(features, positives=positives, normals=normals[:20], percentile=10)
    assert kept(gate, positives) >= 0.9
    masks = [np.asarray(sample.mask) for sample in positives[:20]]
    unchanged = [Sample(n.image, mask) for n, mask in zip(normals[20:], masks, strict=True)]
    inverted = [
        Sample(np.where(mask[..., None] > 0, 255 - n.image, n.image), mask)
        for n, mask in zip(normals[20:], masks, strict=True)
    ]
    scores = [[gate.measure(sample)[0] for sample in samples] for samples in (unchanged, inverted)]
    assert np.mean(np.less(*scores)) >= 0.9
    empty = Sample(normals[0].image, np.zeros((64, 64), np.uint8))
    assert gate.measure(empty) == (0.0,)


def test_noise_and_blur_are_not_realistic(features: Features, positives: list[Sample]) -> None:
    gate = Realistic.calibrated(features, positives=positives[:16], percentile=5)
    assert kept(gate, positives[:16]) == 1.0
    noise = [
        Sample(stream(k).integers(0, 255, p.image.shape).astype(np.uint8), p.mask) for k, p in enumerate(positives)
    ]
    assert kept(gate, noise) == 0.0
    strangeness, of_defect = gate.measure(Sample(positives[0].image, np.zeros((64, 64), np.uint8)))
    assert np.isfinite(strangeness)
    assert of_defect == np.inf


def test_copies_of_training_images_are_found(features: Features, positives: list[Sample]) -> None:
    gate = NotMemorised.calibrated(features, training=positives)
    assert gate.measure(positives[3]) == (0.0,)
    assert kept(gate, [copied(sample) for sample in positives]) == 0.0
    others = [sample_of(item) for item in (Surfaces(60, size=(64, 64), seed=2)[k] for k in range(20))]
    assert kept(gate, others) > 0.9


def test_bounds_are_percentiles_of_the_distances_between_real_images(
    features: Features, positives: list[Sample]
) -> None:
    gate = NotMemorised.calibrated(features, training=positives, percentile=10)
    vectors = [features.picture(sample.image) for sample in positives]
    nearest_other = sorted(
        min(float(np.linalg.norm(a - b)) for j, b in enumerate(vectors) if i != j) for i, a in enumerate(vectors)
    )
    assert gate.min_distance == pytest.approx(nearest_other[int(0.1 * (len(vectors) - 1))], abs=1e-6)


def test_gates_are_gates_and_pickle(features: Features, positives: list[Sample], normals: list[Sample]) -> None:
    gates = [
        Visible.calibrated(features, positives=positives[:6], normals=normals[:6]),
        Realistic.calibrated(features, positives=positives[:6]),
        NotMemorised.calibrated(features, training=positives[:6]),
    ]
    again = NotMemorised.calibrated(features, training=positives[:7])
    assert len({gate.fingerprint for gate in [*gates, again]}) == 4
    for gate in gates:
        assert isinstance(gate, Gate)
        copy = pickle.loads(pickle.dumps(gate))
        assert copy.fingerprint == gate.fingerprint
        assert copy.judge(positives[8]) == gate.judge(positives[8])


def test_all_gates_from_a_dataset_in_one_call(tmp_path: Path, features: Features, surfaces: Surfaces) -> None:
    gates = calibrate_gates(surfaces, features=features, foreground=Otsu(), percentile=5, max_images=30)
    names = [gate.name for gate in gates]
    assert names == ["blank", "mask size", "off product", "invisible", "unrealistic", "memorised"]
    # noise is rejected until the attempts are used up, and the report says by which gate
    with pytest.raises(RuntimeError, match=r"all 3 attempts were rejected \("):
        fill_cache(Noise(), tmp_path, 2, shape=(64, 64, 3), gates=gates, max_attempts=3, progress=False)


def test_few_real_defects_are_refused(features: Features, positives: list[Sample]) -> None:
    with pytest.raises(ValueError, match="normal images; got none"):
        Visible.calibrated(features, positives=positives, normals=[])
    with pytest.raises(ValueError, match="two at least, got 1"):
        Realistic.calibrated(features, positives=positives[:1])
    with pytest.raises(ValueError, match=r"the dataset has 0 with a defect in sight"):
        calibrate_gates([(np.full((32, 32, 1), k, np.uint8), np.zeros((32, 32), np.uint8), 0) for k in range(5)])


@pytest.mark.real_data
def test_on_real_cracks_with_real_features(real_data: Path) -> None:
    weights = real_data / "weights" / "squeezenet1_0_imagenet.safetensors"
    train, test = (KSDD2(real_data / "ksdd1", part, strict_counts=False) for part in ("train", "test"))  # type: ignore[arg-type]
    seen = [sample_of(train[index]) for index in np.flatnonzero(train.targets)]
    clean = [sample_of(train[index]) for index in np.flatnonzero(np.equal(train.targets, 0))[:16]]
    unseen = [sample_of(test[index]) for index in np.flatnonzero(test.targets)[:6]]
    network = Features.squeezenet(weights, size=160)
    visible = Visible.calibrated(network, positives=seen, normals=clean[:10])
    untouched = [
        Sample(n.image, cv2.resize(np.asarray(p.mask), n.image.shape[1::-1], interpolation=cv2.INTER_NEAREST))
        for n, p in zip(clean[10:], unseen, strict=True)
    ]
    score = [visible.measure(sample)[0] for sample in unseen]
    assert np.median([visible.measure(sample)[0] for sample in untouched]) < 0.9 * np.median(score)
    realistic = Realistic.calibrated(network, positives=seen)
    assert kept(realistic, unseen) >= 5 / 6
    blurred = [Sample(cv2.GaussianBlur(s.image, (0, 0), 6)[..., None], s.mask) for s in unseen]
    assert kept(realistic, blurred) <= 1 / 6
    memorised = NotMemorised.calibrated(network, training=seen)
    assert kept(memorised, unseen) == 1.0
    copies = [cv2.imdecode(cv2.imencode(".jpg", s.image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1], 0) for s in seen[:8]]
    assert kept(memorised, [Sample(np.asarray(copy, np.uint8)[..., None]) for copy in copies]) == 0.0
