"""Removing a cache: what the library wrote, and nothing else."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from inout_aug.cache.errors import CacheNotWritten
from inout_aug.cache.folder import LocalFolder, open_folder, unfinished_writes
from inout_aug.cache.manifest import MANIFEST, read_manifest


class Pruned(NamedTuple):
    """What came of it.

    Attributes:
        bytes: That were freed.
        kept: Names of what is still in the folder: review decisions, what was set aside, files that are not ours.
    """

    bytes: int
    kept: tuple[str, ...]


def cache_files(where: str | os.PathLike[str]) -> dict[Path, int]:
    """Return the files of a cache that can be made again, the manifest last, with their sizes.

    Raises:
        CacheDamaged: The manifest cannot be read, so which files are ours cannot be told.
        CacheNotWritten: The cache is not on this machine.
        FileNotFoundError: There is no cache.
    """
    folder = open_folder(where)
    if not isinstance(folder, LocalFolder):
        raise CacheNotWritten(f"{folder.url} is not on this machine. Remove it with the tools of its storage")
    manifest = read_manifest(folder)
    if manifest is None:
        raise FileNotFoundError(f"there is no cache at {folder.url}: it has no {MANIFEST}")
    ours = {group.name(number) for group in manifest.groups for number in group.shards()}
    names = folder.names()
    paths = [folder.path / name for name in [*sorted(names & ours), *sorted(unfinished_writes(names)), MANIFEST]]
    return {path: path.lstat().st_size for path in paths}


def prune_cache(where: str | os.PathLike[str]) -> Pruned:
    """Remove a cache from the disk, and its folder if nothing else is in it.

    Review decisions, what was set aside, and files that are not ours stay: nobody could make them again.

    Raises:
        CacheDamaged: The manifest cannot be read, so which files are ours cannot be told.
        CacheNotWritten: The cache is not on this machine, or a file cannot be removed.
        FileNotFoundError: There is no cache.

    Example:
        >>> import tempfile
        >>> from inout_aug.cache.importer import import_dataset
        >>> from inout_aug.datasets import Surfaces
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = import_dataset(Surfaces(5, size=(64, 64)), f"{folder}/cache", progress=False)
        ...     print(prune_cache(f"{folder}/cache").kept, os.listdir(folder))
        () []
    """
    files = cache_files(where)
    folder = next(reversed(files)).parent
    try:
        for path in files:
            path.unlink()
    except OSError as error:
        raise CacheNotWritten(f"could not remove {error.filename}: {error.strerror}") from error
    with suppress(OSError):
        folder.rmdir()
    return Pruned(sum(files.values()), tuple(sorted(os.listdir(folder))) if folder.is_dir() else ())
