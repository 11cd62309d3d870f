"""Images and masks on disk: finding, pairing, reading, resizing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from inout_aug.sample import Image, Mask, check_image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
_SHOWN = 8


def contents(folder: Path) -> str:
    """Say what a folder, or the nearest one above it that exists, holds, for an error message."""
    while not folder.is_dir():
        folder = folder.parent
    names = sorted(entry.name + "/" * entry.is_dir() for entry in os.scandir(folder))
    more = f", … ({len(names) - _SHOWN} more)" if len(names) > _SHOWN else ""
    return f"{folder} holds {', '.join(names[:_SHOWN]) + more or 'nothing'}"


def require_folder(folder: Path, expected: str) -> Path:
    """Return `folder`.

    Raises:
        FileNotFoundError: It is not a folder; the message shows what is there instead.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Expected {expected}. {contents(folder.parent)}")
    return folder


def list_images(folder: Path) -> list[Path]:
    """Return the image files below a folder, nested ones too, sorted; hidden files are left out."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, n) for n in names if not n.startswith(".") and Path(n).suffix.lower() in SUFFIXES]
    return sorted(found)


def by_stem(paths: Iterable[Path], folder: Path, suffix: str = "") -> dict[str, Path]:
    """Return the files by their path below `folder`, without extension and without `suffix`.

    Raises:
        ValueError: Two files have one stem, so that a mask could belong to either.
    """
    stems: dict[str, Path] = {}
    for path in paths:
        stem = path.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)
        if stem in stems:
            raise ValueError(f"{stems[stem]} and {path} have the same stem {stem!r}. Remove or rename one of them")
        stems[stem] = path
    return stems


def read_image(path: Path) -> Image:
    """Read an image as it is on disk.

    Returns:
        uint8 or uint16, (H, W, C): grey stays 1 channel, colour is RGB, 16-bit stays 16-bit.

    Raises:
        FileNotFoundError: There is no such file.
        TypeError: Its pixels are neither uint8 nor uint16.
        ValueError: It is no readable image, or has another number of channels, or a side under 16 pixels.
    """
    content = np.fromfile(path, np.uint8)  # not cv2.imread, which fails on non-ASCII paths under Windows
    image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if image is None:
        raise ValueError(f"{path} is not a readable image. Restore or remove the file")
    image = image[..., None] if image.ndim == 2 else image
    try:
        check_image(image)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from None
    return cast(Image, cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if image.shape[2] == 3 else image)


def read_mask(path: Path) -> NDArray[Any]:
    """Read a mask's values as they are on disk, (H, W); of a palette image, the indices.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no readable image, or is in colour.
    """
    try:
        with Pillow.open(path) as file:
            palette = np.reshape(file.getpalette("RGB") or (), (-1, 3)) if file.mode == "P" else None
            # an editor may save black and white as a palette in either order; colours mean that indices are classes
            values = np.asarray(
                file.convert("L") if palette is not None and not np.ptp(palette, axis=1).any() else file
            )
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} is not a readable mask ({error}). Restore or remove the file") from None
    if values.ndim == 3:
        opaque = values[..., :3] if values.shape[2] > 2 else values[..., :1]
        if (opaque != opaque[..., :1]).any():
            raise ValueError(f"{path} is a colour image; a mask has one value a pixel, 0 = background. Save it as grey")
        values = opaque[..., 0]
    return values


def fit_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize a mask so that no defect vanishes, however small.

    Each source pixel falls into one pixel of the result, which takes the largest value it gets; enlarging is
    nearest-neighbour. No value appears that was not there.

    Args:
        mask: uint8, (H, W).
        size: Height and width wanted.

    Example:
        >>> fit_mask(np.eye(4, dtype=np.uint8), (2, 2))
        array([[1, 0],
               [0, 1]], dtype=uint8)
    """
    for axis, wanted in enumerate(size):
        if wanted != mask.shape[axis]:
            # a start that repeats, as when enlarging, takes the one element there
            mask = np.maximum.reduceat(mask, np.arange(wanted) * mask.shape[axis] // wanted, axis=axis)
    return mask


def fit_image(image: Image, size: tuple[int, int]) -> Image:
    """Resize (H, W, C): by area along a side that shrinks, linearly along one that grows."""
    for height, width, method in (
        (min(size[0], image.shape[0]), min(size[1], image.shape[1]), cv2.INTER_AREA),
        (*size, cv2.INTER_LINEAR),
    ):
        if (height, width) != image.shape[:2]:
            image = cast(Image, cv2.resize(image, (width, height), interpolation=method))
            image = image[..., None] if image.ndim == 2 else image
    return image
