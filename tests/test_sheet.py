import cv2
import numpy as np
import pytest

from inout_aug.datasets import Surfaces
from inout_aug.paste.stroke import StrokePaste
from inout_aug.sample import Origin, Sample
from inout_aug.sheet import Entry, contact_sheet, describe, paste_sheet


def synthetic(size=(48, 64), channels=1, dtype=np.uint8, params=None):
    host = np.full((*size, channels), np.iinfo(dtype).max // 2, dtype)
    image, mask = host.copy(), np.zeros(size, np.uint8)
    image[10:20, 10:20], mask[10:20, 10:20] = np.iinfo(dtype).max, 1
    origin = Origin(generator="Painter", seed=(0, 0, 3), params=params or {"kind": "blob"}, host=0)
    return Entry(sample=Sample(image, mask, 1, origin), host=host)


def count(sheet, colour):
    return int((sheet == colour).all(axis=2).sum())


def find(sheet, picture):
    """Places where a picture occurs in a sheet."""
    match = cv2.matchTemplate(sheet, picture, cv2.TM_SQDIFF)
    # exact but for the rounding of sums in float32
    return np.argwhere(match < 2000)


def test_host_image_and_outline_stand_side_by_side():
    entry = synthetic((64, 64))
    sheet = contact_sheet([entry], tile=64)
    host = np.repeat(entry.host, 3, axis=2)
    image = np.repeat(entry.sample.image, 3, axis=2)
    (where_host,), (where_image,) = find(sheet, host), find(sheet, image)
    assert where_host[0] == where_image[0]
    assert where_image[1] - where_host[1] == 66
    outlined = sheet[where_image[0] :, where_image[1] + 66 :][:64, :64]
    np.testing.assert_array_equal(outlined[10:20, 10:20], image[10:20, 10:20])
    assert ((outlined != image).any(axis=2)).sum() == 14**2 - 12**2


def test_real_and_synthetic_are_marked_in_different_colours():
    real = Sample(np.full((48, 64, 1), 99, np.uint8), np.eye(48, 64, dtype=np.uint8), 1)
    only_real, only_synthetic = contact_sheet([real], tile=64), contact_sheet([synthetic()], tile=64)
    green, orange = only_real[40, 16].tolist(), only_synthetic[40, 16].tolist()
    assert green != orange
    assert count(only_real, orange) == count(only_synthetic, green) == 0
    both = contact_sheet([real, synthetic()], tile=64)
    assert count(both, green) > 0
    assert count(both, orange) > 0


@pytest.mark.parametrize("columns", [1, 2, 5])
def test_columns(columns):
    entries = [synthetic((64, 64)) for _ in range(5)]
    sheet = contact_sheet(entries, columns=columns, tile=64)
    found = find(sheet, np.repeat(entries[0].host, 3, axis=2))
    assert len(found) == 5
    assert len(np.unique(found[:, 1])) == columns


def test_a_sheet_of_many_has_about_the_proportions_of_a_screen():
    height, width, _ = contact_sheet([synthetic() for _ in range(30)], tile=64).shape
    assert 0.7 < width / height < 2


def test_images_of_all_sizes_and_kinds_share_a_sheet():
    entries = [
        synthetic((16, 16)),
        synthetic((40, 400), channels=3),
        synthetic((300, 50), dtype=np.uint16),
        synthetic((700, 900), channels=3, dtype=np.uint16),
        Sample(np.zeros((30, 30, 3), np.uint8)),
        Sample(np.zeros((30, 30, 3), np.uint8), np.zeros((30, 30), np.uint8)),
    ]
    sheet = contact_sheet(entries, closeup=True, title="all")
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3


def test_16_bit_is_shown_from_its_darkest_to_its_brightest():
    dark = synthetic(dtype=np.uint16)
    np.floor_divide(dark.sample.image, 30, out=dark.sample.image)
    np.floor_divide(dark.host, 30, out=dark.host)
    sheet = contact_sheet([dark], tile=64)
    # the background of the host, of the image, and of the outlined one
    assert count(sheet, (0, 0, 0)) > 0.8 * 3 * 64 * 64


def test_own_captions_replace_what_was_drawn():
    plain = contact_sheet([synthetic()], tile=64)
    named = contact_sheet([Entry(sample=synthetic().sample, host=synthetic().host, details="score 0.93")], tile=64)
    assert plain.shape == named.shape
    assert (plain != named).any()
    np.testing.assert_array_equal(plain[: 16 + 64], named[: 16 + 64])


def test_describe_shows_scalars_and_short_lists_and_counts_the_rest():
    params = {
        "kind": "crack",
        "prompt": "a thin crack",
        "score": 0.93456,
        "cells": [4, 8],
        "strokes": [[[0, 0, 1, 1]], [[1, 1, 1, 1]]],
        "shuffle": list(range(32)),
        "source": None,
    }
    name, details = describe(synthetic(params=params).sample)
    assert name == "Painter"
    assert details == "kind crack, prompt a thin crack, score 0.935, cells 4 8, strokes x2, seed 0/0/3"


@pytest.mark.parametrize(
    ("mask", "label", "name"),
    [(None, 0, "real"), (None, 2, "real defect"), (np.zeros((16, 16), np.uint8), 0, "real")],
)
def test_describe_tells_real_defects_from_real_normals(mask, label, name):
    assert describe(Sample(np.zeros((16, 16, 1), np.uint8), mask, label)) == (name, f"label {label}")


def test_a_paste_sheet_shows_real_defects_and_what_training_would_get():
    dataset = Surfaces(40, size=(64, 64), channels=1)
    sheet = paste_sheet(dataset, StrokePaste(contrast=9), n=3, real=2, tile=64, seed=5)
    np.testing.assert_array_equal(sheet, paste_sheet(dataset, StrokePaste(contrast=9), n=3, real=2, tile=64, seed=5))
    defects = [dataset[i]["image"] for i, label in enumerate(dataset.targets) if label]
    shown = [len(find(sheet, np.repeat(image, 3, axis=2))) for image in defects]
    assert sum(shown) == 2


def test_a_paste_sheet_reads_datasets_of_any_layout_and_label():
    tuples = [(np.full((32, 40), 90 + k, np.uint8), 5 + k % 2) for k in range(6)]
    assert paste_sheet(tuples, StrokePaste(), n=2, normal_label=5, tile=40).size


def test_a_paste_sheet_needs_no_real_defect():
    dataset = Surfaces(8, size=(64, 64), defect_share=0)
    assert paste_sheet(dataset, StrokePaste(), n=2, tile=64).size


@pytest.mark.parametrize("wrong", [{"tile": 8}, {"columns": 0}])
def test_too_small_a_sheet_is_refused(wrong):
    with pytest.raises(ValueError, match="tile is at least 32 and columns at least 1"):
        contact_sheet([synthetic()], **wrong)


def test_an_empty_sheet_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        contact_sheet([])
    with pytest.raises(ValueError, match="n is at least 1"):
        paste_sheet(Surfaces(10), StrokePaste(), n=0)


def test_an_empty_caption_stays_empty():
    sample = Sample(np.full((32, 32, 1), 90, np.uint8))
    told, silent = (contact_sheet([Entry(sample=sample, name=text, details=text)], tile=32) for text in (None, ""))
    assert told.shape == silent.shape
    # letters are grey where they are smoothed
    assert len(np.unique(told)) > len(np.unique(silent))
