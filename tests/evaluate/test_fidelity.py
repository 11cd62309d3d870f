"""FID and KID against other implementations; the interval against what it promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from inout_aug.evaluate import fid, fidelity, kid, kid_interval
from inout_aug.seeding import stream


def cloud(count: int, width: int = 6, *, seed: int = 0, shift: float = 0.0) -> Any:
    rng = stream(seed, count)
    return rng.normal(size=(count, width)) @ stream(width).normal(size=(width, width)) + shift


def mmd(a: Any, b: Any) -> float:
    """The unbiased estimate, pair by pair."""

    def kernel(x: Any, y: Any) -> float:
        return (float(x @ y) / len(x) + 1) ** 3

    within = [
        sum(kernel(part[i], part[j]) for i in range(len(part)) for j in range(len(part)) if i != j)
        / (len(part) * (len(part) - 1))
        for part in (a, b)
    ]
    return sum(within) - 2 * sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))


def test_fid_is_the_distance_of_two_gaussians() -> None:
    a, b = cloud(50), cloud(40, seed=1, shift=0.7)
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert fid(a, b) == pytest.approx(expected, rel=1e-9)


def test_fid_of_fewer_images_than_features() -> None:
    # the trace of the root is the sum of the singular values of what is left of both
    a, b = cloud(9, 40), cloud(12, 40, seed=1, shift=0.3)
    left, right = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b))
    root = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.square(left).sum() + np.square(right).sum() - 2 * root
    assert fid(a, b) == pytest.approx(expected, rel=1e-6)
    assert fid(a, a) == pytest.approx(0, abs=1e-4 * np.square(left).sum())


def test_kid_of_all_images_is_that_of_all_pairs() -> None:
    a, b = cloud(12), cloud(12, seed=1, shift=0.5)
    mean, std = kid(a, b, subset_size=12, subsets=3)
    assert mean == pytest.approx(mmd(a, b), rel=1e-9)
    assert std == pytest.approx(0, abs=1e-9)


def test_kid_of_subsets_has_the_mean_of_all_pairs_by_default() -> None:
    a, b = cloud(20), cloud(30, seed=1, shift=0.5)
    mean, std = kid(a, b, subsets=2000)
    assert mean == pytest.approx(mmd(a, b), abs=4 * std / 2000**0.5)
    assert fidelity(a, b).subset_size == 10
    assert fidelity(a, b).images == (20, 30)


def test_kid_repeats_by_seed_and_leaves_torch_alone() -> None:
    a, b = cloud(20), cloud(20, seed=1)
    torch.manual_seed(7)
    before = torch.rand(3)
    torch.manual_seed(7)
    first = kid(a, b, seed=3)
    assert torch.equal(torch.rand(3), before)
    assert kid(a, b, seed=3) == first != kid(a, b, seed=4)


def test_the_interval_covers_the_distance() -> None:
    a, b = cloud(4000), cloud(3000, seed=1, shift=0.6)
    truth = kid(a, b, subset_size=3000, subsets=1)[0]
    rng = stream(5)
    inside = 0
    for _ in range(40):
        low, high = kid_interval(a[rng.permutation(4000)[:40]], b[rng.permutation(3000)[:40]])
        inside += low <= truth <= high
    assert inside >= 33


def test_the_interval_of_one_distribution_has_zero() -> None:
    intervals = [kid_interval(cloud(25, seed=2 * k), cloud(30, seed=2 * k + 1)) for k in range(20)]
    assert sum(low > 0 for low, _ in intervals) <= 2
    low, _ = kid_interval(cloud(25), cloud(30, shift=3.0))
    assert low > 0


@pytest.mark.parametrize("measure", [fid, kid, kid_interval, fidelity])
def test_what_is_no_two_sets_of_features_is_refused(measure: Any) -> None:
    a = cloud(10)
    for bad in (cloud(3), cloud(10, 5), a[0], np.full_like(a, np.nan)):
        with pytest.raises(ValueError, match="features"):
            measure(a, bad)


@pytest.mark.parametrize("size", [1, 11])
def test_a_subset_is_at_most_a_set(size: int) -> None:
    with pytest.raises(ValueError, match="subset_size is at least 2"):
        kid(cloud(10), cloud(12), subset_size=size)
