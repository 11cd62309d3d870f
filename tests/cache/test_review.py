"""Decisions survive torn writes and concurrent writers, and never pass on to another sample."""

from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inout_aug.cache import CacheDamaged, CacheNotWritten, SampleCache, fill_cache
from inout_aug.cache.review import Decision, Review, relabelled
from inout_aug.sample import Sample
from standin import Noise


def filled(path: Path, n: int = 12, **options: Any) -> SampleCache:
    return fill_cache(Noise(), path, n, **{"shape": (24, 24, 1), "shard_size": 4, "progress": False, **options})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "decisions.jsonl").read_text().splitlines()]


def test_decisions_are_read_by_whoever_opens_the_cache(tmp_path: Path) -> None:
    filled(tmp_path)
    Review(tmp_path).reject([3, 7], who="ana", why="blurred")
    Review(tmp_path).relabel(5, 4)
    Review(tmp_path).accept(7)
    review = Review(SampleCache(tmp_path))
    assert np.flatnonzero(~review.accepted).tolist() == [3]
    assert review.labels.tolist() == [4 if k == 5 else 1 for k in range(12)]
    assert [decision.verdict for decision in review.of(7)] == ["reject", "accept"]
    assert (review.history[0].who, review.history[0].why) == ("ana", "blurred")
    assert review.history[0].when.endswith("+00:00")


def test_one_line_per_decision_in_the_documented_form(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    Review(cache).reject([0, 11], why="ü\nz")
    first, last = lines(tmp_path)
    assert first == {
        "cache": cache.fingerprint[:16],
        "index": 0,
        "seed": int(cache.seeds[0]),
        "verdict": "reject",
        "label": None,
        "who": "",
        "why": "ü\nz",
        "when": first["when"],
    }
    assert last["index"] == 11


def test_a_review_sees_its_own_decisions_at_once(tmp_path: Path) -> None:
    review = Review(filled(tmp_path))
    assert review.accepted.all()
    review.reject(2)
    assert not review.accepted[2]


def test_positions_and_indices_are_told_apart(tmp_path: Path) -> None:
    shapes = [(24, 24, 1), (32, 24, 1)]
    cache = filled(tmp_path, shape=lambda k: shapes[k % 2])
    Review(cache).reject(3)
    position = int(np.flatnonzero(cache.indices == 3)[0])
    assert position != 3
    assert np.flatnonzero(~Review(cache).accepted).tolist() == [position]


def test_another_cache_in_the_same_folder_inherits_nothing(tmp_path: Path) -> None:
    Review(filled(tmp_path)).reject([1, 2])
    for path in tmp_path.iterdir():
        if path.name != "decisions.jsonl":
            path.unlink()
    review = Review(filled(tmp_path, seed=8))
    assert review.accepted.all()
    assert review.stale == 2


def test_a_sample_made_from_another_seed_inherits_nothing(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    Review(cache).reject(4)
    line = lines(tmp_path)[0]
    (tmp_path / "decisions.jsonl").write_text(json.dumps({**line, "seed": line["seed"] + 1}) + "\n")
    assert Review(cache).accepted.all()


@pytest.mark.parametrize("torn", [b'{"cache": "ab', b"\xff\xfe\x00", b"[]", b"17", b'{"index": 3}', b"{" * 100_000])
def test_a_torn_line_is_reported_and_costs_no_other(tmp_path: Path, torn: bytes) -> None:
    cache = filled(tmp_path)
    Review(cache).reject(1)
    with (tmp_path / "decisions.jsonl").open("ab") as file:
        file.write(torn)
    with pytest.warns(RuntimeWarning, match=r"1 lines that are no decisions, the first is line 2"):
        review = Review(cache)
    assert review.damaged == (2,)
    # the next decision starts on a line of its own
    with pytest.warns(RuntimeWarning, match="no decisions"):
        review.reject(2)
    assert np.flatnonzero(~review.accepted).tolist() == [1, 2]


def test_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    Review(cache).reject(1)
    line = {**lines(tmp_path)[0], "rating": 5}
    (tmp_path / "decisions.jsonl").write_text(json.dumps(line) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not Review(cache).accepted[1]


def decide(path: Path, worker: int) -> None:
    review = Review(path)
    for number in range(20):
        review.reject((worker + number) % 12, who=f"worker {worker}", why="x" * 300)


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    filled(tmp_path)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=decide, args=(tmp_path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    review = Review(tmp_path)
    assert not review.damaged
    assert len(review.history) == 80
    assert sorted({decision.who for decision in review.history}) == [f"worker {k}" for k in range(4)]


def test_what_cannot_be_decided_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    review = Review(filled(tmp_path))
    with pytest.raises(KeyError, match="no sample"):
        review.reject([1, 99])
    for label in (0, 256):
        with pytest.raises(ValueError, match="1 to 255"):
            review.relabel(1, label)
    with pytest.raises(ValueError, match="goes with a label"):
        review.decide(1, "relabel")
    with pytest.raises(ValueError, match="goes with a label"):
        review.decide(1, "accept", label=2)
    with pytest.raises(ValueError, match="verdict is one of"):
        Decision(cache="", index=0, seed=0, verdict="maybe")  # type: ignore[arg-type]
    assert not (tmp_path / "decisions.jsonl").exists()


def test_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    cache = filled(tmp_path / "cache")
    review = Review(cache)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("")
    (tmp_path / "cache" / "decisions.jsonl").symlink_to(elsewhere)
    with pytest.raises(CacheNotWritten, match="could not append"):
        review.reject(1)
    assert elsewhere.read_text() == ""
    with pytest.raises(CacheDamaged, match="link"):
        Review(cache)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_can_be_read_but_not_decided_on(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    tmp_path.chmod(0o500)
    try:
        review = Review(cache)
        with pytest.raises(CacheNotWritten, match="Permission denied"):
            review.reject(1)
    finally:
        tmp_path.chmod(0o700)


def test_a_remote_cache_is_read_but_not_decided_on() -> None:
    pytest.importorskip("fsspec")
    cache = fill_cache(Noise(), "memory://review/tile", 3, shape=(24, 24, 1), progress=False)
    assert Review(cache).accepted.all()
    with pytest.raises(CacheNotWritten, match="copy"):
        Review(cache).reject(1)


def test_relabelling_moves_the_old_class_of_the_mask_only() -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[0, :3] = 1, 2, 1
    sample = relabelled(Sample(np.zeros((16, 16, 1), np.uint8), mask, 1), 5)
    assert sample.label == 5
    assert sample.mask is not None
    assert sample.mask.dtype == np.uint8
    assert sample.mask[0, :4].tolist() == [5, 2, 5, 0]


def test_samples_are_as_decided(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    review = Review(cache)
    review.reject([0, 1])
    review.relabel(2, 9)
    shown = dict(review.samples())
    assert sorted(shown) == list(range(2, 12))
    assert shown[2].label == 9
    assert set(np.unique(np.asarray(shown[2].mask))) == {0, 9}
