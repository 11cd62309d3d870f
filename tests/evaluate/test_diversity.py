"""Pair means against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from inout_aug.evaluate import diversity
from inout_aug.seeding import stream


def test_means_are_those_of_all_pairs() -> None:
    points = stream(0).normal(size=(20, 3))
    owners = stream(1).integers(0, 4, 20)
    found = diversity(cdist(points, points), owners)
    assert found.pairwise == pytest.approx(pdist(points).mean())
    members = [points[owners == owner] for owner in np.unique(owners)]
    assert found.within_clusters == pytest.approx(np.mean([pdist(some).mean() for some in members if len(some) > 1]))
    assert found.clusters == {int(owner): int((owners == owner).sum()) for owner in np.unique(owners)}


def test_the_interval_is_about_as_wide_as_the_spread_of_other_samples() -> None:
    draws = [diversity(cdist(p, p), np.zeros(30)) for p in (stream(k).normal(size=(30, 4)) for k in range(80))]
    spread = np.std([draw.pairwise for draw in draws])
    width = np.median([draw.pairwise_interval[1] - draw.pairwise_interval[0] for draw in draws])
    assert width == pytest.approx(3.92 * spread, rel=0.25)


def test_a_collapse_shows_within_clusters() -> None:
    # three defects repeated: far apart as a whole, but not around each real one
    points = np.repeat(np.eye(3), 10, axis=0)
    found = diversity(cdist(points, points), np.repeat([0, 1, 2], 10))
    assert found.within_clusters == 0
    assert found.pairwise > 0.9


def test_images_that_all_have_their_own_nearest_have_no_clusters() -> None:
    assert diversity(cdist(np.eye(3), np.eye(3)), [0, 1, 2]).within_clusters is None


def test_sizes_that_do_not_fit_are_refused() -> None:
    for distances, owners in ((np.zeros((1, 1)), [0]), (np.zeros((3, 2)), [0, 1, 2]), (np.zeros((3, 3)), [0, 1])):
        with pytest.raises(ValueError, match="at least two images"):
            diversity(distances, owners)
