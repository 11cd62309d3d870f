"""Strokes of cracks, scratches and spots, as random walks.

A stroke is an (n, 4) array of (y, x, radius, opacity), in pixels, beginning near (0, 0). Between its points, everything
is interpolated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Stroke = NDArray[np.float64]

_STEPS = 32
_FRACTION = np.linspace(0, 1, _STEPS + 1)
# where the soft edge (1 - (d / radius)^2)^2 is at half its height
_HALF_HEIGHT = math.sqrt(1 - math.sqrt(0.5))


def crack(rng: np.random.Generator, width: float, length: float) -> list[Stroke]:
    """A jagged walk, widest somewhere along it, with up to three thinner branches."""
    widest = rng.uniform(0.02, 0.98)
    taper = np.minimum(_FRACTION / widest, (1 - _FRACTION) / (1 - widest))
    points = _walk(rng, length=length, heading=rng.uniform(0, 2 * math.pi), bend=0.5, jag=0.25)
    strokes = [_sweep(rng, points, width=width, taper=taper, faintest=0.4)]
    for joint in rng.integers(3, _STEPS - 4, size=rng.integers(4)):
        onward = math.atan2(*(points[joint + 2] - points[joint]))
        turn = rng.uniform(0.3, 1.0) if rng.random() < 0.5 else -rng.uniform(0.3, 1.0)
        branch = _walk(rng, length=length * rng.uniform(0.15, 0.5), heading=onward + turn, bend=0.5, jag=0.25)
        thinner = 0.8 * taper[joint] * (1 - _FRACTION)
        strokes.append(_sweep(rng, points[joint] + branch, width=width, taper=thinner, faintest=0.4))
    return strokes


def scratch(rng: np.random.Generator, width: float, length: float) -> list[Stroke]:
    """One to three nearly straight walks side by side, of almost constant width, fading in and out."""
    taper = np.minimum(1, 6 * np.minimum(_FRACTION, 1 - _FRACTION))
    heading = rng.uniform(0, 2 * math.pi)
    aside = np.array([math.cos(heading), -math.sin(heading)])
    strokes = []
    for k in range((1, 1, 2, 3)[rng.integers(4)]):
        points = _walk(rng, length=length * rng.uniform(0.6, 1), heading=heading, bend=0.12)
        points += k * width * rng.uniform(2, 6) * aside
        strokes.append(_sweep(rng, points, width=width, taper=taper, faintest=0.1))
    return strokes


def spot(rng: np.random.Generator, diameter: float) -> list[Stroke]:
    """A few steps in any direction, swept by a wide disc."""
    points = np.cumsum(rng.normal(scale=diameter / 6, size=(6, 2)), axis=0)
    return [_sweep(rng, points, width=0.8 * diameter, taper=rng.uniform(0.3, 1, 6), faintest=0.6)]


def _walk(rng: np.random.Generator, *, length: float, heading: float, bend: float, jag: float = 0.0) -> Stroke:
    """Return the points (y, x), from (0, 0), of a walk of slowly varying curvature.

    The heading (radians) drifts smoothly, with a standard deviation of `bend` at the end, and shakes by `jag` per step.
    """
    curvature = np.cumsum(rng.normal(size=_STEPS)) * bend * math.sqrt(3 / _STEPS**3)
    angle = heading + np.cumsum(curvature) + jag * rng.normal(size=_STEPS)
    steps = np.stack([np.sin(angle), np.cos(angle)], axis=1) * (length / _STEPS)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])


def _sweep(rng: np.random.Generator, points: Stroke, *, width: float, taper: Stroke, faintest: float) -> Stroke:
    """Return the stroke along `points`, at most `width` wide (full width at half maximum).

    Its opacity varies between `faintest` and 1, times the root of `taper`; where it is fainter it is thinner.
    """
    vary = np.interp(np.linspace(0, 1, len(points)), np.linspace(0, 1, 7), rng.uniform(faintest, 1, 7))
    radius = width / (2 * _HALF_HEIGHT) * np.sqrt(taper * vary)
    return np.column_stack([points, radius, vary * np.sqrt(taper)])
