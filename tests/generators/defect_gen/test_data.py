import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inout_aug.sample import Sample
from inout_aug.seeding import stream
from inout_generators.defect_gen.data import Shots, Windows

CLASSES = ("crack", "spot")


def sample(boxes, size=(96, 128), channels=1, dtype=np.uint8):
    """An image whose pixels tell their places, and a mask of boxes (class, rows, columns)."""
    rows, columns = np.indices(size)
    image = (rows * 7 + columns * 3) % 251
    mask = np.zeros(size, np.uint8)
    for k, r, c in boxes:
        mask[slice(*r), slice(*c)] = k
    return Sample(np.repeat(image[..., None], channels, 2).astype(dtype), mask, 1)


CRACK = sample([(1, (40, 44), (10, 60))])
SPOT = sample([(2, (70, 75), (90, 95))])
PAIR = [CRACK, SPOT]


def windows(size=(32, 32), **options):
    return Windows(size=size, **{"background": 0.0, "symmetry": "none", **options})


def find(part, whole):
    """Where a window was cut from an image that tells places."""
    height, width = part.shape[:2]
    return [
        (y, x)
        for y in range(whole.shape[0] - height + 1)
        for x in range(whole.shape[1] - width + 1)
        if whole[y, x] == part[0, 0] and (whole[y : y + height, x : x + width] == part).all()
    ]


@given(st.integers(0, 2**32), st.sampled_from([(16, 16), (32, 48), (61, 31), (96, 128)]))
@settings(max_examples=40, deadline=None)
def test_windows_are_real_pixels_with_their_mask_and_some_defect(seed, size):
    images, masks, classes = Shots(PAIR, CLASSES, windows(size)).draw(3, stream(seed))
    assert images.shape == (3, *size, 1)
    assert images.dtype == masks.dtype == np.uint8
    for image, mask, k in zip(images, masks, classes, strict=True):
        real = PAIR[k - 1]
        assert (mask == k).any()
        assert any((real.mask[y : y + size[0], x : x + size[1]] == mask).all() for y, x in find(image, real.image))


def test_a_defect_that_fits_is_shown_whole_and_one_that_does_not_by_half_a_window_or_more():
    drawn = Shots(PAIR, CLASSES, windows()).draw(400, stream(0))
    for mask, k in zip(drawn.masks, drawn.classes, strict=True):
        if k == 2:
            assert (mask == 2).sum() == 25
        else:
            assert (mask == 1).any(0).sum() >= 8
            assert (mask == 1).any(1).sum() == 4
    columns = {int(np.argwhere(mask == 2)[0, 1]) for mask in drawn.masks[drawn.classes == 2]}
    assert len(columns) > 20


def test_classes_are_seen_evenly_however_many_images_they_have():
    classes = Shots([CRACK] * 9 + [SPOT], CLASSES, windows()).draw(2000, stream(0)).classes
    assert 900 < (classes == 1).sum() < 1100


def test_small_and_large_defects_are_seen_evenly():
    common = [sample([(1, (10, 20), (10, 10 + n))]) for n in range(20, 29)]
    small, large = sample([(1, (50, 51), (50, 52))]), sample([(1, (0, 90), (0, 120))])
    shots = Shots([*common, small, large], ("crack",), windows((96, 128)))
    areas = (shots.draw(2000, stream(0)).masks == 1).sum((1, 2))
    # an even draw over images gives either 2000 / 11 = 182
    assert 280 < (areas == 2).sum() < 480
    assert 200 < (areas == 90 * 120).sum() < 480
    assert (areas == 200).sum() > 2000 / 11 / 2 * 0.8


def test_defects_of_one_image_are_seen_evenly_whatever_their_area():
    with pytest.warns(UserWarning, match="one defective image"):
        shots = Shots([sample([(1, (5, 8), (5, 8)), (1, (40, 90), (60, 120))])], ("crack",), windows((16, 16)))
    sums = shots.draw(1000, stream(0)).masks.sum((1, 2))
    assert 420 < (sums == 9).sum() < 580


def test_parts_that_lie_close_are_one_defect():
    broken = sample([(1, (40, 42), (20, 24)), (1, (40, 42), (25, 29))])
    masks = Shots([broken, broken], ("crack",), windows()).draw(50, stream(0)).masks
    assert (masks.sum((1, 2)) == 16).all()


@pytest.mark.parametrize(
    ("symmetry", "count"), [("none", 1), ("horizontal", 2), ("vertical", 2), ("flips", 4), ("turns", 8)]
)
def test_symmetries(symmetry, count):
    square = sample([(1, (3, 6), (5, 14))], size=(32, 32))
    shots = Shots([square] * 2, ("crack",), windows(symmetry=symmetry))
    images, masks, _ = shots.draw(200, stream(0))
    seen = {image.tobytes(): mask.tobytes() for image, mask in zip(images, masks, strict=True)}
    all_ways = [
        (np.rot90(x, k), np.rot90(square.mask[:, ::f], k))
        for f in (1, -1)
        for k in range(4)
        for x in [square.image[:, ::f]]
    ]
    allowed = {np.ascontiguousarray(a).tobytes(): np.ascontiguousarray(b).tobytes() for a, b in all_ways}
    assert len(seen) == count
    assert seen.items() <= allowed.items()
    assert square.image.tobytes() in seen


def test_turned_windows_need_not_be_square():
    images, masks, _ = Shots(PAIR, CLASSES, windows((24, 40), symmetry="turns")).draw(40, stream(0))
    assert images.shape == (40, 24, 40, 1)
    assert (masks > 0).any((1, 2)).all()


def test_backgrounds_come_from_good_images_with_class_0():
    good = Sample(np.full((50, 60, 1), 200, np.uint8))
    images, masks, classes = Shots(PAIR, CLASSES, windows(background=0.3), normal=[good]).draw(1000, stream(0))
    assert 240 < (classes == 0).sum() < 360
    assert not masks[classes == 0].any()
    assert (images[classes == 0] == 200).all()


def test_without_good_images_backgrounds_lie_beside_the_defects():
    _, masks, classes = Shots(PAIR, CLASSES, windows(background=0.5)).draw(300, stream(0))
    assert 100 < (classes == 0).sum() < 200
    assert not masks[classes == 0].any()
    full = Sample(CRACK.image, np.ones_like(CRACK.mask))
    assert (Shots([full, full], ("crack",), windows(background=0.5)).draw(50, stream(0)).classes == 1).all()


def test_whole_images_keep_their_proportions_and_lose_no_defect():
    wide = sample([(1, (100, 101), (300, 301))], size=(200, 400))
    images, masks, _ = Shots([wide, wide], ("crack",), windows((32, 64), crop=False, shift=0.0)).draw(2, stream(0))
    assert images.shape == (2, 32, 64, 1)
    assert np.argwhere(masks[0]).tolist() == [[16, 48]]
    # a square window of a wide image moves along it, around the defect
    masks = Shots([wide, wide], ("crack",), windows((32, 32), crop=False, shift=0.0)).draw(60, stream(0)).masks
    assert (masks.sum((1, 2)) == 1).all()
    assert len({int(np.argwhere(mask)[0, 1]) for mask in masks}) > 10
    assert {int(np.argwhere(mask)[0, 0]) for mask in masks} == {16}


def test_whole_images_are_shifted_a_little():
    shots = Shots([sample([(1, (48, 50), (60, 64))])] * 2, ("crack",), windows((48, 64), crop=False, shift=0.1))
    places = np.array([np.argwhere(mask)[0] for mask in shots.draw(300, stream(0)).masks])
    np.testing.assert_array_equal(places.min(0), [24 - 5, 30 - 6])
    np.testing.assert_array_equal(places.max(0), [24 + 5, 30 + 6])


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (1, np.uint16), (3, np.uint16)])
def test_channels_and_depth_stay(channels, dtype):
    shots = Shots([sample([(1, (4, 9), (4, 9))], channels=channels, dtype=dtype)] * 2, ("crack",), windows())
    images = shots.draw(2, stream(0)).images
    assert (images.dtype, images.shape[3]) == (dtype, channels)
    assert (shots.channels, shots.dtype) == (channels, dtype)


def test_draws_depend_on_the_stream_alone():
    shots = Shots(PAIR, CLASSES, windows(background=0.2, symmetry="turns"))
    copy = pickle.loads(pickle.dumps(shots))
    first = shots.draw(8, stream(3))
    for a, b in zip(first, copy.draw(8, stream(3)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.images, shots.draw(8, stream(4)).images)


def test_it_says_what_it_has():
    told = Shots(PAIR, CLASSES, windows(), normal=[Sample(CRACK.image)]).describe()
    assert told["areas"] == {"crack": [200], "spot": [25]}
    assert (told["images"], told["good_images"], told["channels"], told["dtype"]) == (2, 1, 1, "uint8")


@pytest.mark.parametrize(
    ("samples", "classes", "message"),
    [
        ([], CLASSES, "no defective image"),
        ([sample([])], CLASSES, "defective image 0 has an empty mask"),
        ([CRACK, Sample(CRACK.image)], CLASSES, "defective image 1 has no mask"),
        ([CRACK, SPOT], ("crack",), "holds 2; the classes crack have the ids 1 to 1"),
        ([CRACK, CRACK], CLASSES, "no defective image shows spot.*: crack$"),
        ([CRACK, sample([(2, (4, 9), (4, 9))], channels=3)], CLASSES, "uint8 with 1 channels and uint8 with 3"),
    ],
)
def test_it_refuses_what_cannot_be_learnt_from(samples, classes, message):
    with pytest.raises(ValueError, match=message):
        Shots(samples, classes, windows())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (97, 32)}, "defective image 0 is 96x128, smaller than a crop of 97x32"),
        ({"size": (32, 100), "symmetry": "turns"}, "smaller than a crop"),
        ({"size": (200, 270), "crop": False}, "enlarged 2.1 times"),
    ],
)
def test_it_refuses_sizes_that_images_cannot_give(options, message):
    with pytest.raises(ValueError, match=message):
        Shots(PAIR, CLASSES, windows(**options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (8, 32)}, "size"),
        ({"symmetry": "rotations"}, "symmetry"),
        ({"shift": 0.5}, "shift"),
        ({"background": 1.0}, "background"),
        ({"size": (32, 64), "crop": False, "symmetry": "turns"}, "turned"),
    ],
)
def test_it_refuses_windows_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        windows(**options)
