"""Thin, faint, local defects drawn by random walks: cracks, scratches and spots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inout_aug.paste import _walk
from inout_aug.paste._colour import full_scale, to_levels
from inout_aug.paste._options import as_defect_class, as_names, as_range, log_uniform, settings
from inout_aug.paste._raster import rasterise
from inout_aug.plugin import HostRefused
from inout_aug.sample import Image, Mask, Params, check_image

KINDS = ("crack", "scratch", "spot")
TONES = ("dark", "bright")
_NOISE_FLOOR = 0.01
_VISIBLE = 0.1
_SLENDER = 8


class StrokePaste:
    """Draws branching cracks, scratches and spots with soft edges and a small contrast step.

    Strokes are random walks of slowly varying curvature, swept by a soft disc whose radius and opacity taper off and
    vary along the walk. What they add is a step in grey level, so the host's texture stays visible.

    Args:
        kinds: Which of "crack", "scratch" and "spot" to draw, with equal chance.
        width: Full width at half maximum of cracks and scratches, per shorter image side; at least one pixel, and at
            most an eighth of the length.
        length: Of cracks and scratches, per shorter image side.
        diameter: Of spots, per shorter image side.
        contrast: Height of the step where the stroke is strongest, in standard deviations of the host's noise near it,
            or of 1 % of full scale where there is less noise. Cracks in real surfaces measure 4 to 12.
        tones: "dark", "bright" or both, with equal chance. Where the host leaves no room for one, the other is taken.
        defect_class: Value of the mask inside.

    Raises:
        ValueError: A range is empty or out of bounds, or a name is not known.

    Example:
        >>> paster = StrokePaste(kinds="crack", tones="dark")
        >>> host = np.full((64, 64, 1), 128, np.uint8)
        >>> image, mask = paster.apply(host, paster.make_params(host, np.random.default_rng(0)))
        >>> bool(image.min() < 128), bool((image[mask == 0] == 128).all())
        (True, True)
    """

    def __init__(
        self,
        *,
        kinds: str | Sequence[str] = KINDS,
        width: float | tuple[float, float] = (0.005, 0.025),
        length: float | tuple[float, float] = (0.15, 1.0),
        diameter: float | tuple[float, float] = (0.02, 0.08),
        contrast: float | tuple[float, float] = (4.0, 12.0),
        tones: str | Sequence[str] = TONES,
        defect_class: int = 1,
    ) -> None:
        self.kinds = as_names("kinds", kinds, KINDS)
        self.width = as_range("width", width, low=1e-4, high=0.5)
        self.length = as_range("length", length, low=1e-3, high=4)
        self.diameter = as_range("diameter", diameter, low=1e-4, high=0.5)
        self.contrast = as_range("contrast", contrast, low=0.5, high=1e3)
        self.tones = as_names("tones", tones, TONES)
        self.defect_class = as_defect_class(defect_class)

    def __repr__(self) -> str:
        return settings(self)

    def make_params(self, image: Image, rng: np.random.Generator) -> Params:
        """Draw the kind, the step per channel in grey levels, and strokes as lists of (y, x, radius, opacity)."""
        check_image(image)
        side, full = min(image.shape[:2]), full_scale(image)
        kind = self.kinds[rng.integers(len(self.kinds))]
        if kind == "spot":
            strokes = _walk.spot(rng, max(2.0, side * log_uniform(rng, self.diameter)))
        else:
            draw = _walk.crack if kind == "crack" else _walk.scratch
            width, length = side * log_uniform(rng, self.width), max(4.0, side * log_uniform(rng, self.length))
            strokes = draw(rng, max(1.0, min(width, length / _SLENDER)), length)
        # the strongest point lies in the image, so that something shows; the ends may run out of it
        place = rng.uniform(0, [image.shape[0] - 1, image.shape[1] - 1])
        y, x, radius, opacity = strokes[0][strokes[0][:, 3].argmax()]
        shift = np.array([*(place - (y, x)), 0, 0])
        strokes = [(stroke + shift) / [1, 1, 1, opacity] for stroke in strokes]
        level, noise = _surroundings(image, int(place[0]), int(place[1]), lag=math.ceil(2 * radius))
        contrast = log_uniform(rng, self.contrast)
        step = contrast * np.maximum(noise, _NOISE_FLOOR * full)
        tone = self.tones[rng.integers(len(self.tones))]
        room = {"dark": level, "bright": full - level}
        if room[tone] < step.mean() / 2:
            tone = max(self.tones, key=room.__getitem__)
        return {
            "kind": kind,
            "tone": tone,
            "contrast": round(contrast, 3),
            "step": np.round(step if tone == "bright" else -step, 3).tolist(),
            "strokes": [np.round(stroke, 3).tolist() for stroke in strokes],
        }

    def apply(self, image: Image, params: Params) -> tuple[Image, Mask]:
        """Add the strokes to a copy of the host. The mask is where their opacity is at least a tenth."""
        check_image(image)
        opacity, top, left = rasterise(params["strokes"], *image.shape[:2])
        rows, columns = np.nonzero(opacity >= _VISIBLE)
        added = opacity[rows, columns, None] * np.asarray(params["step"], np.float32)
        rows, columns = rows + top, columns + left
        host = image[rows, columns]
        painted = to_levels(host + added, image.dtype)
        if np.array_equal(painted, host):
            raise HostRefused(
                f"a {params['tone']} {params['kind']} would not show: the host is as {params['tone']} there"
            )
        out, mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
        out[rows, columns], mask[rows, columns] = painted, self.defect_class
        return out, mask


def _surroundings(image: Image, row: int, column: int, lag: int) -> tuple[float, NDArray[np.float32]]:
    """Return the mean level at a place, and the noise per channel around it.

    The noise is a robust standard deviation (1.4826 MAD) of differences between pixels `lag` apart: neither an edge of
    the product nor a slope in the lighting makes it loud.
    """
    reach = max(16, 4 * lag)
    window = image[max(0, row - reach) : row + reach, max(0, column - reach) : column + reach]
    lag, every = min(lag, min(window.shape[:2]) // 2), reach // 16
    ahead, behind = window[lag::every, lag::every], window[:-lag:every, :-lag:every]
    apart = np.abs(np.subtract(ahead, behind, dtype=np.float32))
    noise = np.median(apart, axis=(0, 1)) * np.float32(1.4826 / math.sqrt(2))
    return float(image[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].mean()), noise
