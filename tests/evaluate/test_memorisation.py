"""Nearest training images against brute force; copies against what they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binomtest

from inout_aug.cache.features import unit
from inout_aug.evaluate import memorisation
from inout_aug.evaluate.memorisation import wilson
from inout_aug.seeding import stream


def vectors(*shape: int, seed: int = 0) -> Any:
    return unit(stream(seed).normal(size=shape))


def test_distances_are_those_of_brute_force() -> None:
    made, training, other = vectors(30, 8), vectors(5, 4, 8, seed=1), vectors(12, 8, seed=2)
    found = memorisation(made, training, other)
    expected = cdist(made, training.reshape(-1, 8)).reshape(30, 5, 4).min(axis=2)
    np.testing.assert_allclose(found.distances, expected.min(axis=1), atol=1e-9)
    assert found.nearest == tuple(expected.argmin(axis=1).tolist())
    real = cdist(other, training.reshape(-1, 8)).min(axis=1)
    np.testing.assert_allclose(found.real, real, atol=1e-9)
    assert found.threshold == pytest.approx(np.percentile(real, 5))
    assert found.share == pytest.approx(np.mean(expected.min(axis=1) >= np.percentile(real, 5)))
    assert found.reference == "held-out"


def test_without_others_each_training_image_is_compared_with_all_others() -> None:
    training = vectors(9, 8)
    training[4] = unit(training[3] + 0.01)
    found = memorisation(vectors(3, 8, seed=1), training)
    between = cdist(training, training)
    np.fill_diagonal(between, np.inf)
    np.testing.assert_allclose(found.real, between.min(axis=1), atol=1e-7)
    assert found.real_nearest[3:5] == (4, 3)
    assert found.reference == "leave-one-out"


def test_copies_are_found_in_any_position() -> None:
    training, other = vectors(10, 8, 32), vectors(40, 32, seed=1)
    copies = np.concatenate([training[:5, 0], training[5:, 6]])
    found = memorisation(copies, training, other)
    assert found.share == 0
    assert found.nearest == tuple(range(10))
    assert found.share_interval[1] < 0.95


def test_unseen_images_of_the_same_kind_are_honest() -> None:
    shares = [
        memorisation(
            vectors(90, 16, seed=3 * k), vectors(20, 16, seed=3 * k + 1), vectors(90, 16, seed=3 * k + 2)
        ).share
        for k in range(20)
    ]
    assert np.mean(shares) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("count", "total"), [(0, 5), (3, 7), (95, 100), (20, 20)])
def test_wilsons_interval(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(method="wilson")
    assert wilson(count, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_what_cannot_be_compared_is_refused() -> None:
    made, training = vectors(4, 8), vectors(3, 8, seed=1)
    with pytest.raises(ValueError, match="vectors are"):
        memorisation(made, vectors(3, 7))
    with pytest.raises(ValueError, match="vectors are"):
        memorisation(made[:0], training)
    with pytest.raises(ValueError, match="two training images"):
        memorisation(made, training[:1])
    with pytest.raises(ValueError, match="1 training images and 0 others"):
        memorisation(made, training[:1], made[:0])
    with pytest.raises(ValueError, match="percentile is in"):
        memorisation(made, training, percentile=60)
    assert memorisation(made, training[:1], made, percentile=0).share == 1
