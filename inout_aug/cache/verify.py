"""Finding what is wrong with a cache, and setting it aside."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from inout_aug.cache.access import find_shard, map_verified
from inout_aug.cache.errors import CacheChanged, CacheDamaged, CacheError, CacheTooNew
from inout_aug.cache.folder import QUARANTINE, Folder, open_folder, unfinished_writes
from inout_aug.cache.manifest import MANIFEST, Group, Manifest, read_manifest

DECISIONS = "decisions.jsonl"
Kind: TypeAlias = Literal["damaged", "missing", "unfinished", "foreign"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        name: Of the file.
        kind: "damaged": not what was written; must be set aside. "missing": samples that are not there; a fill makes
            them. "unfinished": left by a write that was interrupted, or is under way; harmless. "foreign": not ours;
            ignored.
        reason: In words.
    """

    name: str
    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.kind}, {self.reason}"


def verify_cache(where: str | os.PathLike[str]) -> list[Finding]:
    """Check every byte of a cache; returns what is not as it should be, nothing if all is well.

    Args:
        where: A folder or an fsspec URL.

    Raises:
        FileNotFoundError: There is no cache.
        CacheTooNew: A later version of the package wrote it.
    """
    folder = open_folder(where)
    try:
        manifest = read_manifest(folder)
    except CacheDamaged as error:
        return [Finding(MANIFEST, "damaged", str(error))]
    if manifest is None:
        raise FileNotFoundError(f"there is no cache at {folder.url}: it has no {MANIFEST}")
    return [*_verify_shards(folder, manifest), *_verify_names(folder, manifest)]


def _verify_shards(folder: Folder, manifest: Manifest) -> Iterator[Finding]:
    for group in manifest.groups:
        for number in group.shards():
            finding = verify_shard(folder, group, number, manifest)
            if finding is not None:
                yield finding


def verify_shard(folder: Folder, group: Group, number: int, manifest: Manifest) -> Finding | None:
    """Check every byte of one shard; returns None if it is whole and complete.

    Raises:
        CacheTooNew: A later version of the package wrote it.
    """
    name, rows = group.name(number), group.rows(number)
    try:
        shard = find_shard(folder, group, number, manifest.identity)
        if shard is not None:
            map_verified(folder, shard)
    except CacheTooNew:
        raise
    except CacheChanged:
        # a filler has put a fuller one in place this very moment
        return verify_shard(folder, group, number, manifest)
    except CacheError as error:
        return Finding(name, "damaged", str(error))
    present = shard.header.rows if shard is not None else 0
    absent = rows.stop - rows.start - present
    return Finding(name, "missing", f"{absent} of {absent + present} samples are not there") if absent > 0 else None


def _verify_names(folder: Folder, manifest: Manifest) -> Iterator[Finding]:
    names = folder.names() - {MANIFEST, DECISIONS, QUARANTINE}
    unfinished = unfinished_writes(names)
    ours = {group.name(number) for group in manifest.groups for number in group.shards()}
    for name in sorted(names - ours):
        if name in unfinished:
            yield Finding(name, "unfinished", "a write that was interrupted or is under way")
        else:
            yield Finding(name, "foreign", "no file of this cache; ignored")


def set_aside(where: str | os.PathLike[str], findings: Iterable[Finding]) -> list[str]:
    """Move what is damaged to the folder's quarantine; returns the new names. The next fill makes it again.

    Args:
        where: A folder or an fsspec URL.
        findings: From `verify_cache`; only what is "damaged" is moved.

    Raises:
        CacheNotWritten: A file could not be moved.
    """
    folder = open_folder(where)
    return [folder.set_aside(finding.name, finding.reason) for finding in findings if finding.kind == "damaged"]


def caches_in(root: str | os.PathLike[str]) -> list[Path]:
    """Return the folders below `root` that have a manifest, sorted; `root` itself too if it has one.

    Args:
        root: A local folder; links in it are not followed.
    """
    found = []
    for folder, _, names in os.walk(root):
        manifest = Path(folder) / MANIFEST
        if MANIFEST in names and stat.S_ISREG(manifest.lstat().st_mode):
            found.append(Path(folder))
    return sorted(found)
