"""The manifest: the one JSON file that says whose samples a folder holds and how they are divided into shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, replace
from typing import Any

from inout_aug.cache.errors import CacheDamaged, CacheError, CacheTooNew
from inout_aug.cache.fingerprint import digest_of
from inout_aug.cache.folder import Folder
from inout_aug.cache.shard import FORMAT, Layout, shard_name

MANIFEST = "manifest.json"
_MAX_BYTES = 16 << 20
_MAX_COUNT = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The samples of one shape, divided into shards of a fixed number of samples.

    Attributes:
        layout: What its shards look like.
        shard_size: Samples of a full shard; only the last one of a group may have fewer.
        count: Samples wanted.

    Raises:
        ValueError: A number is out of range.
    """

    layout: Layout
    shard_size: int
    count: int

    def __post_init__(self) -> None:
        for name, number in (("shard_size", self.shard_size), ("count", self.count)):
            if type(number) is not int or not 0 < number <= _MAX_COUNT:
                raise ValueError(f"{name} must be an int above 0; got {number!r}")

    def shards(self) -> range:
        """Return the numbers of the shards."""
        return range(-(-self.count // self.shard_size))

    def name(self, number: int) -> str:
        """Return the file name of a shard."""
        return shard_name(self.layout, number)

    def there(self, names: Set[str]) -> list[int]:
        """Return the numbers of those shards whose names are among `names`, ascending."""
        start, end = f"{self.layout.name}-", ".safetensors"
        digits = (name[len(start) : -len(end)] for name in names if name.startswith(start) and name.endswith(end))
        numbers = {int(number) for number in digits if number.isdecimal()}
        return sorted(number for number in numbers if number in self.shards() and self.name(number) in names)

    def rows(self, number: int) -> slice:
        """Return which samples of the group belong into a shard."""
        return slice(number * self.shard_size, min((number + 1) * self.shard_size, self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Whose samples a folder holds.

    Attributes:
        key: Digest of all that decides the samples; see `Plan.key`.
        generator: The generator's name.
        fingerprint: The generator's fingerprint.
        seed: Base seed.
        groups: One for each shape, in order of first use.
    """

    key: str
    generator: str
    fingerprint: str
    seed: int
    groups: tuple[Group, ...]

    @property
    def identity(self) -> Mapping[str, str]:
        """What the header of each shard repeats, so that a shard in the wrong folder is noticed."""
        return {"cache": self.key, "generator": self.generator, "fingerprint": self.fingerprint}

    @property
    def count(self) -> int:
        """Samples wanted."""
        return sum(group.count for group in self.groups)

    def grown(self, groups: tuple[Group, ...]) -> Manifest:
        """Return the manifest of the same cache with more samples; counts never shrink, shard sizes never change."""
        mine = {group.layout: group for group in self.groups}
        for group in groups:
            known = mine.get(group.layout)
            mine[group.layout] = replace(known, count=max(known.count, group.count)) if known else group
        return replace(self, groups=tuple(mine.values()))

    def encode(self) -> bytes:
        """Return the file's contents."""
        body = {"format": FORMAT, **asdict(self)}
        return json.dumps({**body, "sha256": digest_of(body)}, indent=1).encode() + b"\n"


def decode_manifest(text: bytes) -> Manifest:
    """Return the manifest that `Manifest.encode` wrote.

    Raises:
        CacheDamaged: It is not what was written.
        CacheTooNew: A later version of the package wrote it.
    """
    try:
        body = json.loads(text)
        version = body["format"]
        if type(version) is int and version > FORMAT:
            raise CacheTooNew(
                f"this cache has format {version}, this package reads up to {FORMAT}: update inout-aug, or fill "
                "another folder"
            )
        digest = body.pop("sha256")
        if digest != digest_of(body) or version != FORMAT:
            raise CacheDamaged(f"{MANIFEST} is not what was written")
        del body["format"]
        return Manifest(**{**body, "groups": tuple(_group(group) for group in body["groups"])})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CacheDamaged(f"{MANIFEST} is not what was written") from None


def _group(body: dict[str, Any]) -> Group:
    layout = body["layout"]
    names = {"scores": tuple(layout["scores"]), "gates": tuple(layout["gates"])}
    return Group(**{**body, "layout": Layout(**{**layout, **names})})


def read_manifest(folder: Folder) -> Manifest | None:
    """Return the manifest of a folder, None if it has none.

    Raises:
        CacheDamaged: It is not what was written, a link, or no file.
        CacheTooNew: A later version of the package wrote it.
    """
    try:
        text, size = folder.read(MANIFEST, 0, _MAX_BYTES)
    except FileNotFoundError:
        return None
    except CacheError as error:
        raise CacheDamaged(f"{MANIFEST}: {error}") from None
    if size > _MAX_BYTES:
        raise CacheDamaged(f"{MANIFEST} has {size} bytes, which none of ours has")
    return decode_manifest(text)


def write_manifest(folder: Folder, manifest: Manifest) -> None:
    """Put a manifest in place."""
    folder.write(MANIFEST, [manifest.encode()])
