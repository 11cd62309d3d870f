"""One image as a panel of a contact sheet: 8-bit RGB, fitted into a box, with the outline of its defects."""

from __future__ import annotations

import unicodedata

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.sample import Image, Mask

Canvas = NDArray[np.uint8]
Colour = tuple[int, int, int]

PAPER: Colour = (255, 255, 255)
INK: Colour = (30, 30, 30)
FAINT: Colour = (120, 120, 120)
_MAT: Colour = (232, 232, 232)
# one per defect class, told apart by colour-blind eyes too, and loud on grey
_OUTLINES: tuple[Colour, ...] = ((255, 32, 96), (0, 200, 255), (255, 176, 0), (64, 224, 96), (176, 96, 255))
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX)
_FONT_PIXELS = 22
# rows and columns that are enough to tell the range of values
_SAMPLED = 512


def display_range(image: Image, host: Image | None) -> tuple[int, int]:
    """Return the values to show as black and white: of the whole range in 8 bit, of what occurs in 16 bit."""
    if image.dtype == np.uint8:
        return 0, 255
    every = 1 + max(image.shape) // _SAMPLED
    ends = np.array([np.percentile(i[::every, ::every], (0.1, 99.9)) for i in (image, host) if i is not None])
    low, high = int(ends[:, 0].min()), int(ends[:, 1].max())
    return low, max(high, low + 1)


def to_rgb(image: Image, shown: tuple[int, int]) -> Canvas:
    """Return an image as uint8 (H, W, 3), with `shown` as black and white."""
    low, high = shown
    if image.dtype == np.uint16:
        scaled = (image.astype(np.float32) - low) * (255 / (high - low))
        image = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def fit(picture: Canvas, box: tuple[int, int], mask: Mask | None = None) -> Canvas:
    """Return a picture letterboxed into a box, with the outlines of a mask if one is given.

    Outlines are drawn at the box's resolution, one pixel wide and one pixel away from the defect, so that they neither
    hide nor touch it, however much the picture is reduced.

    Args:
        picture: (H, W, 3).
        box: Height and width, in pixels.
        mask: (H, W); each class has its own colour.
    """
    (height, width), (rows, columns) = box, picture.shape[:2]
    scale = min(height / rows, width / columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    # pixels that are enlarged much are shown as pixels
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC if scale < 2 else cv2.INTER_NEAREST
    inner = cv2.resize(picture, size, interpolation=method)
    if mask is not None:
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        for k in np.unique(mask[mask > 0]).tolist():
            # by area, so that no defect is too small for an outline
            share = cv2.resize((mask == k).astype(np.float32), size, interpolation=method)
            inner[_ring(share > 0)] = _OUTLINES[(k - 1) % len(_OUTLINES)]
    panel = np.full((height, width, 3), _MAT, np.uint8)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    panel[top : top + size[1], left : left + size[0]] = inner
    return panel


def close_up(picture: Canvas, mask: Mask, box: tuple[int, int]) -> Canvas:
    """Return the part around the largest defect that fills a box at twice its resolution.

    Args:
        picture: (H, W, 3).
        mask: (H, W), with some foreground.
        box: Height and width, in pixels.
    """
    _, labels, stats, centres = cv2.connectedComponentsWithStats((mask > 0).astype(np.uint8))
    largest = int(stats[1:, cv2.CC_STAT_AREA].argmax()) + 1
    pixels = np.argwhere(labels == largest)
    # the centre of a bent crack lies beside it
    middle = pixels[np.abs(pixels - centres[largest][::-1]).sum(axis=1).argmin()]
    size = np.minimum((box[0] // 2, box[1] // 2), mask.shape)
    top, left = np.clip(middle - size // 2, 0, np.array(mask.shape) - size).tolist()
    return np.ascontiguousarray(picture[top : top + size[0], left : left + size[1]])


def _ring(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    solid = inside.astype(np.uint8)
    near = cv2.dilate(solid, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.dilate(near, np.ones((3, 3), np.uint8)) > near)


def wrap(text: str, width: int, *, lines: int, size: int, bold: bool = False) -> list[str]:
    """Break text between words into at most `lines` lines of at most `width` pixels; the rest becomes "..."."""
    wrapped = [""]
    for word in _printable(text).split():
        longer = f"{wrapped[-1]} {word}".lstrip()
        if wrapped[-1] and _width(longer, size, bold) > width:
            wrapped.append(word)
        else:
            wrapped[-1] = longer
    if len(wrapped) > lines:
        wrapped[lines - 1 :] = [f"{wrapped[lines - 1]} ..."]
    return [_cut(line, width, size, bold) for line in wrapped]


def write(
    canvas: Canvas, text: str, left: int, top: int, *, size: int, colour: Colour = INK, bold: bool = False
) -> None:
    """Write a line of text `size` pixels high, in place."""
    place = left, top + size
    cv2.putText(canvas, _printable(text), place, _FONTS[bold], size / _FONT_PIXELS, colour, 1, cv2.LINE_AA)


def _cut(line: str, width: int, size: int, bold: bool) -> str:
    kept = line
    while kept and _width(line, size, bold) > width:
        kept = kept[:-1]
        line = f"{kept}..."
    return line


def _width(line: str, size: int, bold: bool) -> int:
    return int(cv2.getTextSize(line, _FONTS[bold], size / _FONT_PIXELS, 1)[0][0])


def _printable(text: str) -> str:
    """Return text in the characters that any version of OpenCV can draw."""
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(letters).encode("ascii", "replace").decode()
