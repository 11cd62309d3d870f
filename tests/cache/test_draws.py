"""Which sample comes when: any pools, any weights, the same from any copy and in any order."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inout_aug.cache.draws import CachedDraws, Pool
from inout_aug.sample import Origin, Sample

POOLS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 12)), min_size=1, max_size=4)


def shelf(sizes: list[int]) -> list[Sample]:
    """Samples of class 1, 2, … in turn as far as there are any; each says its place."""
    samples = []
    for label in (k for turn in range(max(sizes)) for k, size in enumerate(sizes, 1) if turn < size):
        mask = np.zeros((16, 16), np.uint8)
        mask[2:5, 2:5] = label
        origin = Origin(generator="shelf", params={"place": len(samples)}, host=7)
        samples.append(Sample(np.full((16, 16, 1), len(samples), np.uint8), mask, label, origin))
    return samples


def pools_of(samples: list[Sample], counts: list[int]) -> dict[int, Pool]:
    labels = np.array([sample.label for sample in samples])
    return {label: Pool(np.flatnonzero(labels == label), count) for label, count in enumerate(counts, 1)}


def place(sample: Sample) -> int:
    number: int = sample.origin.params["place"]
    assert (sample.image == number).all()
    return number


@given(POOLS, st.integers(0, 2**64 - 1), st.sampled_from([0, 5, 3 << 32]))
def test_every_pool_is_gone_through_evenly(drawn: list[tuple[int, int]], seed: int, first: int) -> None:
    sizes, counts = [size for size, _ in drawn], [count for _, count in drawn]
    samples = shelf(sizes)
    draws = CachedDraws(samples, pools_of(samples, counts), seed=seed)
    assert Counter(draws.classes.tolist()) == {label: n for label, n in enumerate(counts, 1) if n}
    seen: Counter[int] = Counter()
    for epoch in range(first, first + 4):
        epoch_of = [draws(position, epoch) for position in range(sum(counts))]
        assert [sample.label for sample in epoch_of] == draws.classes.tolist()
        seen.update(map(place, epoch_of))
        for label, count in enumerate(counts, 1):
            times = [seen[number] for number, sample in enumerate(samples) if sample.label == label]
            assert max(times) - min(times) <= 1
            assert sum(times) == count * (epoch - first + 1)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_any_stretch_has_its_share_of_each_class(counts: list[int]) -> None:
    samples = shelf([1] * len(counts))
    classes = CachedDraws(samples, pools_of(samples, counts), seed=0).classes
    ahead = np.cumsum(classes[:, None] == np.arange(1, len(counts) + 1), axis=0)
    fair = np.arange(1, len(classes) + 1)[:, None] * np.array(counts) / max(1, len(classes))
    assert np.abs(ahead - fair).max(initial=0) <= (len(counts) + 1) / 2


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_with_weights_the_chance_is_proportional_to_them(scale: float) -> None:
    samples = shelf([6])
    weights = np.array([0, 1, 2, 0, 5, 0]) * scale
    draws = CachedDraws(samples, {1: Pool(np.arange(6), 50, weights)}, seed=3)
    seen = Counter(place(draws(position, epoch)) for epoch in range(40) for position in range(50))
    assert set(seen) == {1, 2, 4}
    assert stats.chisquare([seen[1], seen[2], seen[4]], 2000 * np.array([1, 2, 5]) / 8).pvalue > 1e-3


def test_with_weights_all_draws_are_independent() -> None:
    samples = shelf([4])
    draws = CachedDraws(samples, {1: Pool(np.arange(4), 100, np.ones(4))}, seed=0)
    table = np.zeros((4, 4))
    for epoch in range(10):
        drawn = [place(draws(position, epoch)) for position in range(100)]
        later = [place(draws(position, epoch + 1)) for position in range(100)]
        np.add.at(table, (drawn, drawn[1:] + drawn[:1]), 1)
        np.add.at(table, (drawn, later), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_copies_draw_the_same_in_any_order() -> None:
    samples = shelf([3, 5])
    draws = CachedDraws(samples, pools_of(samples, [4, 7]), seed=9)
    keys = [(position, epoch) for epoch in (0, 1, 77) for position in range(11)]
    expected = {key: place(draws(*key)) for key in keys}
    copied: CachedDraws = pickle.loads(pickle.dumps(draws))
    assert {key: place(copied(*key)) for key in reversed(keys)} == expected


def test_a_relabelled_sample_is_of_its_new_class_in_label_and_mask() -> None:
    samples = shelf([2, 2])
    pools = {1: Pool(np.array([0]), 1), 2: Pool(np.array([1, 2, 3]), 3)}
    draws = CachedDraws(samples, pools, seed=0, relabelled={2: 2})
    for position, label in enumerate(draws.classes):
        drawn = draws(position, 0)
        assert drawn.mask is not None
        assert drawn.label == drawn.mask.max() == label
        assert np.count_nonzero(drawn.mask) == 9
    assert samples[2].label == 1


class Shifted:
    """An augmentation that is told by its result."""

    def __call__(self, image: Any, mask: Any, seed: int) -> tuple[Any, Any]:
        return np.full_like(image, seed % 251), np.roll(mask, seed % 7, axis=0)


def test_an_augmentation_is_recorded_and_differs_from_draw_to_draw() -> None:
    samples = shelf([1])
    augmented = CachedDraws(samples, pools_of(samples, [20]), seed=1, augment=Shifted())  # type: ignore[arg-type]
    drawn = [augmented(position, epoch) for epoch in range(3) for position in range(20)]
    seeds = [sample.origin.params["augment_seed"] for sample in drawn]
    assert len(set(seeds)) == 60
    assert all(type(seed) is int and 0 <= seed < 1 << 32 for seed in seeds)
    for sample, seed in zip(drawn, seeds, strict=True):
        image, mask = Shifted()(samples[0].image, samples[0].mask, seed)
        np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.mask, mask)
        assert sample.origin == Origin(generator="shelf", params={"place": 0, "augment_seed": seed})
    assert samples[0].origin.host == 7


def test_no_pools_are_no_draws() -> None:
    assert CachedDraws((), {}, seed=0).classes.shape == (0,)
    assert CachedDraws((), {1: Pool(np.arange(0), 0)}, seed=0).classes.shape == (0,)
