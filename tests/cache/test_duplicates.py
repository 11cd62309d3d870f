"""The second pass over a cache: of near-copies the first stays, and the decision says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from inout_aug.cache import SampleCache, fill_cache
from inout_aug.cache.duplicates import Duplicate, find_duplicates, reject_duplicates
from inout_aug.cache.features import Features
from inout_aug.cache.likeness import NotMemorised
from inout_aug.cache.review import Review
from inout_aug.plugin import Request
from inout_aug.sample import Sample
from inout_aug.seeding import stream
from standin import Noise


class Forgetful(Noise):
    """Makes one of five pictures, each time a little different."""

    def make(self, request: Request) -> Sample:
        made = super().make(request)
        picture = stream(request.seed % 5).integers(0, 250, made.image.shape).astype(np.uint8)
        return Sample(picture + (request.seed % 3 == 0), made.mask, made.label)


@pytest.fixture(scope="module")
def like() -> NotMemorised:
    torch.manual_seed(0)
    features = Features(nn.Conv2d(3, 32, 8, stride=4), mean=(120,) * 3, std=(60,) * 3, size=64)
    training = [Sample(stream(100 + k).integers(0, 250, (48, 48, 1)).astype(np.uint8)) for k in range(10)]
    return NotMemorised.calibrated(features, training=training)


def filled(path: Path, n: int = 30) -> SampleCache:
    return fill_cache(Forgetful(), path, n, shape=(48, 48, 1), progress=False)


def test_the_first_of_each_picture_stays(tmp_path: Path, like: NotMemorised) -> None:
    cache = filled(tmp_path)
    first: dict[int, int] = {}
    expected = []
    for index, seed in zip(cache.indices.tolist(), cache.seeds.tolist(), strict=True):
        if first.setdefault(seed % 5, index) != index:
            expected.append((index, first[seed % 5]))
    found = find_duplicates(Review(cache), like, progress=False)
    # among equally near originals any will do
    assert [duplicate.sample for duplicate in found] == [sample for sample, _ in expected]
    assert [duplicate.original for duplicate in found] == [original for _, original in expected]
    assert all(0 <= duplicate.distance < like.min_distance for duplicate in found)


def test_duplicates_are_rejected_by_decisions_that_say_why(tmp_path: Path, like: NotMemorised) -> None:
    cache = filled(tmp_path)
    found = reject_duplicates(Review(cache), like, progress=False)
    review = Review(cache)
    assert np.count_nonzero(review.accepted) == 30 - len(found) == 5
    decision = next(review.of(found[0].sample))
    assert decision.who == "inout-aug"
    assert decision.why.startswith(f"near-duplicate of sample {found[0].original}, distance 0.")
    # nothing is left to reject
    assert reject_duplicates(review, like, progress=False) == []


def test_a_rejected_sample_is_no_original(tmp_path: Path, like: NotMemorised) -> None:
    cache = filled(tmp_path)
    found = find_duplicates(Review(cache), like, progress=False)
    original = found[0].original
    copies = [duplicate.sample for duplicate in found if duplicate.original == original]
    Review(cache).reject(original)
    again = find_duplicates(Review(cache), like, progress=False)
    assert [duplicate.sample for duplicate in again if duplicate.original == copies[0]] == copies[1:]


def test_an_empty_selection_has_no_duplicates(tmp_path: Path, like: NotMemorised) -> None:
    cache = filled(tmp_path, 4)
    review = Review(cache)
    review.reject(cache.indices)
    empty: list[Duplicate] = []
    assert find_duplicates(review, like, progress=False) == empty
