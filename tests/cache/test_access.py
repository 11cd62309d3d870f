"""Shards are read while other fillers replace them: what comes back is of one file, or none."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inout_aug.cache import CacheChanged, fill_cache
from inout_aug.cache.access import find_shards, first_record, map_shard, read_columns
from inout_aug.cache.folder import LocalFolder
from inout_aug.cache.manifest import read_manifest
from standin import Noise

OPTIONS: dict[str, Any] = {"shape": (16, 16, 1), "shard_size": 8, "progress": False}


class Disturbed(LocalFolder):
    """Something happens to the files after a number of reads."""

    def __init__(self, path: Path, reads: int, event: Callable[[], Any]) -> None:
        super().__init__(path)
        self.reads, self.event = reads, event

    def read(self, name: str, start: int, stop: int) -> tuple[bytes, int]:
        if self.reads == 0:
            self.event()
        self.reads -= 1
        return super().read(name, start, stop)


@pytest.fixture
def half(tmp_path: Path) -> Path:
    fill_cache(Noise(), tmp_path / "half", 4, **OPTIONS)
    return tmp_path / "half"


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    fill_cache(Noise(), tmp_path / "whole", 8, **OPTIONS)
    return tmp_path / "whole"


def only_shard(path: Path) -> Any:
    folder = LocalFolder(path)
    manifest = read_manifest(folder)
    assert manifest is not None
    (shard,) = find_shards(folder, manifest)
    return shard


@pytest.mark.parametrize("reads", [0, 1])
@pytest.mark.parametrize("what", ["replaced", "removed"])
def test_a_record_is_of_the_file_that_was_found(half: Path, whole: Path, what: str, reads: int) -> None:
    shard = only_shard(half)
    index, record = first_record(LocalFolder(half), shard)
    assert (index, record["defect_class"]) == (0, 1)
    file = half / shard.name
    events = {
        "replaced": lambda: shutil.copy(whole / shard.name, file),
        "removed": lambda: file.unlink(missing_ok=True),
    }
    with pytest.raises(CacheChanged, match="replaced or removed"):
        first_record(Disturbed(half, reads, events[what]), shard)


@pytest.mark.parametrize("read", [read_columns, map_shard])
def test_arrays_are_of_the_file_that_was_found(half: Path, whole: Path, read: Callable[..., Any]) -> None:
    shard = only_shard(half)
    assert read(LocalFolder(half), shard)["index"].tolist() == [0, 1, 2, 3]
    shutil.copy(whole / shard.name, half / shard.name)
    with pytest.raises(CacheChanged, match="replaced or removed"):
        read(LocalFolder(half), shard)
    assert read(LocalFolder(half), only_shard(whole))["index"].tolist() == list(range(8))
