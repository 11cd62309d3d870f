"""Windows of images whose pixels name their places, so that what is shown tells where it was cut."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage

from inout_aug.sample import Mask, Sample
from inout_aug.seeding import stream
from inout_generators.common.pictures import SYMMETRIES, Pictures, Windows, _even_shares, _Shot

SEEDS = st.integers(0, 2**32 - 1)


def places(height: int, width: int) -> Any:
    return np.arange(height * width, dtype=np.uint16).reshape(height, width, 1)


def windows(size: tuple[int, int], **options: Any) -> Windows:
    return Windows(size=size, **{"symmetry": "none", **options})


def box(size: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> Mask:
    mask = np.zeros(size, np.uint8)
    mask[slice(*rows), slice(*columns)] = 1
    return mask


def corner(shown: Any, width: int) -> tuple[int, int]:
    top, left = divmod(int(shown.min()), width)
    return top, left


@given(seed=SEEDS, symmetry=st.sampled_from(SYMMETRIES), size=st.tuples(st.integers(16, 30), st.integers(16, 30)))
def test_what_is_shown_is_a_window_of_the_image_and_of_its_mask(seed: int, symmetry: Any, size: Any) -> None:
    rng = stream(seed)
    mask = (rng.integers(1, 3, (40, 50)) * (rng.random((40, 50)) < 0.02)).astype(np.uint8)
    mask[0, 0], mask[-1, -1] = 1, 2
    image = places(40, 50)
    for array in (image, mask):
        array.flags.writeable = False
    pictures = Pictures([Sample(image, mask)], ("crack", "dent"), windows(size, symmetry=symmetry))
    for k in (0, 1, 2):
        shown, its_mask = pictures.show(k, rng)
        assert shown.shape == (*size, 1)
        assert its_mask.shape == size
        assert k == 0 or (its_mask == k).any()
        np.testing.assert_array_equal(its_mask, mask.ravel()[shown[..., 0]])
        (down,), (right,) = (np.unique(np.diff(shown[..., 0].astype(int), axis=axis)) for axis in (0, 1))
        assert {abs(down), abs(right)} == {1, 50}
        assert abs(down) == 50 or symmetry == "turns"
        assert down > 0 or symmetry in ("vertical", "flips", "turns")
        assert right > 0 or symmetry in ("horizontal", "flips", "turns")


@given(seed=SEEDS, data=st.data())
def test_a_defect_that_fits_is_shown_whole_with_room_around_it(seed: int, data: Any) -> None:
    size = (32, 48)
    spans = [
        (start := data.draw(st.integers(0, whole - 1)), data.draw(st.integers(start + 1, min(whole, start + most))))
        for whole, most in ((70, 28), (90, 42))
    ]
    mask = box((70, 90), *spans)
    shown, part = Pictures([Sample(places(70, 90), mask)], ("crack",), windows(size)).show(1, stream(seed))
    assert part.sum() == mask.sum()
    for at, (start, stop), side, whole in zip(corner(shown, 90), spans, size, (70, 90), strict=True):
        assert at <= max(0, start - side // 16)
        assert at + side >= min(whole, stop + side // 16)


def test_every_part_of_a_defect_larger_than_the_window_is_shown() -> None:
    mask = box((90, 120), (25, 65), (25, 95))
    pictures = Pictures([Sample(places(90, 120), mask)], ("crack",), windows((16, 20)))
    shown = [pictures.show(1, stream(seed)) for seed in range(300)]
    # one of its pixels lies in the middle half of the window, along each axis
    assert min(part.any(1).sum() for _, part in shown) >= 16 // 4
    assert min(part.any(0).sum() for _, part in shown) >= 20 // 4
    seen = np.bincount(np.concatenate([image.ravel() for image, _ in shown]), minlength=mask.size).reshape(mask.shape)
    assert (seen[mask > 0] > 0).all()


@given(seed=SEEDS, count=st.integers(1, 40), side=st.sampled_from([16, 32, 64, 100]))
def test_parts_nearer_than_a_share_of_the_window_are_one_defect(seed: int, count: int, side: int) -> None:
    pixels = np.unique(stream(seed).integers(0, 60, (count, 2)), axis=0)
    assume(len(pixels) > 1)
    mask = np.zeros((60, 60), np.uint8)
    mask[tuple(pixels.T)] = 3
    found = _Shot(places(60, 60), mask, windows((side, 2 * side))).defects
    group = fcluster(linkage(pixels, "single", "chebyshev"), 2 * round(side / 32) + 1, "distance")
    expected = {frozenset(map(tuple, pixels[group == g].tolist())) for g in set(group)}
    assert found.keys() == {3}
    assert {frozenset(map(tuple, defect.tolist())) for defect in found[3]} == expected
    assert sum(map(len, found[3])) == len(pixels)


@given(areas=st.lists(st.integers(1, 5000), min_size=1, max_size=12))
@settings(max_examples=50)
def test_half_of_the_draws_go_to_the_sample_nearest_to_a_uniform_log_area(areas: list[int]) -> None:
    shares = _even_shares(areas)
    assert shares.sum() == pytest.approx(1)
    assert (shares >= 0.5 / len(areas) - 1e-12).all()
    kinds = np.unique(areas)
    logs = np.log(kinds)
    even = logs[0] + (np.arange(4000) + 0.5) / 4000 * (logs[-1] - logs[0])
    nearest = np.bincount(np.abs(even[:, None] - logs).argmin(1), minlength=len(kinds)) / 4000
    for kind, share in zip(kinds, nearest, strict=True):
        same = np.array(areas) == kind
        expected = same.mean() if len(kinds) == 1 else (same.mean() + share) / 2
        assert shares[same].sum() == pytest.approx(expected, abs=1e-3)


def test_a_product_may_be_known_by_its_good_images_alone() -> None:
    good = [Sample(places(20, 18)), Sample(places(18, 20) + np.uint16(1000))]
    pictures = Pictures((), (), windows((16, 16)), normal=iter(good))
    assert (pictures.good, pictures.channels, pictures.dtype) == (2, 1, np.uint16)
    assert pictures.describe() == {
        "classes": [],
        "images": 0,
        "good_images": 2,
        "areas": {},
        "dtype": "uint16",
        "channels": 1,
    }
    rng, seen = stream(0), []
    for _ in range(400):
        image, mask = pictures.show(0, rng)
        assert not mask.any()
        seen.append(int(image[0, 0, 0]))
    second = [value >= 1000 for value in seen]
    assert 160 < sum(second) < 240
    assert {divmod(value, 18) for value in seen if value < 1000} == {(y, x) for y in range(5) for x in range(3)}


def test_backgrounds_beside_the_defects_come_from_every_image_that_has_any() -> None:
    full = Sample(places(32, 64), np.ones((32, 64), np.uint8))
    half = Sample(places(32, 64) + np.uint16(5000), box((32, 64), (0, 32), (0, 10)))
    pictures = Pictures([full, half], ("crack",), windows((16, 16), symmetry="turns"))
    shown = [pictures.show(0, stream(seed)) for seed in range(60)]
    clean = [image for image, mask in shown if not mask.any()]
    assert len(clean) > 58
    assert all((image >= 5000).all() for image in clean)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_images_are_enlarged_twice_at_most_and_mirrored_where_they_are_shifted(dtype: Any) -> None:
    columns = np.indices((16, 32))[1][..., None].astype(dtype)
    sample = Sample(columns * dtype(8), box((16, 32), (3, 5), (8, 12)))
    pictures = Pictures([sample], ("crack",), windows((32, 64), crop=False, shift=0.125), normal=[sample])
    lefts = set()
    for seed in range(40):
        image, mask = pictures.show(1, stream(seed))
        assert mask.sum() == 4 * 8
        found = np.argwhere(mask)
        assert (np.ptp(found, axis=0) == (3, 7)).all()
        lefts.add(int(found[0, 1]))
        # the defect stays on its grey levels: 64 to 88, a quarter of a pixel of interpolation aside
        inside = image[mask > 0].astype(int)
        assert 62 <= inside.min() < inside.max() <= 90
        # what was shifted in is the image, mirrored at its edge
        edge = int(found[0, 1]) - 16
        if edge > 0:
            np.testing.assert_array_equal(image[:, :edge], image[:, 2 * edge : edge : -1])
    assert (min(lefts), max(lefts)) == (16 - 8, 16 + 8)
    with pytest.raises(ValueError, match=r"defective image 0 is 16x32 and would be enlarged 2.1 times to 33x64"):
        Pictures([sample], ("crack",), windows((33, 64), crop=False))


def test_good_images_must_be_like_the_others_and_large_enough() -> None:
    sample, good = Sample(places(32, 32), box((32, 32), (4, 8), (4, 8))), Sample(np.zeros((32, 32, 1), np.uint8))
    with pytest.raises(ValueError, match="no image"):
        Pictures((), (), windows((16, 16)))
    with pytest.raises(ValueError, match="no defective image shows crack"):
        Pictures((), ("crack",), windows((16, 16)), normal=[good])
    with pytest.raises(ValueError, match="uint16 with 1 channels and uint8 with 1 channels"):
        Pictures([sample], ("crack",), windows((16, 16)), normal=[good])
    with pytest.raises(ValueError, match="good image 1 is 16x99, smaller than a crop of 24x24"):
        Pictures([sample], ("crack",), windows((24, 24)), normal=[Sample(places(24, 24)), Sample(places(16, 99))])
