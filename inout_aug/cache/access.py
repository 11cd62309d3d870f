"""From a folder to checked headers and arrays: the only way in which shards are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from inout_aug.cache.draft import decode_record
from inout_aug.cache.errors import CacheChanged, CacheDamaged, CacheError
from inout_aug.cache.folder import Folder
from inout_aug.cache.manifest import Group, Manifest
from inout_aug.cache.shard import (
    HEAD_BYTES,
    Arrays,
    Header,
    altered,
    decode_header,
    header_length,
    map_arrays,
    view_arrays,
)


class Shard(NamedTuple):
    """A shard whose header was read and checked."""

    group: Group
    number: int
    header: Header

    @property
    def name(self) -> str:
        """Of its file."""
        return self.group.name(self.number)


def find_shard(folder: Folder, group: Group, number: int, identity: Mapping[str, str]) -> Shard | None:
    """Read and check the header of a shard; None if there is no such file.

    Raises:
        CacheDamaged: What is there is not a complete shard of this cache.
        CacheTooNew: A later version of the format.
    """
    name = group.name(number)
    try:
        head, size = folder.read(name, 0, HEAD_BYTES)
        # again where it was replaced meanwhile by one whose header is longer
        while (start := header_length(head, size)) > len(head):
            head, size = folder.read(name, 0, start)
    except FileNotFoundError:
        return None
    header = decode_header(head, size, group.layout, identity, number)
    rows = group.rows(number)
    if header.rows > group.shard_size:
        raise CacheDamaged(f"it has {header.rows} samples; at most {rows.stop - rows.start} belong there")
    return Shard(group, number, header)


def find_shards(folder: Folder, manifest: Manifest) -> list[Shard]:
    """Return all shards that are there, in order.

    Raises:
        CacheDamaged: One is not what was written.
        CacheTooNew: A later version of the format.
    """
    shards = []
    names = folder.names()
    for group in manifest.groups:
        for number in group.there(names):
            try:
                shard = find_shard(folder, group, number, manifest.identity)
            except CacheError as error:
                raise type(error)(
                    f"{group.name(number)} in {folder.url} cannot be used: {error}. Run the fill again with the same "
                    "settings: the file is set aside and made anew"
                ) from None
            if shard is not None:
                shards.append(shard)
    return shards


def map_shard(folder: Folder, shard: Shard) -> Arrays:
    """Map a shard into memory, as read-only views; a remote one is copied to this machine first, and then verified.

    Raises:
        CacheChanged: Its file was replaced or removed since `find_shard`.
        CacheDamaged: What arrived is not what was written.
    """
    path, layout = folder.local(shard.name), shard.group.layout
    try:
        arrays = map_arrays(path, layout, shard.header)
    except FileNotFoundError:
        arrays = None
    if arrays is None and folder.fetch(shard.name):
        arrays = map_arrays(path, layout, shard.header)
        differs = _altered(shard, arrays) if arrays is not None else ""
        if differs:
            raise CacheDamaged(f"{shard.name} in {folder.url} cannot be used: {differs}")
    if arrays is None:
        raise _changed(folder, shard)
    return arrays


def map_verified(folder: Folder, shard: Shard) -> Arrays:
    """Map a shard and check every byte of it; a remote one is copied anew.

    Raises:
        CacheChanged: Its file was replaced or removed since `find_shard`.
        CacheDamaged: An array is not what was written.
    """
    folder.fetch(shard.name)
    arrays = map_shard(folder, shard)
    differs = _altered(shard, arrays)
    if differs:
        raise CacheDamaged(differs)
    return arrays


def read_columns(folder: Folder, shard: Shard) -> Arrays:
    """Read everything of a shard that comes before its images, in one piece and without mapping or fetching it.

    Raises:
        CacheChanged: Its file was replaced or removed since `find_shard`.
    """
    header, layout = shard.header, shard.group.layout
    pixels = layout.fields(header.rows, header.record_bytes)["image"]
    return view_arrays(_read_first(folder, shard, header.start + pixels.start), layout, header)


def first_record(folder: Folder, shard: Shard) -> tuple[int, Mapping[str, Any]]:
    """Return the index of a shard's first sample, and what it was asked for.

    Raises:
        CacheChanged: Its file was replaced or removed since `find_shard`.
        CacheDamaged: The record cannot be read.
    """
    columns = read_columns(folder, shard)
    field = shard.group.layout.fields(shard.header.rows, shard.header.record_bytes)["record"]
    start = shard.header.start + field.start
    record = _read(folder, shard, start, start + int(columns["record_end"][0]))
    # these bytes are of another file if one took its place after the first read
    _read_first(folder, shard, shard.header.start)
    return int(columns["index"][0]), decode_record(record)


def _read(folder: Folder, shard: Shard, start: int, stop: int) -> bytes:
    """Return bytes [start, stop) of a shard's file, whichever that is by now.

    Raises:
        CacheChanged: There is none any more.
    """
    try:
        data, _ = folder.read(shard.name, start, stop)
    except FileNotFoundError:
        raise _changed(folder, shard) from None
    return data


def _read_first(folder: Folder, shard: Shard, stop: int) -> bytes:
    """Return the first `stop` bytes of a shard, its header among them.

    Raises:
        CacheChanged: Its file was replaced or removed since `find_shard`.
    """
    data = _read(folder, shard, 0, stop)
    if hashlib.sha256(data[: shard.header.start]).digest() != shard.header.stamp or len(data) < stop:
        raise _changed(folder, shard)
    return data


def _altered(shard: Shard, arrays: Arrays) -> str:
    """Return which checksums differ, in words; empty if none does."""
    names = altered(arrays, shard.header)
    return f"checksum of {', '.join(names)} differs" if names else ""


def _changed(folder: Folder, shard: Shard) -> CacheChanged:
    return CacheChanged(
        f"{shard.name} in {folder.url} was replaced or removed after the cache was opened. Open it again; if the file "
        "is gone, run the same fill again: it makes what is missing"
    )
