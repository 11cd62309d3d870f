"""Outlines mean exactly the pixels of the mask: checked by filling them again, with other people's code."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygons
from scipy import ndimage

from inout_aug.outlines import instances

MASKS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2))


def filled(polygons: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Pixels whose centres lie in an odd number of polygons."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
    inside = np.zeros(len(centres), bool)
    for polygon in polygons:
        inside ^= Polygons([*polygon, polygon[0]], closed=True).contains_points(centres)
    return inside.reshape(shape)


def even_odd(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The same for a polygon with cuts: crossings of a ray to the right, edge by edge."""
    inside = np.zeros(shape, bool)
    xs = np.arange(shape[1]) + 0.5
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        for y in range(shape[0]):
            if (y0 > y + 0.5) != (y1 > y + 0.5):
                inside[y] ^= xs < x0 + (y + 0.5 - y0) * (x1 - x0) / (y1 - y0)
    return inside


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_outlines_and_holes_are_exact(mask: np.ndarray) -> None:
    whole = np.zeros_like(mask)
    for found in instances(mask):
        shape = filled([found.outline(), *found.holes()], mask.shape)
        assert shape.sum() == found.area
        assert (whole[shape] == 0).all()
        whole[shape] = found.defect_class
    np.testing.assert_array_equal(whole, mask)


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_one_polygon_with_cuts_is_the_same_pixels(mask: np.ndarray) -> None:
    for found in instances(mask):
        np.testing.assert_array_equal(
            even_odd(found.polygon(), mask.shape), filled([found.outline(), *found.holes()], mask.shape)
        )


@given(MASKS)
def test_instances_are_the_connected_parts_of_each_class(mask: np.ndarray) -> None:
    ours = sorted((found.defect_class, found.box, found.area) for found in instances(mask))
    theirs = []
    for k in (1, 2):
        labels, _ = ndimage.label(mask == k, structure=np.ones((3, 3)))
        for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
            box = columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
            theirs.append((k, box, int((labels == number).sum())))
    assert ours == sorted(theirs)


@given(MASKS)
def test_run_lengths_give_the_pixels_back(mask: np.ndarray) -> None:
    whole = np.zeros_like(mask)
    for found in instances(mask):
        runs = found.run_lengths(mask.shape)
        assert sum(runs) == mask.size
        values = np.arange(len(runs)) % 2 * found.defect_class
        whole += np.repeat(values, runs).reshape(mask.shape, order="F").astype(np.uint8)
    np.testing.assert_array_equal(whole, mask)


def test_a_ring_has_one_hole_and_one_polygon() -> None:
    ring = cv2.circle(np.zeros((64, 64), np.uint8), (32, 30), 20, 1, 5)
    (found,) = instances(ring)
    assert len(found.holes()) == 1
    np.testing.assert_array_equal(even_odd(found.polygon(), ring.shape), ring > 0)


def test_small_defects_are_left_out_when_told() -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[1, 1] = mask[4:6, 4:6] = 1
    assert [found.area for found in instances(mask, min_pixels=2)] == [4]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_a_mask_that_is_all_defect_is_its_own_box(shape: tuple[int, int]) -> None:
    (found,) = instances(np.ones(shape, np.uint8))
    assert found.box == (0, 0, shape[1], shape[0])
    assert found.run_lengths(shape) == [0, shape[0] * shape[1]]
