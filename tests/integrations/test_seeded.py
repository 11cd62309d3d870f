"""Any library's transform as a function of image, mask and seed, which are left as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from inout_aug.integrations._seeded import SeededTransform

albumentations = pytest.importorskip("albumentations")
kornia = pytest.importorskip("kornia.augmentation")

ROTATIONS = {
    "albumentations": albumentations.Affine(rotate=(-90, 90), p=1),
    "torchvision": v2.RandomRotation(90),
    "kornia": kornia.RandomRotation(90.0, p=1.0),
}
CROPS = {
    "albumentations": albumentations.Compose([albumentations.RandomCrop(16, 24), albumentations.VerticalFlip(p=0.5)]),
    "some of albumentations": albumentations.OneOf([albumentations.D4(p=1), albumentations.RandomCrop(9, 9)], p=1),
    "torchvision": v2.Compose([v2.RandomCrop((16, 24)), v2.RandomVerticalFlip()]),
    "kornia": kornia.AugmentationSequential(kornia.RandomCrop((16, 24)), kornia.RandomVerticalFlip(p=0.5)),
}


def example(channels: int = 3, dtype: Any = np.uint8) -> tuple[Any, Any]:
    """An image that tells its mask, and in each of its pixels where that was."""
    rng = np.random.default_rng(0)
    mask = rng.choice(np.array([0, 0, 1, 7], np.uint8), (32, 40))
    image = rng.permutation(32 * 40).reshape(32, 40, 1) % 64 * 4
    image = np.repeat(np.minimum(mask, 2)[..., None] + image, channels, axis=2)
    return image.astype(dtype), mask


@pytest.mark.parametrize("name", CROPS)
@given(seed=st.integers(0, 2**32 - 1), channels=st.sampled_from([1, 3]), dtype=st.sampled_from(["uint8", "uint16"]))
@settings(max_examples=15)
def test_image_and_mask_go_the_same_way_whatever_the_seed(name: str, seed: int, channels: int, dtype: str) -> None:
    image, mask = example(channels, dtype)
    moved, moved_mask = SeededTransform(CROPS[name])(image, mask, seed)
    assert (moved.dtype, moved_mask.dtype) == (image.dtype, mask.dtype)
    assert moved.shape == (*moved_mask.shape, channels)
    np.testing.assert_array_equal(moved[..., 0] % 4, np.minimum(moved_mask, 2))
    alone, none = SeededTransform(CROPS[name])(image, None, seed)
    np.testing.assert_array_equal(alone, moved)
    assert none is None


@pytest.mark.parametrize("name", ROTATIONS)
def test_classes_are_never_blended(name: str) -> None:
    image, mask = example()
    for seed in range(6):
        _, moved = SeededTransform(ROTATIONS[name])(image, mask, seed)
        assert moved.dtype == np.uint8
        assert set(np.unique(moved)) == {0, 1, 7}


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("name", ROTATIONS)
def test_other_seeds_are_other_draws_and_nothing_is_remembered(name: str, seed: int) -> None:
    image, mask = example()
    transform = SeededTransform(ROTATIONS[name])
    first = transform(image, mask, seed)
    assert not np.array_equal(transform(image, mask, seed ^ 2)[0], first[0])
    for again, expected in zip(transform(image, mask, seed), first, strict=True):
        np.testing.assert_array_equal(again, expected)


class Spoiling(v2.Transform):
    """Works in place, as `RandomErasing(inplace=True)` does."""

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return inpt.zero_()


class Inverting(albumentations.ImageOnlyTransform):  # type: ignore[misc]
    def apply(self, img: Any, **params: Any) -> Any:
        return np.iinfo(img.dtype).max - img


class Darkening(kornia.IntensityAugmentationBase2D):  # type: ignore[misc]
    def apply_transform(self, input: Any, params: Any, flags: Any, transform: Any = None) -> Any:  # noqa: A002
        return input.mul_(0.5)


@pytest.mark.parametrize("own", [Spoiling(), Inverting(p=1), Darkening(p=1.0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_transforms_of_the_users_own_may_work_in_place(own: Any, channels: int) -> None:
    image, mask = example(channels)
    moved, _ = SeededTransform(own)(image, mask, 0)
    assert not np.array_equal(moved, image)
    for given_, expected in zip((image, mask), example(channels), strict=True):
        np.testing.assert_array_equal(given_, expected)


@pytest.mark.parametrize(
    "flip", [albumentations.HorizontalFlip(p=1), v2.RandomHorizontalFlip(1), kornia.RandomHorizontalFlip(p=1.0)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_read_only_and_mirrored_arrays_are_taken(flip: Any, channels: int) -> None:
    image, mask = example(channels)
    for part in (image, mask):
        part.setflags(write=False)
    for view, view_mask in ((image, mask), (image[::-1, ::-2], mask[::-1, ::-2])):
        moved, moved_mask = SeededTransform(flip)(view, view_mask, 0)
        np.testing.assert_array_equal(moved, view[:, ::-1])
        np.testing.assert_array_equal(moved_mask, view_mask[:, ::-1])


def test_gradients_are_not_kept_and_the_users_generator_goes_on() -> None:
    image, mask = example()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    learned = torch.nn.Parameter(torch.tensor(0.5))
    moved, _ = SeededTransform(v2.Compose([v2.ToDtype(torch.float32), v2.Lambda(lambda part: part * learned)]))(
        image, mask, 0
    )
    np.testing.assert_allclose(moved, image * 0.5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "other",
    [None, "flip", v2.functional.hflip, torch.nn.Identity(), torchvision.transforms.RandomHorizontalFlip()],
)
def test_what_moves_images_alone_is_refused(other: Any) -> None:
    kind = type(other).__name__
    with pytest.raises(TypeError, match=f"albumentations 2.0, torchvision v2 or kornia .*together; got {kind}$"):
        SeededTransform(other)


def test_it_is_written_as_its_transform_is() -> None:
    assert repr(SeededTransform(v2.RandomRotation(7))) == repr(v2.RandomRotation(7))
    assert "HorizontalFlip(p=0.25)" in repr(SeededTransform(albumentations.HorizontalFlip(p=0.25)))
