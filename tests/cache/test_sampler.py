"""Draws: enough of them, of the right classes, each sample as often as any other, the same in every process."""

from __future__ import annotations

import pickle
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from inout_aug.cache import SampleCache, fill_cache
from inout_aug.cache.draws import CachedDraws
from inout_aug.cache.filters import MaskShare
from inout_aug.cache.review import Review
from inout_aug.cache.sampler import CachedSampler, cached
from inout_aug.lots import ClassSource
from inout_aug.plugin import Draws, Request, SampleSource
from inout_aug.sample import Origin, Sample
from standin import Brightness, Noise

SHAPE = (24, 32, 3)
LIKE = Sample(np.zeros(SHAPE, np.uint8), np.zeros(SHAPE[:2], np.uint8))


def filled(path: Path, n: int = 20, *, classes: int = 1, **options: Any) -> SampleCache:
    conditions = [{"defect_class": k} for k in range(1, classes + 1)]
    settings = {"shape": SHAPE, "shard_size": 4, "progress": False, "conditions": conditions, **options}
    return fill_cache(settings.pop("generator", Noise()), path, n, **settings)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SampleCache:
    """Twenty samples of classes 1 and 2 in turn, scored by their first pixel."""
    return filled(tmp_path_factory.mktemp("sampler") / "tile", classes=2, gates=[Brightness(0)])


def indices(draws: Draws, epoch: int) -> list[int]:
    return [draws(position, epoch).origin.params["index"] for position in range(len(draws.classes))]


def test_it_is_a_sample_source(cache: SampleCache) -> None:
    sampler = CachedSampler(cache)
    assert isinstance(sampler, SampleSource)
    assert sampler.name == "Noise"
    assert sampler.fingerprint == cache.fingerprint


def test_draws_are_samples_of_the_cache(cache: SampleCache) -> None:
    draws = CachedSampler(cache.folder.url).bind(20, LIKE, 0)
    for position in range(20):
        drawn = draws(position, 3)
        original = cache[int(np.flatnonzero(cache.indices == drawn.origin.params["index"])[0])]
        np.testing.assert_array_equal(drawn.image, original.image)
        np.testing.assert_array_equal(drawn.mask, original.mask)
        assert drawn.origin == original.origin
        assert drawn.label == original.label == draws.classes[position]


@pytest.mark.parametrize("count", [1, 3, 7, 19, 20])
def test_no_sample_comes_twice_in_an_epoch_and_all_come_equally_often(tmp_path: Path, count: int) -> None:
    draws = CachedSampler(filled(tmp_path)).bind(count, LIKE, 5)
    seen: Counter[int] = Counter()
    for epoch in range(41):
        drawn = indices(draws, epoch)
        assert len(set(drawn)) == count
        seen.update(drawn)
        counts = [seen[k] for k in range(20)]
        assert max(counts) - min(counts) <= 1


def test_each_epoch_and_seed_has_its_own_order(cache: SampleCache) -> None:
    sampler = CachedSampler(cache, classes=[1])
    orders = [indices(sampler.bind(10, LIKE, seed), epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert indices(sampler.bind(10, LIKE, 1), 1) == orders[3]


def test_classes_follow_the_cache_unless_told_otherwise(cache: SampleCache) -> None:
    draws = CachedSampler(cache).bind(10, LIKE, 0)
    assert Counter(draws.classes.tolist()) == {1: 5, 2: 5}
    # spread, so that any stretch of positions is mixed
    assert set(draws.classes[:2]) == {1, 2}
    assert CachedSampler(cache, classes=[2]).bind(10, LIKE, 0).classes.tolist() == [2] * 10
    weighted = CachedSampler(cache, classes={1: 3, 2: 1}).bind(12, LIKE, 0)
    assert Counter(weighted.classes.tolist()) == {1: 9, 2: 3}


def test_proportions_never_ask_for_more_of_a_class_than_there_is(tmp_path: Path) -> None:
    cache = filled(tmp_path, 11, classes=3)
    for count in range(12):
        drawn = Counter(CachedSampler(cache).bind(count, LIKE, 0).classes.tolist())
        assert sum(drawn.values()) == count
        assert all(drawn[k] <= n for k, n in {1: 4, 2: 4, 3: 3}.items())


def test_too_few_samples_are_an_error_that_says_how_many_are_missing(cache: SampleCache) -> None:
    with pytest.raises(
        ValueError, match=r"^5 samples are missing .* An epoch needs 25, 13 of class 1 \(there are 10\)"
    ):
        CachedSampler(cache).bind(25, LIKE, 0)
    with pytest.raises(ValueError, match=r"^3 samples are missing .* 0 of class 2 \(there are 10\)"):
        CachedSampler(cache, classes={1: 1, 2: 0}).bind(13, LIKE, 0)
    with pytest.raises(ValueError, match=r"^4 samples are missing .* of class 7 \(there are 0\)"):
        CachedSampler(cache, classes=[7], repeat=True).bind(4, LIKE, 0)


def test_what_was_never_made_is_told(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "24x32x3-uint8-000001.safetensors").unlink()
    with pytest.raises(ValueError, match=r"^4 samples are missing .* 4 were never made"):
        CachedSampler(tmp_path).bind(20, LIKE, 0)


def test_repeat_goes_through_the_samples_evenly(cache: SampleCache) -> None:
    draws = CachedSampler(cache, repeat=True).bind(50, LIKE, 0)
    counts = Counter(indices(draws, 0))
    assert len(counts) == 20
    assert set(counts.values()) <= {2, 3}


def test_rejected_samples_are_not_drawn_and_relabelled_ones_are_of_their_new_class(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    review = Review(cache)
    review.reject([0, 1])
    review.relabel([2, 3], 6)
    with pytest.raises(ValueError, match=r"^2 samples are missing .* 2 were rejected in review"):
        CachedSampler(cache).bind(20, LIKE, 0)
    draws = CachedSampler(cache).bind(18, LIKE, 0)
    assert sorted(indices(draws, 0)) == list(range(2, 20))
    for position in range(18):
        sample = draws(position, 0)
        kind = 6 if sample.origin.params["index"] in (2, 3) else 1
        assert sample.label == draws.classes[position] == kind
        assert sample.mask is not None
        assert set(np.unique(sample.mask)) == {0, kind}


def test_scores_limit_what_is_drawn(cache: SampleCache) -> None:
    score = {int(k): float(s) for k, s in zip(cache.indices, cache.scores[:, 0], strict=True)}
    middle = float(np.median(list(score.values())))
    bright = {k for k, s in score.items() if s >= middle}
    draws = CachedSampler(cache, min_score={"first pixel": middle}).bind(len(bright), LIKE, 0)
    assert set(indices(draws, 0)) == bright
    dark = {k for k, s in score.items() if s <= middle}
    draws = CachedSampler(cache, max_score={"first pixel": middle}).bind(len(dark), LIKE, 0)
    assert set(indices(draws, 0)) == dark
    with pytest.raises(KeyError, match=r"no score 'realism'; it has \['first pixel'\]"):
        CachedSampler(cache, min_score={"realism": 1.0})


def test_with_replacement_the_chance_is_proportional_to_the_score(cache: SampleCache) -> None:
    score = {int(k): float(s) for k, s in zip(cache.indices, cache.scores[:, 0], strict=True)}
    draws = CachedSampler(cache, replacement=True, weight_by="first pixel", classes=[1]).bind(500, LIKE, 0)
    seen = Counter(k for epoch in range(4) for k in indices(draws, epoch))
    total = sum(s for k, s in score.items() if k % 2 == 0)
    for k in range(0, 20, 2):
        expected = 2000 * score[k] / total
        assert abs(seen[k] - expected) < 5 * (expected + 1) ** 0.5
    even = CachedSampler(cache, replacement=True).bind(2000, LIKE, 0)
    assert all(50 < n < 150 for n in Counter(indices(even, 0)).values())


def test_weights_without_replacement_and_impossible_weights_are_refused(tmp_path: Path, cache: SampleCache) -> None:
    with pytest.raises(ValueError, match="needs replacement=True"):
        CachedSampler(cache, weight_by="first pixel")
    blank = filled(tmp_path, 4, generator=Flat(), gates=[Brightness(0)])
    with pytest.raises(ValueError, match="not all zero"):
        CachedSampler(blank, replacement=True, weight_by="first pixel").bind(2, LIKE, 0)


@pytest.mark.parametrize("classes", [[], [0], [256], {1: -1.0}, {1: 0.0}, {1: float("nan")}])
def test_classes_that_are_none_are_refused(cache: SampleCache, classes: Any) -> None:
    with pytest.raises(ValueError, match="classes"):
        CachedSampler(cache, classes=classes)


class Flat(Noise):
    """Black images; the masks of every third are empty."""

    def make(self, request: Request) -> Sample:
        mask = np.zeros((request.height, request.width), np.uint8)
        mask[:2, :2] = request.defect_class if request.seed % 3 else 0
        return Sample(np.zeros((request.height, request.width, request.channels), np.uint8), mask, request.defect_class)


@pytest.mark.parametrize("gates", [(), (MaskShare(),)])
def test_an_empty_mask_is_never_drawn(tmp_path: Path, gates: Any) -> None:
    cache = filled(tmp_path, 20, generator=Flat(), gates=gates)
    shown = sum(1 for sample in cache if sample.mask is not None and sample.mask.any())
    assert shown == 20 if gates else shown < 20
    with pytest.raises(ValueError, match="samples are missing"):
        CachedSampler(cache).bind(shown + 1, LIKE, 0)
    draws = CachedSampler(cache).bind(shown, LIKE, 0)
    assert all(draws(position, 0).mask.any() for position in range(shown))  # type: ignore[union-attr]


def test_masks_are_needed_only_where_the_dataset_has_them(tmp_path: Path) -> None:
    cache = filled(tmp_path, 4, generator=Noise(masks=False), masks=False)
    with pytest.raises(ValueError, match="has no masks, but the dataset has"):
        CachedSampler(cache).bind(2, LIKE, 0)
    assert CachedSampler(cache).bind(4, Sample(LIKE.image), 0)(0, 0).mask is None


def test_a_host_of_the_generator_is_none_of_the_dataset(tmp_path: Path) -> None:
    class Hosted(Noise):
        def make(self, request: Request) -> Sample:
            sample = super().make(request)
            return Sample(sample.image, sample.mask, sample.label, Origin(host=3))

    draws = CachedSampler(filled(tmp_path, 4, generator=Hosted())).bind(4, LIKE, 0)
    assert draws(0, 0).origin.host is None
    assert draws(0, 0).origin.params["host"] == 3


def test_a_remote_cache_is_drawn_from_a_local_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path))
    cache = filled("memory://sampler/tile", 6)  # type: ignore[arg-type]
    draws = pickle.loads(pickle.dumps(CachedSampler("memory://sampler/tile").bind(6, LIKE, 0)))
    assert sorted(draws(k, 0).image.tobytes() for k in range(6)) == sorted(made.image.tobytes() for made in cache)


def test_drawn_arrays_may_be_changed(cache: SampleCache) -> None:
    draws = CachedSampler(cache).bind(4, LIKE, 0)
    before = draws(0, 0).image.copy()
    draws(0, 0).image[:] = 0
    np.testing.assert_array_equal(draws(0, 0).image, before)


class Drawn(Dataset):
    """Checksums of draws, as a dataset for the workers."""

    def __init__(self, draws: CachedDraws) -> None:
        self.draws = draws

    def __len__(self) -> int:
        return 2 * len(self.draws.classes)

    def __getitem__(self, index: int) -> int:
        epoch, position = divmod(index, len(self.draws.classes))
        sample = self.draws(position, epoch)
        return zlib.crc32(sample.image.tobytes() + np.asarray(sample.mask).tobytes())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_draw_what_the_main_process_draws(cache: SampleCache, method: str) -> None:
    dataset = Drawn(CachedSampler(cache).bind(20, LIKE, 0))
    expected = [dataset[index] for index in range(len(dataset))]
    loader = DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=method)
    assert [int(value) for value in loader] == expected


def test_draws_pickle_small(tmp_path: Path) -> None:
    draws = CachedSampler(filled(tmp_path, 500, shape=(16, 16, 1), shard_size=100)).bind(500, LIKE_SMALL, 0)
    copied = pickle.dumps(draws)
    assert len(copied) < 20 * 500 < draws(0, 0).image.nbytes * 500
    assert indices(pickle.loads(copied), 2) == indices(draws, 2)


LIKE_SMALL = Sample(np.zeros((16, 16, 1), np.uint8))


class TestCached:
    """A generator that was given as it is."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "caches"))
        return tmp_path / "caches"

    def test_it_fills_exactly_what_is_needed_and_never_again(self, folder: Path) -> None:
        generator = Counting()
        draws = cached(generator, 9, LIKE, 3)
        assert generator.made == 9
        assert sorted(indices(draws, 0)) == list(range(9))
        again = cached(generator, 9, LIKE, 3)
        assert generator.made == 9
        np.testing.assert_array_equal(draws(4, 1).image, again(4, 1).image)
        cached(generator, 12, LIKE, 3)
        assert generator.made == 12
        assert len(list(folder.iterdir())) == 1

    def test_another_size_seed_or_generator_has_its_own_cache(self, folder: Path) -> None:
        cached(Counting(), 2, LIKE, 0)
        cached(Counting(), 2, LIKE, 1)
        cached(Counting(), 2, LIKE_SMALL, 0)
        cached(Counting(version="2"), 2, LIKE, 0)
        assert len(list(folder.iterdir())) == 4

    def test_for_no_draws_nothing_is_made(self, folder: Path) -> None:
        generator = Counting()
        assert len(cached(generator, 0, LIKE, 0).classes) == 0
        assert generator.made == 0
        assert not folder.exists()

    def test_empty_masks_are_replaced(self) -> None:
        draws = cached(SometimesEmpty(), 10, LIKE, 0)
        assert all(draws(position, 0).mask.any() for position in range(10))  # type: ignore[union-attr]

    def test_eight_bit_samples_serve_a_sixteen_bit_dataset(self) -> None:
        like = Sample(np.zeros(SHAPE, np.uint16), np.zeros(SHAPE[:2], np.uint8))
        drawn = cached(Counting(), 2, like, 0)(0, 0)
        assert drawn.image.dtype == np.uint16
        deep = cached(Counting(dtype="uint16"), 2, like, 0)(0, 0)
        assert (deep.image % 257).any()

    def test_a_generator_without_masks_serves_a_dataset_without_masks(self) -> None:
        generator = Counting(masks=False)
        with pytest.raises(ValueError, match="has no masks"):
            cached(generator, 2, LIKE, 0)
        assert generator.made == 0
        assert cached(generator, 2, Sample(LIKE.image), 0)(1, 0).mask is None

    def test_it_never_runs_in_a_worker(self) -> None:
        loader = DataLoader(FillsInWorker(), batch_size=None, num_workers=1, multiprocessing_context="fork")
        with pytest.raises(RuntimeError, match="never runs in a loader worker"):
            list(loader)


class Counting(Noise):
    """Counts what it makes."""

    made = 0

    def make(self, request: Request) -> Sample:
        self.made += 1
        return super().make(request)


class SometimesEmpty(Noise):
    def make(self, request: Request) -> Sample:
        sample = super().make(request)
        return sample if request.seed % 2 else Sample(sample.image, np.zeros_like(sample.mask), sample.label)


class FillsInWorker(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return len(cached(Counting(), 1, LIKE, 0).classes)


def test_it_can_be_asked_for_single_classes(cache: SampleCache) -> None:
    sampler = CachedSampler(cache)
    assert sampler.classes == (1, 2)
    assert isinstance(sampler, ClassSource)
    chosen = sampler.of_classes([2])
    assert chosen.classes == CachedSampler(cache, classes={1: 0, 2: 1}).classes == (2,)
    assert chosen.bind(7, LIKE, 0).classes.tolist() == [2] * 7
    assert sampler.classes == (1, 2)


def test_a_generator_as_it_is_makes_only_the_classes_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path))
    generator = Noise()
    generator.defect_classes = 3  # type: ignore[attr-defined]
    assert sorted(cached(generator, 6, LIKE, 0, classes=(1, 3)).classes.tolist()) == [1, 1, 1, 3, 3, 3]
