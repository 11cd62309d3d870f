"""Re-augmentation: image and mask together, from the seed alone, never without the defect."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from inout_aug.cache import fill_cache
from inout_aug.cache.reaugment import Reaugment
from inout_aug.cache.sampler import CachedSampler
from inout_aug.sample import Sample
from inout_aug.seeding import stream
from standin import Noise

albumentations = pytest.importorskip("albumentations")
kornia = pytest.importorskip("kornia.augmentation")

TRANSFORMS = {
    "albumentations": albumentations.Compose([albumentations.D4(p=1), albumentations.RandomBrightnessContrast(p=1)]),
    "one albumentations transform": albumentations.D4(p=1),
    "torchvision": v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.RandomRotation(90)]),
    "one torchvision transform": v2.RandomAffine(degrees=40, translate=(0.1, 0.1)),
    "kornia": kornia.AugmentationSequential(
        kornia.RandomAffine(40.0, p=1.0), kornia.RandomBrightness((0.5, 1.5), p=1.0)
    ),
    "one kornia transform": kornia.RandomRotation(40.0, p=1.0),
}


def example(channels: int = 3, dtype: Any = np.uint8) -> tuple[Any, Any]:
    rng = stream(0)
    mask = np.zeros((32, 32), np.uint8)
    mask[9:20, 5:14] = 3
    image = rng.integers(0, np.iinfo(dtype).max, (32, 32, channels)).astype(dtype)
    return image, mask


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_seed_decides(name: str) -> None:
    augment = Reaugment(TRANSFORMS[name])
    image, mask = example()
    results = [augment(image, mask, seed) for seed in range(8)]
    for seed in reversed(range(8)):
        again, moved = pickle.loads(pickle.dumps(augment))(image, mask, seed)
        np.testing.assert_array_equal(again, results[seed][0])
        np.testing.assert_array_equal(moved, results[seed][1])
    assert len({result[0].tobytes() for result in results}) > 3
    np.testing.assert_array_equal(image, example()[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "transform",
    [albumentations.HorizontalFlip(p=1), v2.RandomHorizontalFlip(p=1), kornia.RandomHorizontalFlip(p=1.0)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_image_and_mask_move_together(transform: Any, channels: int, dtype: Any) -> None:
    image, mask = example(channels, dtype)
    moved, moved_mask = Reaugment(transform)(image, mask, 0)
    np.testing.assert_array_equal(moved, image[:, ::-1])
    np.testing.assert_array_equal(moved_mask, mask[:, ::-1])
    assert Reaugment(transform)(image, None, 0)[1] is None


def test_random_states_of_the_user_are_left_alone() -> None:
    image, mask = example()
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    for transform in TRANSFORMS.values():
        Reaugment(transform)(image, mask, 7)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])


def test_a_defect_that_would_leave_the_image_stays() -> None:
    image, mask = example()
    away = v2.RandomAffine(degrees=0, translate=(0, 0), scale=(1, 1), shear=None)
    shift = v2.Lambda(lambda part: torch.zeros_like(part))
    kept, kept_mask = Reaugment(v2.Compose([away, shift]))(image, mask, 0)
    np.testing.assert_array_equal(kept, image)
    np.testing.assert_array_equal(kept_mask, mask)


@pytest.mark.parametrize(
    "transform",
    [v2.Resize(16), v2.ToDtype(torch.float32, scale=True), albumentations.Resize(16, 16), kornia.Resize((16, 16))],
)
def test_what_changes_size_or_type_is_refused_when_the_dataset_is_wrapped(tmp_path: Path, transform: Any) -> None:
    cache = fill_cache(Noise(), tmp_path, 3, shape=(32, 32, 3), progress=False)
    with pytest.raises(ValueError, match="must keep size and type"):
        CachedSampler(cache, augment=transform).bind(3, Sample(np.zeros((32, 32, 3), np.uint8)), 0)


def test_other_callables_are_refused() -> None:
    with pytest.raises(TypeError, match="augment=: a transform of albumentations"):
        Reaugment(lambda image: image)


def test_draws_are_augmented_by_seed_epoch_and_position(tmp_path: Path) -> None:
    cache = fill_cache(Noise(), tmp_path, 1, shape=(32, 32, 3), progress=False)
    sampler = CachedSampler(cache, augment=TRANSFORMS["albumentations"], repeat=True)
    draws = sampler.bind(4, Sample(np.zeros((32, 32, 3), np.uint8)), 0)
    drawn = {(position, epoch): draws(position, epoch) for epoch in range(2) for position in range(4)}
    assert len({sample.image.tobytes() for sample in drawn.values()}) == 8
    for (position, epoch), sample in drawn.items():
        np.testing.assert_array_equal(draws(position, epoch).image, sample.image)
        replayed = Reaugment(TRANSFORMS["albumentations"])
        image, mask = replayed(cache[0].image, cache[0].mask, sample.origin.params["augment_seed"])
        np.testing.assert_array_equal(image, sample.image)
        np.testing.assert_array_equal(mask, sample.mask)
