"""Defects for the procedural surfaces: scratch, spot, crack and dent, each with its exact mask.

A defect is drawn alone, as a `Stamp` in a small window, and then pressed into a surface with `press`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.datasets._materials import Colour, Field, Surface, clouds, white
from inout_aug.sample import Mask

Line: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Points (x, y); at each its width in pixels, and its strength, 0 to 1."""

_OVERSAMPLING = 4  # lines are drawn larger and averaged down, which makes widths below a pixel possible
_STAINS: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (1.0, 0.86, 0.68), (0.88, 0.94, 1.0))


@dataclass(frozen=True, slots=True)
class Stamp:
    """One defect in its own window.

    Attributes:
        cover: float32 (h, w), 0 = untouched to 1; bounds the magnitude of `shift`.
        shift: float32 (h, w), -1 to 1, change of brightness in units of the defect's contrast.
        flatten: Share of the surface's own texture that is lost where `cover` is 1.
        gain: How much more contrast it takes to see this kind than a patch.
        tint: Colour that it gives to what it covers.
    """

    cover: Field
    shift: Field
    flatten: float
    gain: float = 1.0
    tint: Colour = (1.0, 1.0, 1.0)


def scratch(rng: np.random.Generator, scale: int, light: float) -> Stamp:
    """One to three long, thin, slightly bent grooves that skip in places; bright or dark, with a lip."""
    length = scale * rng.uniform(0.2, 0.75)
    heading = rng.uniform(0, 2 * math.pi)
    bend = rng.normal(0, 0.35)
    points = max(8, int(length / 4))
    t = np.linspace(0, 1, points)
    path = _walk(heading + bend * t + 0.015 * rng.standard_normal(points).cumsum(), length / points)
    pressure = np.interp(t, np.linspace(0, 1, 7), rng.uniform(0.45, 1.0, 7))
    lines: list[Line] = []
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        aside = rng.uniform(-4, 4, 2)
        width = rng.uniform(0.8, 2.4) * np.sin(math.pi * np.linspace(0.08, 0.92, points)) ** 0.5
        lines.append((path + aside, width, pressure))
    groove = _draw(lines)
    shift = np.float32(rng.choice([-1, 1, 1])) * (groove - 0.5 * _moved(groove, light))
    return Stamp(np.maximum(groove, abs(shift)), shift, 0.7, gain=1.7)


def crack(rng: np.random.Generator, scale: int, light: float) -> Stamp:
    """A dark, jagged line with branches, open in the middle and closing at its tips; its far edge catches light."""
    lines: list[Line] = []
    heading = rng.uniform(0, 2 * math.pi)
    length = scale * rng.uniform(0.2, 0.6)
    width = rng.uniform(0.9, 2.2)
    open_ends = [(np.zeros(2), heading, length, width)]
    while open_ends:
        start, heading, length, width = open_ends.pop()
        points = max(5, int(length / 3))
        jitter = rng.normal(0, 0.55, points)
        path = start + _walk(heading + jitter + 0.12 * rng.standard_normal(points).cumsum(), length / points)
        taper = np.linspace(1, 0.35, points) if lines else np.sin(math.pi * np.linspace(0.15, 0.9, points)) ** 0.5
        lines.append((path, width * taper, np.full(points, 1.0)))
        if length > 12 and len(lines) < 6:
            for at in rng.integers(points // 5, points, int(rng.integers(0, 3))):
                turn = rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
                open_ends.append((path[at], heading + turn, length * rng.uniform(0.2, 0.5), width * 0.7))
    gap = _draw(lines)
    shift = 0.35 * _moved(gap, light) * (1 - gap) - gap
    return Stamp(np.maximum(gap, abs(shift)), shift, 0.9, gain=1.4)


def spot(rng: np.random.Generator, scale: int, light: float) -> Stamp:
    """A stain or speck of irregular outline, often with a darker rim, sometimes with small splashes beside it."""
    radius = scale * math.exp(rng.uniform(math.log(0.012), math.log(0.08)))
    radius = max(radius, 1.5)
    half = math.ceil(2.2 * radius) + 3
    side = 2 * half + 1
    y, x = np.ogrid[-half : half + 1, -half : half + 1]
    turn, stretch = rng.uniform(0, math.pi), rng.uniform(1.0, 1.6)
    u = (math.cos(turn) * x + math.sin(turn) * y) / (radius * stretch**0.5)
    v = (math.cos(turn) * y - math.sin(turn) * x) / (radius / stretch**0.5)
    inside = 1 - np.sqrt(u * u + v * v).astype(np.float32)
    inside += 0.2 * clouds(rng, side, side, radius * 0.8, radius * 0.8)
    inside += 0.1 * clouds(rng, side, side, radius * 0.3, radius * 0.3)
    for _ in range(int(rng.choice([0, 0, 0, 1, 3]))):
        away, angle, size = rng.uniform(1.2, 1.8), rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.3)
        far = np.hypot(x / radius - away * math.cos(angle), y / radius - away * math.sin(angle))
        inside = np.maximum(inside, (size - far).astype(np.float32))
    edge = min(0.6, rng.uniform(0.8, 3.0) / radius)
    cover = np.clip(0.5 + inside / edge, 0, 1)
    body = 1 - rng.uniform(0, 0.5) * np.clip(inside / 0.5, 0, 1)
    sign = rng.choice([-1.0, -1.0, -1.0, 1.0])
    shift = sign * cover * body * (1 + 0.12 * white(rng, side, side)).clip(0, 1)
    tint = _STAINS[int(rng.integers(len(_STAINS)))]
    return Stamp(cover, shift.astype(np.float32), rng.uniform(0.1, 0.6), tint=tint)


def dent(rng: np.random.Generator, scale: int, light: float) -> Stamp:
    """A shallow pit without an edge: the slope that faces the light is bright, the other dark."""
    radius = max(2.0, scale * math.exp(rng.uniform(math.log(0.03), math.log(0.11))))
    half = math.ceil(3.2 * radius)
    y, x = np.ogrid[-half : half + 1, -half : half + 1]
    turn, stretch = rng.uniform(0, math.pi), rng.uniform(1.0, 1.9)
    u = ((math.cos(turn) * x + math.sin(turn) * y) / (radius * stretch**0.5)).astype(np.float32)
    v = ((math.cos(turn) * y - math.sin(turn) * x) / (radius / stretch**0.5)).astype(np.float32)
    distance = np.sqrt(u * u + v * v)
    steepest = math.sqrt(0.5)
    slope = math.sqrt(2 * math.e) * np.exp(-(distance**2))  # of a Gaussian pit, 1 where it is steepest
    lamp = light - turn
    shade = -(u * math.cos(lamp) + v * math.sin(lamp)) * slope
    cover = np.where(distance < steepest, 1, distance * slope)
    shift = 0.85 * shade - 0.15 * np.exp(-(distance**2)) * rng.uniform(0, 1)
    return Stamp(cover.astype(np.float32), shift.astype(np.float32), 0.0)


DEFECTS: dict[str, Callable[[np.random.Generator, int, float], Stamp]] = {
    "scratch": scratch,
    "spot": spot,
    "crack": crack,
    "dent": dent,
}


def press(surface: Surface, stamp: Stamp, rng: np.random.Generator, contrast: float) -> tuple[Mask, Field]:
    """Press a defect into a surface, in place, at a random position.

    Args:
        surface: Its luminance is changed inside the returned mask and nowhere else.
        stamp: The defect.
        rng: Draws the position.
        contrast: 1 = clear at a glance, whatever the texture of the surface.

    Returns:
        Mask, 0 or 1, never empty, and cover, both (H, W).
    """
    luminance = surface.luminance
    height, width = luminance.shape
    # one pixel of the defect's core lands well inside the image: the rest may leave it, as real defects do
    core = np.argwhere(stamp.cover > 0.95 * stamp.cover.max())
    core_y, core_x = core[int(rng.integers(len(core)))]
    top = int(rng.uniform(0.15, 0.85) * height) - int(core_y)
    left = int(rng.uniform(0.15, 0.85) * width) - int(core_x)
    rows, columns = stamp.cover.shape
    there = (slice(max(top, 0), min(top + rows, height)), slice(max(left, 0), min(left + columns, width)))
    here = tuple(slice(s.start - o, s.stop - o) for s, o in zip(there, (top, left), strict=True))

    ground = luminance[there]
    smooth = cv2.blur(ground, (15, 15))
    texture = float((ground - smooth).std())
    depth = contrast * stamp.gain * (16 + 2.2 * texture)
    visible = min(max(3.0, 0.5 * texture), 0.3 * depth)  # a weaker trace is neither painted nor labelled
    mask = np.zeros((height, width), np.uint8)
    cover = np.zeros((height, width), np.float32)
    painted = stamp.cover[here] * depth >= visible
    mask[there] = painted
    cover[there] = np.where(painted, stamp.cover[here], 0)
    change = stamp.shift[here] * depth + stamp.flatten * stamp.cover[here] * (smooth - ground)
    ground += np.where(painted, change, 0)
    return mask, cover


def _walk(headings: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Points (x, y) reached by equal steps in the given directions."""
    return np.stack((np.cos(headings), np.sin(headings)), axis=1).cumsum(axis=0) * step


def _draw(lines: Sequence[Line]) -> Field:
    """Draw lines into a window that just holds them, 1 where they are strongest."""
    points = np.concatenate([path for path, _, _ in lines])
    origin = np.floor(points.min(axis=0)) - 4
    columns, rows = (np.ceil(points.max(axis=0)) + 5 - origin).astype(int)
    canvas = np.zeros((rows * _OVERSAMPLING, columns * _OVERSAMPLING), np.uint8)
    for path, widths, strengths in lines:
        corners = np.rint((path - origin) * _OVERSAMPLING).astype(int)
        for i in range(len(corners) - 1):
            thickness = max(1, round(float(widths[i]) * _OVERSAMPLING))
            cv2.line(canvas, corners[i].tolist(), corners[i + 1].tolist(), float(255 * strengths[i]), thickness)
    cover = cv2.resize(canvas, (int(columns), int(rows)), interpolation=cv2.INTER_AREA).astype(np.float32)
    cover /= cover.max()
    return cast(Field, cover)


def _moved(cover: Field, light: float) -> Field:
    """The same, a pixel and a half away from the light."""
    move = np.array([[1, 0, -1.5 * math.cos(light)], [0, 1, -1.5 * math.sin(light)]])
    return cast(Field, cv2.warpAffine(cover, move, cover.shape[::-1]))
