"""Pruning removes what can be made again, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from inout_aug.cache import CacheDamaged, CacheNotWritten, SampleCache, fill_cache
from inout_aug.cache.prune import cache_files, prune_cache
from inout_aug.cache.review import Review
from standin import Noise


def filled(path: Path) -> SampleCache:
    return fill_cache(Noise(), path, 12, shape=(24, 24, 1), shard_size=4, progress=False)


def test_a_cache_is_removed_with_its_folder(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    filled(tmp_path / "other")
    size = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
    assert sum(cache_files(tmp_path / "cache").values()) == size
    pruned = prune_cache(tmp_path / "cache")
    assert pruned == (size, ())
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert len(SampleCache(tmp_path / "other")) == 12


def test_what_nobody_could_make_again_stays(tmp_path: Path) -> None:
    Review(filled(tmp_path)).reject(3)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "24x24x1-uint8-000007.safetensors").write_text("no shard of this cache")
    (tmp_path / "quarantine").mkdir()
    pruned = prune_cache(tmp_path)
    kept = ("24x24x1-uint8-000007.safetensors", "decisions.jsonl", "notes.txt", "quarantine")
    assert pruned.kept == kept
    assert tuple(sorted(path.name for path in tmp_path.iterdir())) == kept
    # filled again, the decisions hold again
    assert not Review(filled(tmp_path)).accepted[3]


def test_what_an_interrupted_write_left_goes_too(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    (tmp_path / "cache" / ".manifest.json.0123.tmp").write_text("half")
    prune_cache(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_symlinked_shard_is_unlinked_and_its_target_stays(tmp_path: Path) -> None:
    filled(tmp_path / "cache")
    shard = tmp_path / "cache" / "24x24x1-uint8-000001.safetensors"
    target = shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(target)
    prune_cache(tmp_path / "cache")
    assert target.is_file()
    assert not (tmp_path / "cache").exists()


def test_only_a_readable_cache_of_this_machine_is_removed(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "24x24x1-uint8-000000.safetensors").write_text("mine")
    with pytest.raises(FileNotFoundError, match="there is no cache"):
        prune_cache(tmp_path / "plain")
    filled(tmp_path / "cache")
    (tmp_path / "cache" / "manifest.json").write_text("{}")
    with pytest.raises(CacheDamaged):
        prune_cache(tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    pytest.importorskip("fsspec")
    fill_cache(Noise(), "memory://prune/tile", 1, shape=(24, 24, 1), progress=False)
    with pytest.raises(CacheNotWritten, match="not on this machine"):
        prune_cache("memory://prune/tile")
