"""What was generated is what is read: in any process, after pickling, with few files open."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from inout_aug.cache import CacheChanged, CacheDamaged, CacheTooNew, Plan, SampleCache, caches_in, fill_cache
from inout_aug.cache.manifest import decode_manifest
from inout_aug.sample import Sample
from standin import Brightness, Noise

SHAPE = (24, 32, 3)


def filled(path: Path, n: int = 20, **options: Any) -> SampleCache:
    return fill_cache(Noise(), path, n, **{"shape": SHAPE, "shard_size": 4, "progress": False, **options})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SampleCache:
    return filled(tmp_path_factory.mktemp("store") / "tile")


def expected(index: int, **plan: Any) -> Sample:
    return Noise(masks=plan.get("masks", True), dtype=plan.get("dtype", "uint8")).make(
        Plan(**{"shape": SHAPE, **plan}).request(index)
    )


def assert_same(ours: Sample, theirs: Sample) -> None:
    assert ours.image.dtype == theirs.image.dtype
    np.testing.assert_array_equal(ours.image, theirs.image)
    if theirs.mask is None:
        assert ours.mask is None
    else:
        np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert ours.label == theirs.label


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("masks", [True, False])
def test_samples_are_what_the_generator_makes(tmp_path: Path, dtype: Any, channels: int, masks: bool) -> None:
    plan = {"shape": (17, 33, channels), "dtype": dtype, "masks": masks, "conditions": {"defect_class": 3}}
    generator = Noise(dtype=dtype, masks=masks)
    cache = fill_cache(generator, tmp_path, 5, progress=False, **plan)
    assert len(cache) == 5
    for index, sample in enumerate(cache):
        assert_same(sample, expected(index, **plan))
        assert sample.label == 3


def test_every_sample_says_where_it_came_from_and_can_be_made_again(cache: SampleCache) -> None:
    sample = cache[7]
    assert sample.origin.generator == "Noise"
    assert sample.origin.fingerprint == Noise().fingerprint
    assert sample.origin.params["index"] == 7
    assert sample.origin.params["params"]["prompt"] is None
    request = Plan(shape=SHAPE).request(7)
    assert sample.origin.seed == (request.seed,)
    assert_same(sample, Noise().make(request))


def test_the_conditions_are_kept(tmp_path: Path) -> None:
    host = np.full(SHAPE, 9, np.uint8)
    region = np.zeros(SHAPE[:2], np.uint8)
    region[4:8] = 1
    asked = {"prompt": "a crack", "strength": 0.5, "defect_class": 2, "host": host, "region": region}
    params = filled(tmp_path, 2, conditions=asked)[1].origin.params
    assert (params["prompt"], params["strength"], params["defect_class"]) == ("a crack", 0.5, 2)
    assert len(params["host_sha256"]) == len(params["region_sha256"]) == 64
    assert params["host_sha256"] != params["region_sha256"]


def test_it_is_a_sequence(cache: SampleCache) -> None:
    assert len(list(cache)) == len(cache) == 20
    assert_same(cache[-1], cache[19])
    assert_same(cache[np.int64(3)], cache[3])
    for position in (20, -21):
        with pytest.raises(IndexError, match="20 samples"):
            cache[position]
    with pytest.raises(TypeError):
        cache[1.0]


def test_draws_are_copies_and_pixels_are_read_only_views(cache: SampleCache) -> None:
    sample = cache[0]
    sample.image[:] = 0
    assert cache[0].image.any()
    image, mask = cache.pixels(0)
    np.testing.assert_array_equal(image, cache[0].image)
    assert mask is not None
    assert not image.flags.writeable
    assert not mask.flags.writeable


def test_columns_follow_the_positions(tmp_path: Path) -> None:
    cache = filled(tmp_path, 30, gates=[Brightness(200)], conditions=[{"defect_class": 1}, {"defect_class": 4}])
    assert cache.indices.tolist() == list(range(30))
    assert cache.defect_classes.tolist() == cache.labels.tolist() == [1, 4] * 15
    assert cache.score_names == ("first pixel",)
    assert cache.scores[:, 0].tolist() == [float(sample.image[0, 0, 0]) for sample in cache]
    assert cache.seeds.tolist() == [sample.origin.seed[0] for sample in cache]
    assert cache.scores.min() >= 200
    assert cache.acceptance == pytest.approx(30 / (30 + cache.rejections["dark"]))
    with pytest.raises(ValueError, match="read-only"):
        cache.labels[0] = 5


def test_mixed_shapes_are_grouped(tmp_path: Path) -> None:
    shapes = [(16, 24, 1), (32, 16, 3), (16, 16, 1)]
    plan = {"shape": lambda index: shapes[index * index % 3]}
    cache = filled(tmp_path, 21, **plan)
    assert [(group.layout.name, len(positions)) for group, positions in cache.groups] == [
        ("16x24x1-uint8", 7),
        ("32x16x3-uint8", 14),
    ]
    assert sorted(cache.indices.tolist()) == list(range(21))
    for position, index in enumerate(cache.indices):
        assert_same(cache[position], expected(int(index), **plan))
    wanted = np.array([20, 0, 5, 5])
    assert cache.indices[cache.positions_of(wanted)].tolist() == wanted.tolist()
    with pytest.raises(KeyError, match="21"):
        cache.positions_of(np.array([3, 21]))


def test_a_pickled_cache_carries_no_samples_and_reads_the_same(cache: SampleCache) -> None:
    cache[0], cache.seeds
    data = pickle.dumps(cache)
    assert len(data) < 10_000
    copy = pickle.loads(data)
    assert_same(copy[13], cache[13])
    assert copy.seeds.tolist() == cache.seeds.tolist()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_read_the_same(cache: SampleCache, method: str) -> None:
    cache[0]  # a map that is open in the parent is not used in the child
    context = multiprocessing.get_context(method)
    loader = DataLoader(cache, batch_size=None, num_workers=2, multiprocessing_context=context, collate_fn=_first)
    for ours, theirs in zip(loader, cache, strict=True):
        assert_same(ours, theirs)


def _first(sample: Sample) -> Sample:
    return sample


def test_few_files_are_open_at_a_time(tmp_path: Path) -> None:
    cache = filled(tmp_path, 300, shard_size=1, shape=(16, 16, 1))
    before = len(os.listdir("/proc/self/fd"))
    for position in (*range(300), *range(299, -1, -1)):
        assert_same(cache[position], expected(position, shape=(16, 16, 1)))
    assert len(os.listdir("/proc/self/fd")) - before <= 64


def test_a_cache_that_is_not_full_has_what_is_there(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    (tmp_path / "24x32x3-uint8-000002.safetensors").unlink()
    fewer = SampleCache(tmp_path)
    assert (len(fewer), fewer.missing) == (16, 4)
    assert fewer.indices.tolist() == [*range(8), *range(12, 20)]
    assert_same(fewer[8], cache[12])


def test_a_shard_that_was_deleted_or_replaced_while_open_is_named(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    first = cache[0]
    name = "24x32x3-uint8-000000.safetensors"
    (tmp_path / name).unlink()
    assert_same(cache[0], first)
    fresh = pickle.loads(pickle.dumps(cache))
    for use in (lambda: fresh[0], lambda: fresh.seeds):
        with pytest.raises(CacheChanged, match=name):
            use()
    filled(tmp_path, 21)
    assert_same(fresh[0], first)
    fresh = SampleCache(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / "24x32x3-uint8-000001.safetensors").read_bytes())
    with pytest.raises(CacheChanged, match=name):
        fresh[0]
    with pytest.raises(CacheDamaged, match=name):
        SampleCache(tmp_path)


def test_a_cache_without_samples_is_empty(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    (tmp_path / "24x32x3-uint8-000000.safetensors").unlink()
    empty = SampleCache(tmp_path)
    assert (len(empty), list(empty), empty.groups, empty.missing) == (0, [], [], 4)
    assert len(empty.scores) == 0
    assert np.isnan(empty.acceptance)
    with pytest.raises(KeyError, match="0"):
        empty.positions_of(np.array([0]))


def test_no_cache_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        SampleCache(tmp_path / "nothing")


def test_a_manifest_of_a_later_version_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "format": 2, "novelty": True}))
    for use in (SampleCache, filled):
        with pytest.raises(CacheTooNew, match="update inout-aug"):
            use(tmp_path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_altered_manifest_never_passes(cache: SampleCache, data: st.DataObject) -> None:
    text = bytearray(cache.manifest.encode())
    byte = data.draw(st.integers(0, len(text) - 1))
    text[byte] ^= 1 << data.draw(st.integers(0, 7))
    try:
        manifest = decode_manifest(bytes(text))
    except (CacheDamaged, CacheTooNew):
        return
    # white space carries nothing
    assert manifest == cache.manifest


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{}", b"[" * 100_000, b'{"format": "../../etc"}'])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(CacheDamaged, match=r"manifest\.json"):
        decode_manifest(text)


def test_a_linked_manifest_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "real")
    (tmp_path / "false").mkdir()
    (tmp_path / "false" / "manifest.json").symlink_to(tmp_path / "real" / "manifest.json")
    with pytest.raises(CacheDamaged, match="symbolic link"):
        SampleCache(tmp_path / "false")


def test_caches_are_found_below_a_folder(tmp_path: Path) -> None:
    for name in ("b/tile", "a"):
        filled(tmp_path / name, 1)
    (tmp_path / "c").mkdir()
    assert caches_in(tmp_path) == [tmp_path / "a", tmp_path / "b/tile"]


def test_opening_many_shards_is_quick_and_small(tmp_path: Path) -> None:
    import time
    import tracemalloc

    filled(tmp_path, 500, shard_size=1, shape=(16, 16, 1))
    # of this process, and untraced: other tests run beside this one
    start = time.process_time()
    cache = SampleCache(tmp_path)
    assert time.process_time() - start < 2.0
    tracemalloc.start()
    again = SampleCache(tmp_path)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(cache) == len(again) == 500
    # a thousand times the samples per shard cost the same: nothing per sample is read
    assert used < 2 << 20
