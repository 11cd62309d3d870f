"""Clean surfaces under inspection lighting: brushed metal, woven cloth, cast iron.

Each is drawn from two streams: `style` fixes the product (brushing direction, weave, tone), which all samples of one
seed share; `part` fixes what differs from one good part to the next (position, exposure, light, grain).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.float32]
Colour: TypeAlias = tuple[float, float, float]

_BYTE_MEAN, _BYTE_STD = 127.5, 73.9
_THREAD = 6  # pixels across a thread where cloth is drawn, before it is scaled to its pitch

_METALS: tuple[Colour, ...] = (
    (1.0, 1.0, 1.0),
    (1.0, 0.99, 0.96),
    (0.95, 0.98, 1.0),
    (1.0, 0.9, 0.68),
    (1.0, 0.84, 0.74),
)
_DYES: tuple[Colour, ...] = (
    (0.45, 0.58, 0.82),
    (0.9, 0.86, 0.76),
    (0.74, 0.34, 0.31),
    (0.52, 0.58, 0.48),
    (0.8, 0.8, 0.8),
    (0.75, 0.62, 0.46),
)
_CASTINGS: tuple[Colour, ...] = ((1.0, 0.98, 0.96), (0.95, 0.98, 1.0), (1.0, 0.95, 0.9), (0.97, 1.0, 1.0))


@dataclass(frozen=True, slots=True)
class Surface:
    """A clean surface, before the camera.

    Attributes:
        luminance: float32 (H, W), about 0 to 255.
        tint: Red, green and blue of its colour in full light, 0 to 1.
        light: Where the light comes from, in radians: 0 = right, π/2 = below.
    """

    luminance: Field
    tint: Colour
    light: float


def white(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return uncorrelated noise, mean 0 and standard deviation 1, uniform: bytes cost a tenth of normals."""
    noise = np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width).astype(np.float32)
    noise -= _BYTE_MEAN
    noise /= _BYTE_STD
    return noise


def clouds(rng: np.random.Generator, height: int, width: int, cell_y: float, cell_x: float) -> Field:
    """Return smooth noise with features of about `cell_y` × `cell_x` pixels: coarse white noise, enlarged."""
    coarse = white(rng, math.ceil(height / cell_y) + 1, math.ceil(width / cell_x) + 1)
    return _enlarged(coarse, height, width, cv2.INTER_CUBIC)


def metal(style: np.random.Generator, part: np.random.Generator, height: int, width: int) -> Surface:
    """Brushed metal: streaks of many lengths in one direction, and the soft bright band they spread a lamp into."""
    angle = float(style.integers(2)) * math.pi / 2 + style.uniform(-0.15, 0.15) + part.uniform(-0.03, 0.03)
    roughness = style.uniform(5, 11) * part.uniform(0.85, 1.15)
    base = style.uniform(105, 150)
    tint = _METALS[int(style.integers(len(_METALS)))]

    rows, columns = _turned_extent(height, width, angle)
    canvas = 0.8 * clouds(part, rows, columns, 1, 400)
    canvas += 0.8 * clouds(part, rows, columns, 1, 110)
    canvas += 0.55 * clouds(part, rows, columns, 1, 28)
    canvas += 0.5 * clouds(part, rows, columns, 3, 250)
    canvas += 0.4 * clouds(part, rows, columns, 16, 500)
    along = np.linspace(-1, 1, columns, dtype=np.float32) - np.float32(part.uniform(-0.7, 0.7))
    band = np.exp(-((along / np.float32(part.uniform(0.35, 0.7))) ** 2))
    canvas *= np.float32(roughness) * (0.7 + 0.6 * band)
    canvas += np.float32(base) * (0.85 + part.uniform(0.15, 0.35) * band)

    cos, sin = math.cos(angle), math.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    turn = np.array(
        [[cos, sin, (columns - 1) / 2 - cos * x - sin * y], [-sin, cos, (rows - 1) / 2 + sin * x - cos * y]]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    luminance = cast(Field, cv2.warpAffine(canvas, turn, (width, height), flags=flags))
    light = angle + math.pi / 2
    luminance *= _illumination(part, height, width, light, 0.08)
    return Surface(luminance, tint, light)


def fabric(style: np.random.Generator, part: np.random.Generator, height: int, width: int) -> Surface:
    """Woven cloth, plain or twill: round threads over and under each other, each of its own tone and thickness."""
    repeat, floats = ((2, 1), (3, 2), (4, 2))[int(style.integers(3))]
    pitch = style.uniform(4.5, 7.5)
    angle = style.uniform(-0.12, 0.12) + part.uniform(-0.04, 0.04)
    contrast = np.float32(style.uniform(-0.18, 0.18))  # between the dyes of warp and weft
    base = style.uniform(108, 148) * part.uniform(0.95, 1.05)
    light = style.uniform(0, 2 * math.pi)
    tint = _DYES[int(style.integers(len(_DYES)))]
    shade, top = _weave(repeat, floats, style.uniform(0.6, 0.95))

    # threads are drawn straight on a canvas; the look-up below bends, turns and scales them
    wefts, warps = ((math.ceil(n / pitch / repeat) + 3) * repeat for n in _turned_extent(height, width, angle))
    rows, columns = wefts * _THREAD, warps * _THREAD
    warp = contrast + 0.075 * white(part, 1, warps) + 0.06 * clouds(part, wefts, warps, 7, 1)
    weft = 0.06 * white(part, wefts, 1) + 0.08 * clouds(part, wefts, warps, 1, 5)
    warp, weft = (_enlarged(tone, rows, columns, cv2.INTER_NEAREST) for tone in (warp, weft))
    warp -= weft
    warp *= np.tile(top, (wefts // repeat, warps // repeat))
    warp += weft
    warp += 1
    warp *= np.tile(shade, (wefts // repeat, warps // repeat))

    cos, sin = (f(angle) * _THREAD / pitch for f in (math.cos, math.sin))
    offset_x, offset_y = part.uniform(-repeat / 2, repeat / 2, 2) * _THREAD
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    map_x = clouds(part, height, width, 24, 24) * np.float32(0.22 * _THREAD)
    map_y = clouds(part, height, width, 24, 24) * np.float32(0.22 * _THREAD)
    map_x += np.float32(cos) * x + np.float32(columns / 2 + offset_x)
    map_x += np.float32(sin) * y
    map_y += np.float32(cos) * y + np.float32(rows / 2 + offset_y)
    map_y -= np.float32(sin) * x
    luminance = cast(Field, cv2.remap(warp, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    luminance *= np.float32(base)
    luminance += 9 * _blurred(white(part, height, width), 0.7)
    luminance *= _illumination(part, height, width, light, 0.12)
    luminance *= 1 + 0.025 * clouds(part, height, width, 60, 60)
    return Surface(luminance, tint, light)


def casting(style: np.random.Generator, part: np.random.Generator, height: int, width: int) -> Surface:
    """A cast or blasted surface: bumps of several sizes in grazing light, and a mottled tone."""
    light = style.uniform(0, 2 * math.pi)
    grain = style.uniform(0.8, 1.4)
    base = style.uniform(85, 150) * part.uniform(0.94, 1.06)
    tint = _CASTINGS[int(style.integers(len(_CASTINGS)))]

    noise = white(part, height, width)
    relief = _blurred(noise, grain) * np.float32(4.2 * grain)
    relief += 1.3 * grain * clouds(part, height, width, 4.3 * grain, 4.3 * grain)
    relief += 1.2 * grain * clouds(part, height, width, 11 * grain, 11 * grain)
    luminance = 2 * relief
    luminance -= cast(Field, cv2.Sobel(relief, cv2.CV_32F, 1, 0)) * np.float32(1.2 * math.cos(light))
    luminance -= cast(Field, cv2.Sobel(relief, cv2.CV_32F, 0, 1)) * np.float32(1.2 * math.sin(light))
    luminance += 3 * clouds(part, height, width, 50, 50)
    luminance += 3 * noise
    luminance += base
    luminance *= _illumination(part, height, width, light, 0.2)
    return Surface(luminance, tint, light)


MATERIALS: dict[str, Callable[[np.random.Generator, np.random.Generator, int, int], Surface]] = {
    "metal": metal,
    "fabric": fabric,
    "cast": casting,
}


def _turned_extent(height: int, width: int, angle: float) -> tuple[int, int]:
    """Rows and columns that a canvas needs so that a (height, width) window can be cut from it at `angle`."""
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    return math.ceil(height * cos + width * sin) + 2, math.ceil(height * sin + width * cos) + 2


def _illumination(part: np.random.Generator, height: int, width: int, light: float, slope: float) -> Field:
    """Light that falls off away from the lamp and towards the corners, times the exposure of this shot."""
    y = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, 16, dtype=np.float32)[None, :]
    middle_y, middle_x = part.uniform(-0.4, 0.4, 2)
    lit = 1 + slope * part.uniform(0.5, 1.0) * (math.cos(light) * x + math.sin(light) * y)
    lit -= part.uniform(0.03, 0.1) * ((x - middle_x) ** 2 + (y - middle_y) ** 2)
    lit *= part.uniform(0.92, 1.08)
    return _enlarged(lit.astype(np.float32), height, width, cv2.INTER_CUBIC)


def _weave(repeat: int, floats: int, roundness: float) -> tuple[Field, Field]:
    """Draw one repeat of a weave in which each warp thread floats over `floats` of every `repeat` weft threads.

    Returns:
        Its shading, about 0.2 to 1, and which thread lies on top (1 = warp), `_THREAD` pixels a thread.
    """
    rows, columns = np.indices((repeat, repeat))
    over = np.where((rows + columns) % repeat < floats, 0.5, -0.5).astype(np.float32)
    position = (np.arange(repeat * _THREAD, dtype=np.float32) + 0.5) / _THREAD
    across = 1 - (2 * (position % 1) - 1) ** 2 * np.float32(roundness)
    warp = _along(over) + across[None, :]
    weft = _along(-over.T).T + across[:, None]
    return np.maximum(warp, weft) * np.float32(0.42) + np.float32(0.42), (warp > weft).astype(np.float32)


def _along(heights: Field) -> Field:
    """Height of the threads that run down the columns, smooth along them and periodic."""
    n = len(heights)
    smooth = _enlarged(np.tile(heights, (3, 1)), 3 * n * _THREAD, n, cv2.INTER_CUBIC)
    return np.repeat(smooth[n * _THREAD : 2 * n * _THREAD], _THREAD, axis=1)


def _enlarged(field: Field, height: int, width: int, method: int) -> Field:
    return cast(Field, cv2.resize(field, (width, height), interpolation=method))


def _blurred(field: Field, sigma: float) -> Field:
    return cast(Field, cv2.GaussianBlur(field, (0, 0), sigma))
