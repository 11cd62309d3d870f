"""A sheet of pairs: who is shown beside whom, in which order, and which of them stand out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from inout_aug._panels import display_range, fit, to_rgb
from inout_aug.evaluate.memorisation import Memorisation
from inout_aug.evaluate.pairs import draw_pairs
from inout_aug.evaluate.views import view
from inout_aug.sample import Sample
from inout_aug.seeding import stream

TILE, RED = 48, (200, 30, 30)
HIGH, WIDE = TILE + 24, 4 * TILE + 12


def parts(count: int, seed: int, *, size: Any = (48, 48), dtype: Any = np.uint8, masks: bool = True) -> list[Sample]:
    """Grain with a square defect somewhere."""
    found = []
    for k in range(count):
        rng = stream(seed, k)
        top = np.iinfo(dtype).max
        image = rng.integers(0, top, (*size, 1), dtype=dtype)
        mask = np.zeros(size, np.uint8)
        y, x = (int(rng.integers(side - 9)) for side in size)
        mask[y : y + 9, x : x + 9] = 1 + k % 2
        found.append(Sample(image, mask if masks else None, 1))
    return found


def arranged(made: list[int], real: list[int], crop: int | None = None, threshold: float = 0.0) -> Any:
    """Return what is drawn of an evaluation: distances in hundredths, the nearest being the number modulo 5."""
    memory = Memorisation(
        reference="held-out",
        threshold=threshold,
        share=1.0,
        share_interval=(0.0, 1.0),
        distances=tuple(near / 100 for near in made),
        nearest=tuple(number % 5 for number in range(len(made))),
        real=tuple(near / 100 for near in real),
        real_nearest=tuple((number + 1) % 5 for number in range(len(real))),
    )
    return SimpleNamespace(memorisation=memory, crop=crop)


def cells(sheet: Any, made: int, real: int) -> list[Any]:
    """Return the cells of a sheet in reading order, checking its size: four panels and a line of text each."""
    found, top = [], 0
    for count in (min(made, 12), min(real, 6)):
        top += 43
        for k in range(count):
            y, x = top + k // 3 * (HIGH + 16), 16 + k % 3 * (WIDE + 16)
            found.append(sheet[y : y + HIGH, x : x + WIDE])
        top += -(-count // 3) * (HIGH + 16)
    assert sheet.shape == (top, 16 + 3 * (WIDE + 16), 3)
    return found


def panel(cell: Any, position: int) -> Any:
    return cell[:TILE, position * (TILE + 4) :][:, :TILE]


def shown(sample: Sample, side: int | None = None) -> Any:
    image = view(sample, side)
    return fit(to_rgb(image, display_range(image, None)), (TILE, TILE))


@pytest.mark.parametrize(("made", "real"), [(1, 1), (12, 6), (30, 9), (4, 3)])
def test_the_nearest_come_first_each_beside_its_training_image(made: int, real: int) -> None:
    synthetic, training, held_out = parts(made, 3), parts(5, 4), parts(real, 5)
    far = np.random.default_rng(0)
    # with ties, which stay in order
    found = arranged(far.integers(0, 9, made).tolist(), far.integers(0, 4, real).tolist())
    memory = found.memorisation
    expected = [
        (samples[number], training[nearest[number]])
        for samples, distances, nearest, most in (
            (synthetic, memory.distances, memory.nearest, 12),
            (held_out, memory.real, memory.real_nearest, 6),
        )
        for number in sorted(range(len(samples)), key=lambda number: (distances[number], number))[:most]
    ]
    sheet = draw_pairs(found, synthetic, training=training, held_out=held_out, tile=TILE)
    for cell, (sample, nearest) in zip(cells(sheet, made, real), expected, strict=True):
        np.testing.assert_array_equal(panel(cell, 0), shown(sample))
        np.testing.assert_array_equal(panel(cell, 2), shown(nearest))


@pytest.mark.parametrize("side", [None, 32])
@pytest.mark.parametrize(("size", "dtype"), [((48, 48), np.uint8), ((40, 100), np.uint16), ((20, 16), np.uint8)])
def test_the_outline_is_around_the_defect_and_changes_nothing_else(side: int | None, size: Any, dtype: Any) -> None:
    made, real = parts(2, 6, size=size, dtype=dtype), parts(5, 7, size=size, dtype=dtype)
    found = arranged([1, 2], [3] * 5, side)
    sheet = draw_pairs(found, made, training=real, held_out=real, tile=TILE)
    for cell, pair in zip(cells(sheet, 2, 5), zip(made, real[:2], strict=True), strict=False):
        for position, sample in enumerate(pair):
            plain, outlined = panel(cell, 2 * position), panel(cell, 2 * position + 1)
            np.testing.assert_array_equal(plain, shown(sample, side))
            changed = (plain != outlined).any(axis=2).astype(np.uint8)
            assert changed.any()
            assert sample.mask is not None
            # the defect as a picture of its own, in the same place
            white = Sample(np.repeat((sample.mask > 0).astype(np.uint8)[..., None] * 255, 3, axis=2), sample.mask)
            inside = (shown(white, side) == 255).all(axis=2).astype(np.uint8)
            assert not (inside & changed).any()
            near = cv2.dilate(inside, np.ones((9, 9), np.uint8))
            assert not (changed & ~near).any()


def test_samples_without_masks_are_shown_twice() -> None:
    made, training = parts(1, 8, masks=False), parts(5, 9, masks=False)
    sheet = draw_pairs(arranged([1], [1]), made, training=training, held_out=made, tile=TILE)
    for cell in cells(sheet, 1, 1):
        for position in (0, 2):
            np.testing.assert_array_equal(panel(cell, position), panel(cell, position + 1))


def test_what_is_nearer_than_the_threshold_is_told_in_red() -> None:
    made, training, held_out = parts(5, 10), parts(5, 11), parts(4, 12)
    found = arranged([1, 9, 4, 5, 2], [7, 3, 8, 5], threshold=0.05)
    sheet = draw_pairs(found, made, training=training, held_out=held_out, tile=TILE)
    lines = [cell[TILE:] for cell in cells(sheet, 5, 4)]
    # text is smoothed, but the middle of its strokes has its own colour
    reddish = [bool(((line[..., 0].astype(int) - line[..., 1]) > 60).any()) for line in lines]
    assert reddish == [True, True, True, False, False, True, False, False, False]
    assert all((line < 200).any() for line in lines)
