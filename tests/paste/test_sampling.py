from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from inout_aug.paste._sampling import affine, compose, crop, sample, shuffled, turn


def grid_of(height, width):
    y, x = np.divmod(np.arange(height * width, dtype=np.int32), width)
    return y, x


def seen(picture, follow, height, width):
    """The picture as the whole of an image sees it."""
    return sample(picture, np.arange(height * width), width, follow).reshape(height, width, -1)


@pytest.fixture
def picture():
    """A smooth picture, odd in size."""
    noise = np.random.default_rng(0).integers(0, 256, (41, 57, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


@pytest.mark.parametrize("mirror", [(False, False), (True, False), (False, True), (True, True)])
def test_mirrors_are_numpys(picture, mirror):
    flipped = picture[:: -1 if mirror[0] else 1, :: -1 if mirror[1] else 1]
    assert np.array_equal(seen(picture, affine(turn((41, 57), mirror, 0.0)), 41, 57), flipped)


def test_rotation_is_opencvs(picture):
    matrix = cv2.getRotationMatrix2D((28, 20), 30, 1.0)
    expected = cv2.warpAffine(picture, matrix, (57, 41), borderMode=cv2.BORDER_REFLECT_101)
    turned = seen(picture, affine(turn((41, 57), (False, False), 30.0)), 41, 57)
    assert np.abs(turned.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("size", [(41, 57), (82, 114), (100, 60), (30, 200)])
def test_stretching_is_a_resize(picture, size):
    expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    stretched = seen(picture, affine(crop((size), (41, 57), "stretch", (0.3, 0.9))), *size)
    inner = np.s_[4:-4, 4:-4]  # at its edges cv2.resize repeats, where this mirrors
    assert np.abs(stretched.astype(int) - expected)[inner].max() <= 2


@pytest.mark.parametrize("size", [(41, 57), (20, 20), (100, 60), (30, 200)])
@pytest.mark.parametrize("at", [(0.0, 0.0), (0.5, 0.2), (1.0, 1.0)])
def test_covering_keeps_the_aspect_and_stays_inside(size, at):
    to_picture = crop(size, (41, 57), "cover", at)
    corners = to_picture @ np.array([[-0.5, size[0] - 0.5], [-0.5, size[1] - 0.5], [1, 1]])
    assert to_picture[0, 0] == to_picture[1, 1]
    assert np.ptp(corners, axis=1).max() <= 57 + 1e-9
    for axis, side in enumerate((41, 57)):
        room = side - np.ptp(corners[axis])
        assert corners[axis, 0] == pytest.approx(-0.5 + at[axis] * room)
    assert min(side - np.ptp(corners[axis]) for axis, side in enumerate((41, 57))) == pytest.approx(0)


def test_composed_maps_follow_each_other():
    first, second = turn((30, 40), (True, False), 20.0), crop((30, 40), (90, 90), "cover", (0.2, 0.6))
    point = np.array([7.0, 11.0])
    halfway = first @ [*point, 1]
    assert compose(second, first) @ [*point, 1] == pytest.approx(second @ [*halfway, 1])


def test_shuffling_a_divisible_grid_moves_whole_cells():
    picture = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    shuffle = np.random.default_rng(1).permutation(4 * 8)
    cells = picture.reshape(4, 6, 8, 5, 3).swapaxes(1, 2).reshape(32, 6, 5, 3)
    expected = cells[shuffle].reshape(4, 8, 6, 5, 3).swapaxes(1, 2).reshape(24, 40, 3)
    size = (24, 40)
    upright = turn(size, (False, False), 0.0)
    assert np.array_equal(seen(picture, shuffled(upright, size, (4, 8), shuffle.tolist()), *size), expected)


def test_shuffling_comes_after_turning():
    size, shuffle = (24, 40), np.random.default_rng(1).permutation(32).tolist()
    picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8), (0, 0), 3)
    to_picture, upright = turn(size, (True, False), 25.0), turn(size, (False, False), 0.0)
    turned = seen(picture, affine(to_picture), *size)
    in_two = seen(turned, shuffled(upright, size, (4, 8), shuffle), *size)
    at_once = seen(picture, shuffled(to_picture, size, (4, 8), shuffle), *size)
    assert np.abs(in_two.astype(int) - at_once).max() <= 1


@pytest.mark.parametrize("size", [(17, 33), (16, 16), (41, 57)])
def test_shuffling_any_size_keeps_each_pixel_inside_its_new_cell(size):
    rows, columns = 4, 8
    shuffle = np.random.default_rng(2).permutation(rows * columns)
    y, x = grid_of(*size)
    upright = turn(size, (False, False), 0.0)
    sy, sx = shuffled(upright, size, (rows, columns), shuffle.tolist())(y, x)
    cell = (y * rows // size[0]) * columns + x * columns // size[1]
    assert np.array_equal(np.floor((sy + 1e-3) * rows / size[0]), shuffle[cell] // columns)
    assert np.array_equal(np.floor((sx + 1e-3) * columns / size[1]), shuffle[cell] % columns)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_number_of_pixels_is_sampled_in_any_order(dtype, channels):
    picture = np.random.default_rng(0).integers(0, 200, (20, 30, channels)).astype(dtype)
    where = np.random.default_rng(1).integers(0, 20 * 30, 70_000)
    values = sample(picture, where, 30, affine(turn((20, 30), (False, False), 0.0)))
    assert values.dtype == dtype
    assert np.array_equal(values, picture.reshape(-1, channels)[where])
    assert sample(picture, where[:0], 30, affine(np.eye(2, 3))).shape == (0, channels)


def test_pictures_are_mirrored_far_beyond_their_edges():
    ramp = np.arange(5, dtype=np.uint8).reshape(1, 5, 1) * 10
    x = np.arange(-20, 25)
    expected = [10 * abs((int(i) + 4) % 8 - 4) for i in x]
    shifted = affine(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -20.0]]))
    assert sample(ramp, x + 20, 45, shifted).ravel().tolist() == expected
    assert math.isclose(sum(expected) / len(expected), 20, abs_tol=2)
