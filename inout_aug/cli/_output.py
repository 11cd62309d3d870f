"""Where a command writes the picture it draws."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inout_aug._panels import Canvas

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def check_picture(path: Path) -> Path:
    """Return the path of a picture to write.

    Raises:
        ValueError: Its suffix is that of no picture.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"--out is a picture, one of {', '.join(_SUFFIXES)}; got {path}")
    return path


def write_picture(path: Path, picture: Canvas) -> None:
    """Write an RGB picture, and make the folders above it."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture[..., ::-1])[1].tobytes())
