"""Where the files of a cache lie, and how one gets there: whole, under its final name, or not at all."""

from __future__ import annotations

import errno
import os
import sys
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from inout_aug.cache.errors import CacheNotWritten
from inout_aug.cache.shard import Buffer, open_regular

QUARANTINE = "quarantine"
_UNFINISHED = ".tmp"
# a write takes seconds; what is this old was left by a filler that was killed
_ABANDONED_SECONDS = 3600.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Folder(Protocol):
    """The files of one cache, on this machine or far away. Everything here pickles."""

    @property
    def url(self) -> str:
        """Where it is, as the user would write it."""
        ...

    def names(self) -> set[str]:
        """Return the names of everything in it, not recursively; empty if it does not exist."""
        ...

    def read(self, name: str, start: int, stop: int) -> tuple[bytes, int]:
        """Return bytes [start, stop) of a file, less at its end, and the size of the file.

        Raises:
            FileNotFoundError: There is no such file.
            CacheDamaged: It is a link, or no regular file.
        """
        ...

    def write(self, name: str, parts: Iterable[Buffer]) -> None:
        """Put a file in place at once: readers see the old one, or the new one, never a part.

        Raises:
            CacheNotWritten: It could not be written; nothing of it is left.
        """
        ...

    def local(self, name: str) -> Path:
        """Return where a file is on this machine; of a remote one, where its copy is, or will be."""
        ...

    def fetch(self, name: str) -> bool:
        """Copy a remote file to its local place anew; returns False where there is nothing to fetch from."""
        ...

    def set_aside(self, name: str, reason: str) -> str:
        """Move a file to the quarantine under a name that says why; returns its new name."""
        ...

    def clear_abandoned(self) -> None:
        """Remove what fillers that were killed long ago left half-written."""
        ...


class LocalFolder:
    """A folder of this machine.

    Args:
        path: The folder; made at the first write.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().absolute()

    @property
    def url(self) -> str:
        """The path."""
        return str(self.path)

    def names(self) -> set[str]:
        """Return the names of everything in it, links included."""
        return set(os.listdir(self.path)) if self.path.is_dir() else set()

    def read(self, name: str, start: int, stop: int) -> tuple[bytes, int]:
        """Return a piece of a file, and the size of the file."""
        with open_regular(self.path / name) as file:
            file.seek(start)
            return file.read(stop - start), os.fstat(file.fileno()).st_size

    def write(self, name: str, parts: Iterable[Buffer]) -> None:
        """Write under a temporary name beside it, flush to the disk, rename, flush the folder."""
        unfinished = self.path / f".{name}.{uuid.uuid4().hex}{_UNFINISHED}"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("xb") as file:
                    for part in parts:
                        file.write(part)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(unfinished, self.path / name)
            except BaseException:
                with suppress(OSError):
                    unfinished.unlink()
                raise
            self._flush()
        except OSError as error:
            why = "there is no room left for it" if error.errno in _FULL else error.strerror or str(error)
            raise CacheNotWritten(
                f"could not write {name} to {self.path}: {why}. What was stored before is safe; put this right and run "
                "the same fill again: it goes on from there"
            ) from error

    def _flush(self) -> None:
        """Make a rename survive a power cut, where folders can be flushed at all."""
        if sys.platform == "win32":
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def local(self, name: str) -> Path:
        """Return the file itself."""
        return self.path / name

    def fetch(self, name: str) -> bool:
        """Do nothing: the files are here."""
        return False

    def set_aside(self, name: str, reason: str) -> str:
        """Move a file, or whatever has its name, to the quarantine."""
        aside = f"{QUARANTINE}/{quarantined_name(name, reason)}"
        try:
            (self.path / QUARANTINE).mkdir(exist_ok=True)
            # another filler may have set it aside meanwhile
            with suppress(FileNotFoundError):
                os.rename(self.path / name, self.path / aside)
            self._flush()
        except OSError as error:
            raise CacheNotWritten(f"could not set {name} in {self.path} aside: {error.strerror or error}") from error
        return aside

    def clear_abandoned(self) -> None:
        """Remove old temporary files of our own."""
        for name in unfinished_writes(self.names()):
            path = self.path / name
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()


def unfinished_writes(names: Iterable[str]) -> set[str]:
    """Return those names that are temporary files of a write that has not ended, or never will."""
    return {name for name in names if name.startswith(".") and name.endswith(_UNFINISHED)}


def quarantined_name(name: str, reason: str) -> str:
    """Return a name that says why, and that no earlier file in quarantine has."""
    why = "-".join("".join(c if c.isalnum() else " " for c in reason.lower()).split())[:60]
    return f"{name}.{why}.{uuid.uuid4().hex[:8]}"


def user_cache_dir() -> Path:
    """Return where caches go that were given no folder: `INOUT_CACHE`, else the platform's place for caches.

    Linux: `$XDG_CACHE_HOME/inout-aug` or `~/.cache/inout-aug` (XDG Base Directory Specification). macOS:
    `~/Library/Caches/inout-aug`. Windows: `%LOCALAPPDATA%/inout-aug/Cache`.

    Example:
        >>> user_cache_dir().is_absolute()
        True
    """
    chosen = os.environ.get("INOUT_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "inout-aug" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "inout-aug"
    # the specification says that a relative path in the variable is to be ignored
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~")
    return (base if base.is_absolute() else Path.home() / ".cache") / "inout-aug"


def open_folder(where: str | os.PathLike[str]) -> Folder:
    """Return the folder at a path, or at a URL such as `s3://bucket/caches/tile`.

    Raises:
        ImportError: A URL is given and fsspec is not installed.
        ValueError: The URL has `..` in it.
    """
    if isinstance(where, str) and "://" in where:
        from inout_aug.cache.remote import RemoteFolder

        return RemoteFolder(where)
    return LocalFolder(where)
