"""A cache at an fsspec URL (`s3://`, `gs://`, `memory://`, …), read through a copy on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from inout_aug.cache.errors import CacheDamaged, CacheNotWritten
from inout_aug.cache.folder import QUARANTINE, LocalFolder, quarantined_name, user_cache_dir
from inout_aug.cache.shard import Buffer

_CHUNK_BYTES = 8 << 20


class RemoteFolder:
    """A folder behind a URL. Only the URL is kept: connections belong to a process and a thread.

    Shards are copied, when first read from, to `remote/` in the user's cache folder; that copy can be deleted at any
    time.

    Args:
        url: Of the folder, with its protocol.

    Raises:
        ImportError: fsspec, or what it needs for this protocol, is not installed.
        ValueError: The URL has a part `..`, or its protocol is unknown.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if ".." in self.url.split("/"):
            raise ValueError(f"a URL with '..' is refused; got {url!r}. Give the folder's own URL")
        self._connect()
        digest = hashlib.sha256(self.url.encode()).hexdigest()
        self._copy = LocalFolder(user_cache_dir() / "remote" / f"{self.url.rsplit('/', 1)[-1]}-{digest[:16]}")

    def _connect(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise ImportError(f'a cache at {self.url} needs fsspec: pip install "inout-aug[cache-remote]"') from error
        # fsspec keeps one connection for each process and thread, so this costs nothing the second time
        files, root = url_to_fs(self.url)
        return files, str(root)

    def names(self) -> set[str]:
        """Return the names of everything in it."""
        files, root = self._connect()
        files.invalidate_cache(root)
        try:
            return {str(path).rstrip("/").rsplit("/", 1)[-1] for path in files.ls(root, detail=False)}
        except FileNotFoundError:
            return set()

    def read(self, name: str, start: int, stop: int) -> tuple[bytes, int]:
        """Return a piece of a file, and the size of the file."""
        files, root = self._connect()
        files.invalidate_cache(root)
        about = files.info(f"{root}/{name}")
        if about["type"] != "file" or about.get("islink"):
            raise CacheDamaged("it is no regular file, which is never followed or read")
        size = int(about["size"])
        if start >= min(stop, size):
            return b"", size
        return bytes(files.cat_file(f"{root}/{name}", start=start, end=min(stop, size))), size

    def write(self, name: str, parts: Iterable[Buffer]) -> None:
        """Upload in a transaction: the file appears when it is complete."""
        files, root = self._connect()
        try:
            files.makedirs(root, exist_ok=True)
            with files.transaction, files.open(f"{root}/{name}", "wb") as file:
                for part in parts:
                    file.write(part)
        # each store has its own errors
        except Exception as error:
            raise CacheNotWritten(
                f"could not write {name} to {self.url}: {error}. What was stored before is safe; put this right and "
                "run the same fill again: it goes on from there"
            ) from error

    def local(self, name: str) -> Path:
        """Return where the copy of a file is, or will be."""
        return self._copy.path / name

    def fetch(self, name: str) -> bool:
        """Copy a file to this machine; returns False if it is gone."""
        files, root = self._connect()
        try:
            with files.open(f"{root}/{name}", "rb") as file:
                self._copy.write(name, _chunks(file))
        except FileNotFoundError:
            return False
        return True

    def set_aside(self, name: str, reason: str) -> str:
        """Move a file to the quarantine."""
        files, root = self._connect()
        aside = f"{QUARANTINE}/{quarantined_name(name, reason)}"
        try:
            files.makedirs(f"{root}/{QUARANTINE}", exist_ok=True)
            files.mv(f"{root}/{name}", f"{root}/{aside}")
        except Exception as error:
            raise CacheNotWritten(f"could not set {name} in {self.url} aside: {error}") from error
        return aside

    def clear_abandoned(self) -> None:
        """Do nothing about uploads, which the store forgets by itself; clear the copy."""
        self._copy.clear_abandoned()


def _chunks(file: Any) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
