"""Simplex and fractal noise through the `noise` package, on a coarse lattice."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import repeat
from types import ModuleType
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.paste.perlin import Floats

# Simplex blobs are smaller than Perlin's on a lattice of the same spacing; at this frequency they are as many.
_FREQUENCY = 0.5
_SAMPLES_PER_CELL = 4
# One call of `noise.snoise2` takes about 0.1 µs, so this many samples keep a field under 2 ms.
_MOST_SAMPLES = 8_000
# The noise repeats after this many cells.
_PERIOD = 256
# The share of a Perlin field that exceeds 0.5.
_PERLIN_SHARE = 0.054


class Simplex:
    """Simplex noise (Perlin, 2001), or several octaves of it, as a `Field`.

    Each point costs a call into the `noise` package, so the noise is evaluated a few times per cell and enlarged by
    cubic interpolation. It is scaled to exceed 0.5 on as much area as Perlin noise does.

    Args:
        octaves: Layers of noise, each of twice the frequency and half the amplitude of the one before; more octaves
            give rougher outlines.

    Raises:
        ImportError: The `noise` package is not installed.
        ValueError: `octaves` is not between 1 and 6.

    Example:
        >>> Simplex(octaves=2)(64, 100, cells=(2, 4), angle=30.0, seed=7).shape
        (64, 100)
    """

    def __init__(self, *, octaves: int = 1) -> None:
        if not 1 <= octaves <= 6:
            raise ValueError(f"octaves is between 1 and 6; got {octaves}")
        _noise()
        self.octaves = octaves

    def __repr__(self) -> str:
        return f"Simplex(octaves={self.octaves})"

    def __call__(self, height: int, width: int, *, cells: tuple[int, int], angle: float, seed: int) -> Floats:
        """Draw the field of a seed; see `Field`.

        Raises:
            ValueError: A size or a number of cells is below 1.
        """
        if min(height, width, *cells) < 1:
            raise ValueError(f"a field has at least 1 pixel and 1 cell per axis; got {height}×{width}, cells={cells}")
        rows, columns = _lattice(height, width, cells, self.octaves)
        # Where the lattice points lie in the image, as cv2.resize sees them, measured from its centre in pixels.
        y = ((np.arange(rows) + 0.5) / rows - 0.5)[:, None] * height
        x = ((np.arange(columns) + 0.5) / columns - 0.5)[None] * width
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        origin_y, origin_x = np.random.Generator(np.random.PCG64(seed)).random(2) * _PERIOD
        along_y = (cosine * y + sine * x) * (_FREQUENCY * cells[0] / height) + origin_y
        along_x = (cosine * x - sine * y) * (_FREQUENCY * cells[1] / width) + origin_x
        coarse = _sample(along_y, along_x, self.octaves) * _scale(self.octaves)
        return cast(Floats, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _noise() -> ModuleType:
    try:
        import noise
    except ImportError as error:
        raise ImportError("Simplex needs the noise package: pip install 'inout-aug[noise]'") from error
    module: ModuleType = noise
    return module


def _lattice(height: int, width: int, cells: tuple[int, int], octaves: int) -> tuple[int, int]:
    """Return how many points to sample along each axis: enough for the finest octave that is affordable."""
    # A rotated field may show the finer of the two cell sizes along either axis.
    cell = min(height / cells[0], width / cells[1])
    spacing = cell / _SAMPLES_PER_CELL / 2 ** (octaves - 1)
    affordable = math.sqrt(height * width / _MOST_SAMPLES)
    spacing = max(spacing, affordable, 1.0)
    return math.ceil(height / spacing), math.ceil(width / spacing)


def _sample(y: NDArray[np.float64], x: NDArray[np.float64], octaves: int) -> Floats:
    values = map(_noise().snoise2, x.ravel().tolist(), y.ravel().tolist(), repeat(octaves))
    return np.fromiter(values, np.float32, x.size).reshape(x.shape)


@lru_cache(maxsize=6)
def _scale(octaves: int) -> np.float32:
    side = np.arange(128) * (_PERIOD / 128 + math.pi / 100)
    sample = _sample(np.repeat(side, side.size), np.tile(side, side.size), octaves)
    return np.float32(0.5 / np.quantile(sample, 1 - _PERLIN_SHARE))
