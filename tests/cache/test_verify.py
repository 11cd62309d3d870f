"""All that is wrong with a cache is found, in order, and nothing that is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.cache import CacheTooNew, fill_cache
from inout_aug.cache.folder import LocalFolder
from inout_aug.cache.manifest import read_manifest
from inout_aug.cache.verify import Finding, caches_in, set_aside, verify_cache, verify_shard
from standin import Noise, contents

NAME = "16x20x1-uint8-00000{}.safetensors"


def fill(path: Path, n: int = 18) -> Path:
    fill_cache(Noise(), path, n, shape=(16, 20, 1), shard_size=4, progress=False)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("verify") / "small", 3)


@given(st.data())
def test_any_flipped_bit_is_found(small: Path, data: st.DataObject) -> None:
    assert verify_cache(small) == []
    name = data.draw(st.sampled_from([NAME.format(0), "manifest.json"]))
    path = small / name
    whole = path.read_bytes()
    byte = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 1 << data.draw(st.integers(0, 7))]) + whole[byte + 1 :])
    try:
        assert [(finding.name, finding.kind) for finding in verify_cache(small)] == [(name, "damaged")]
    except CacheTooNew:
        assert whole[byte : byte + 1] == b"1"  # the number of the format
    finally:
        path.write_bytes(whole)


def test_everything_is_found_at_once_and_only_damage_is_moved(tmp_path: Path) -> None:
    cache, fewer = fill(tmp_path / "cache"), fill(tmp_path / "fewer", 6)
    (cache / NAME.format(0)).write_bytes(b"torn")
    shutil.copy(fewer / NAME.format(1), cache / NAME.format(1))  # two samples of four
    (cache / NAME.format(3)).unlink()
    for name in (".manifest.json.1f.tmp", "notes.tmp", "Manifest.json"):
        (cache / name).touch()
    findings = verify_cache(cache)
    assert [(finding.name, finding.kind) for finding in findings] == [
        (NAME.format(0), "damaged"),
        (NAME.format(1), "missing"),
        (NAME.format(3), "missing"),
        (".manifest.json.1f.tmp", "unfinished"),
        ("Manifest.json", "foreign"),
        ("notes.tmp", "foreign"),
    ]
    assert str(findings[1]) == f"{NAME.format(1)}: missing, 2 of 4 samples are not there"
    assert str(findings[2]) == f"{NAME.format(3)}: missing, 4 of 4 samples are not there"
    before = contents(cache)
    (aside,) = set_aside(cache, findings)
    assert (cache / aside).read_bytes() == before.pop(NAME.format(0)) == b"torn"
    assert contents(cache) == before
    # it is missing now, not damaged: there is nothing more to move
    assert verify_cache(cache)[0] == Finding(NAME.format(0), "missing", "4 of 4 samples are not there")
    assert set_aside(cache, verify_cache(cache)) == []
    fill(cache)
    assert {finding.kind for finding in verify_cache(cache)} == {"unfinished", "foreign"}


class Racing(LocalFolder):
    """A folder where something happens after the header of a shard was read, and before the rest is."""

    def __init__(self, path: Path, happens: Callable[[], Any]) -> None:
        super().__init__(path)
        self.happens: Callable[[], Any] | None = happens

    def local(self, name: str) -> Path:
        happens, self.happens = self.happens, None
        if happens is not None:
            happens()
        return super().local(name)


def test_a_shard_that_grows_or_goes_while_it_is_read_is_not_damaged(tmp_path: Path) -> None:
    whole = fill(tmp_path / "whole")
    for happens, reason in (
        (lambda cache: shutil.copy(whole / NAME.format(1), cache / NAME.format(1)), None),
        (lambda cache: (cache / NAME.format(1)).unlink(), "4 of 4 samples are not there"),
        (lambda cache: (cache / NAME.format(1)).write_bytes(b"torn"), "claims"),
    ):
        cache = shutil.copytree(whole, tmp_path / "cache", dirs_exist_ok=True)
        shutil.copy(fill(tmp_path / "fewer", 6) / NAME.format(1), cache / NAME.format(1))
        folder = Racing(cache, lambda cache=cache, happens=happens: happens(cache))
        manifest = read_manifest(folder)
        assert manifest is not None
        finding = verify_shard(folder, manifest.groups[0], 1, manifest)
        assert folder.happens is None
        assert (finding is None) if reason is None else (finding is not None and reason in finding.reason)


def test_what_a_later_version_wrote_is_no_damage(tmp_path: Path) -> None:
    cache = fill(tmp_path / "cache")
    path = cache / NAME.format(4)
    data = path.read_bytes()
    assert data.count(b"inout-aug/1") == 1
    path.write_bytes(data.replace(b"inout-aug/1", b"inout-aug/2"))
    with pytest.raises(CacheTooNew, match="update inout-aug"):
        verify_cache(cache)
    manifest = json.loads((cache / "manifest.json").read_text())
    (cache / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(CacheTooNew, match="update inout-aug"):
        verify_cache(cache)
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json"):
        verify_cache(tmp_path)


def test_caches_are_folders_with_a_manifest_of_their_own(tmp_path: Path) -> None:
    for name in ("b/inner", "a", "b"):
        fill(tmp_path / name, 1)
    for name in ("linked manifest", "folder for a manifest/manifest.json", "empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "linked manifest" / "manifest.json").symlink_to(tmp_path / "a" / "manifest.json")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    assert caches_in(tmp_path) == [tmp_path / name for name in ("a", "b", "b/inner")]
    assert caches_in(tmp_path / "a") == [tmp_path / "a"]
    assert caches_in(tmp_path / "nowhere") == []
