"""A cache at a URL holds the same bytes as one in a folder, and is read through a copy that can never be stale."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inout_aug.cache import (
    CacheChanged,
    CacheDamaged,
    CacheNotWritten,
    ProcessEngine,
    SampleCache,
    fill_cache,
    set_aside,
    verify_cache,
)
from standin import Brightness, Noise, contents

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")

URL = "memory://bucket/caches/tile"
NAME = "16x20x3-uint8-00000{}.safetensors"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "user"))
    files = fsspec.filesystem("memory")
    yield files
    files.rm("/bucket", recursive=True)


def fill(where: Any, n: int = 12, **options: Any) -> SampleCache:
    settings = {"shape": (16, 20, 3), "shard_size": 5, "gates": [Brightness(128)], "progress": False, **options}
    return fill_cache(Noise(), where, n, **settings)


def remote_contents(files: Any) -> dict[str, bytes]:
    return {path.rsplit("/", 1)[-1]: files.cat_file(path) for path in files.ls("/bucket/caches/tile", detail=False)}


def test_a_url_gets_the_bytes_of_a_folder(tmp_path: Path, store: Any) -> None:
    remote = fill(URL)
    local = fill(tmp_path / "local")
    assert remote_contents(store) == contents(tmp_path / "local")
    for ours, theirs in zip(remote, local, strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        assert ours.origin == theirs.origin
    assert verify_cache(URL) == []


def test_it_is_resumed_and_grown(tmp_path: Path, store: Any) -> None:
    fill(URL, 7)
    store.rm(f"/bucket/caches/tile/{NAME.format(0)}")
    fill(URL)
    fill(tmp_path / "local")
    assert remote_contents(store) == contents(tmp_path / "local")


def test_opening_and_columns_fetch_nothing_and_a_draw_fetches_one_shard(tmp_path: Path, store: Any) -> None:
    fill(URL)
    cache = pickle.loads(pickle.dumps(SampleCache(URL)))
    assert len(cache.seeds) == len(cache) == 12
    assert not (tmp_path / "user").exists()
    cache[6]
    fetched = [path.name for path in (tmp_path / "user" / "remote").rglob("*") if path.is_file()]
    assert fetched == [NAME.format(1)]


def test_the_copy_is_used_and_never_stale(tmp_path: Path, store: Any) -> None:
    cache = fill(URL, 7)
    before = cache[6].image
    path = f"/bucket/caches/tile/{NAME.format(1)}"
    kept = store.cat_file(path)
    store.rm(path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache))[6].image, before)
    fill(URL, 12)
    grown = SampleCache(URL)
    assert len(grown) == 12
    np.testing.assert_array_equal(grown[6].image, before)
    # the shard that this cache knew is gone, in the store and in the copy
    with pytest.raises(CacheChanged, match=NAME.format(1)):
        pickle.loads(pickle.dumps(cache))[6]
    store.pipe_file(path, kept)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(cache))[6].image, before)


def test_what_was_altered_in_the_store_is_found_set_aside_and_made_again(store: Any) -> None:
    cache = fill(URL)
    undisturbed = remote_contents(store)
    path = f"/bucket/caches/tile/{NAME.format(1)}"
    data = bytearray(undisturbed[NAME.format(1)])
    data[-1000] ^= 4
    store.pipe_file(path, bytes(data))
    with pytest.raises(CacheDamaged, match=f"{NAME.format(1)} .* checksum of mask differs"):
        cache[6]
    (finding,) = verify_cache(URL)
    assert (finding.name, finding.kind) == (NAME.format(1), "damaged")
    (aside,) = set_aside(URL, [finding])
    assert store.cat_file(f"/bucket/caches/tile/{aside}") == bytes(data)
    fill(URL)
    store.rm("/bucket/caches/tile/quarantine", recursive=True)
    assert remote_contents(store) == undisturbed


def test_an_upload_that_fails_leaves_nothing_behind(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(URL, 5)
    before = remote_contents(store)
    # the store goes away in the middle of the second write
    real = type(store).open

    def broken(self: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        file = real(self, path, mode, **options)
        if "w" in mode:
            file.write = lambda data: (_ for _ in ()).throw(OSError("connection reset"))
        return file

    monkeypatch.setattr(type(store), "open", broken)
    with pytest.raises(CacheNotWritten, match="connection reset"):
        fill(URL)
    monkeypatch.undo()
    assert remote_contents(store) == before


def test_a_shared_url_is_filled_by_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "user"))
    fill(f"file://{tmp_path}/shared", engine=ProcessEngine(workers=1))
    fill(tmp_path / "local")
    assert contents(tmp_path / "shared") == contents(tmp_path / "local")


def test_a_linked_shard_behind_a_url_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "user"))
    fill(tmp_path / "shared")
    shard = tmp_path / "shared" / NAME.format(0)
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheDamaged, match="no regular file"):
        SampleCache(f"file://{tmp_path}/shared")


@pytest.mark.parametrize("url", ["memory://bucket/../secret", "s3://../bucket"])
def test_a_url_with_dots_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"'\.\.' is refused"):
        fill(url)


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="gopher"):
        fill("gopher://bucket/tile")


def test_nothing_at_a_url_is_named(store: Any) -> None:
    fill(URL)
    with pytest.raises(FileNotFoundError, match="memory://bucket/nothing"):
        SampleCache("memory://bucket/nothing")
