"""Texture pictures for pasting: a folder or arrays, read when needed and kept in a bounded cache."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.datasets._files import SUFFIXES, contents, list_images, require_folder
from inout_aug.sample import Image

Fit: TypeAlias = Literal["cover", "stretch"]
TextureSource: TypeAlias = str | os.PathLike[str] | Sequence[NDArray[Any]]

_PER_PROCESS = ("_sizes", "_unreadable", "_cache")


class Textures:
    """Textures by index.

    Args:
        source: A folder, searched at any depth, or a list of arrays: uint8 or uint16, (H, W) or (H, W, C), RGB.
        cache_bytes: Most memory for decoded textures, in each process.

    Attributes:
        names: Of the pictures, relative to the folder, in the order of their indices.

    Raises:
        FileNotFoundError: There is no such folder, or no picture in it.
        TypeError: An array is neither uint8 nor uint16.
        ValueError: An array has another shape, or there is none.

    Example:
        >>> textures = Textures([np.zeros((20, 30, 3), np.uint8)])
        >>> textures.fetch(0, (40, 40, 1), "cover").shape
        (20, 30, 1)
    """

    def __init__(self, source: TextureSource, *, cache_bytes: int = 256 * 2**20) -> None:
        self._root: Path | None = None
        self._arrays: list[Image] = []
        content = hashlib.sha256()
        if isinstance(source, str | os.PathLike):
            self._root = Path(source)
            self.names = _find(self._root)
            for name in self.names:
                content.update(f"{name}:{(self._root / name).stat().st_size};".encode())
        else:
            self._arrays = [_check(array, f"texture {index}") for index, array in enumerate(source)]
            if not self._arrays:
                raise ValueError("textures is a folder or a list of arrays; got an empty list")
            self.names = [f"array {index}" for index in range(len(self._arrays))]
            for array in self._arrays:
                content.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
        self._digest = content.hexdigest()[:16]
        self._cache_bytes = cache_bytes
        self._start()

    def _start(self) -> None:
        self._sizes: dict[int, tuple[int, int]] = {}
        self._unreadable: set[int] = set()
        self._cache: dict[tuple[int, ...], Image] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"Textures({len(self)} pictures, {self._digest})"

    def __getstate__(self) -> dict[str, Any]:
        # A worker decodes what it needs; to send it megabytes of pictures would be slower.
        return {name: value for name, value in vars(self).items() if name not in _PER_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start()

    def readable(self, index: int, host: tuple[int, ...], fit: Fit) -> int:
        """Return `index`, or the next index whose picture can be read.

        Which one that is depends on the files alone, so all workers agree. Each unreadable picture is reported by one
        warning per process.

        Raises:
            ValueError: None of the pictures can be read.
        """
        for step in range(len(self)):
            candidate = (index + step) % len(self)
            if candidate in self._unreadable:
                continue
            try:
                self.fetch(candidate, host, fit)
            except ValueError as error:
                self._unreadable.add(candidate)
                warnings.warn(f"{error}; the next one is used in its place", stacklevel=2)
            else:
                return candidate
        raise ValueError(
            f"none of the {len(self)} textures in {self._root} can be read: they may be cut off, or not be pictures. "
            f"Expected uint8 or uint16 pictures with suffixes {_suffixes()}"
        )

    def fetch(self, index: int, host: tuple[int, ...], fit: Fit) -> Image:
        """Return a texture for a host.

        Args:
            index: In [0, len(self)).
            host: Shape of the host, (H, W, C).
            fit: "cover" to fill the host's height and width by one scale, "stretch" by one scale each.

        Returns:
            uint8 or uint16 (h, w, C). A texture larger than needed is shrunk, by areas, to at most √2 times what is
            needed, so that few sizes are cached where hosts differ in size; a smaller one comes as it is.

        Raises:
            ValueError: The picture cannot be read.
        """
        picture = None
        size = self._sizes.get(index)
        if size is None:
            picture = self._read(index)
            size = self._sizes[index] = picture.shape[0], picture.shape[1]
        ratios = host[0] / size[0], host[1] / size[1]
        if fit == "cover":
            ratios = max(ratios), max(ratios)
        levels = _level(ratios[0]), _level(ratios[1])
        key = (index, host[2], *levels)
        cached = self._cache.get(key)
        if cached is None:
            picture = self._read(index) if picture is None else picture
            cached = _shrink(_with_channels(picture, host[2]), levels)
            self._keep(key, cached)
        return cached

    def _read(self, index: int) -> Image:
        if self._root is None:
            return self._arrays[index]
        path = self._root / self.names[index]
        try:
            # cv2.imread cannot open every path on every system
            picture = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        except (OSError, cv2.error) as error:
            raise ValueError(f"texture {path} cannot be read ({error})") from error
        if picture is None or picture.dtype not in (np.uint8, np.uint16):
            kind = "no picture" if picture is None else f"of type {picture.dtype}"
            raise ValueError(f"texture {path} cannot be read ({kind}; uint8 and uint16 pictures can be)")
        return cast(Image, picture[..., None] if picture.ndim == 2 else np.ascontiguousarray(picture[..., 2::-1]))

    def _keep(self, key: tuple[int, ...], texture: Image) -> None:
        self._cache[key] = texture
        excess = sum(kept.nbytes for kept in self._cache.values()) - self._cache_bytes
        for oldest in list(self._cache):
            if excess <= 0:
                break
            excess -= self._cache.pop(oldest).nbytes


def _find(folder: Path) -> list[str]:
    require_folder(folder, "a folder of textures, or a list of arrays")
    names = [path.relative_to(folder).as_posix() for path in list_images(folder)]
    if not names:
        raise FileNotFoundError(
            f"no texture found: expected pictures with suffixes {_suffixes()}, at any depth. {contents(folder)}. "
            "Any photographs of textures will do, such as the Describable Textures Dataset"
        )
    return names


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))


def check_fit(fit: str) -> Fit:
    """Return `fit`.

    Raises:
        ValueError: It is neither "cover" nor "stretch".
    """
    if fit not in ("cover", "stretch"):
        raise ValueError(f'texture_fit is "cover" or "stretch"; got {fit!r}')
    return cast(Fit, fit)


def _check(array: NDArray[Any], what: str) -> Image:
    if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16):
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{what} must be a uint8 or uint16 array; got {kind}. Scale it to 0..255 or 0..65535 first")
    picture = array[..., None] if array.ndim == 2 else array
    if picture.ndim != 3 or picture.shape[2] not in (1, 3, 4) or picture.size == 0:
        raise ValueError(f"{what} must have shape (H, W) or (H, W, C) with C in 1, 3, 4; got {array.shape}")
    return cast(Image, np.ascontiguousarray(picture[..., :3]))


def _with_channels(picture: Image, channels: int) -> Image:
    if picture.shape[2] == channels:
        return picture
    if channels == 1:
        return cast(Image, cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None])
    return cast(Image, np.repeat(picture, channels, axis=2))


def _level(ratio: float) -> int:
    """Return how many times a texture can be shrunk by √2 before it is smaller than needed."""
    return max(0, math.floor(-2 * math.log2(ratio)))


def _shrink(picture: Image, levels: tuple[int, int]) -> Image:
    if levels == (0, 0):
        return picture
    height, width = (math.ceil(side / 2 ** (level / 2)) for side, level in zip(picture.shape, levels, strict=False))
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return cast(Image, small.reshape(height, width, picture.shape[2]))
