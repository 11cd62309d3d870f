"""Samples beside the training images that they are nearest to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inout_aug._panels import FAINT, INK, PAPER, Canvas, display_range, fit, to_rgb, wrap, write
from inout_aug.evaluate.evaluation import Evaluation
from inout_aug.evaluate.views import view
from inout_aug.sample import Sample

_GAP, _SEAM, _TITLE, _TEXT, _LEADING = 16, 4, 15, 12, 6
_RED, _ACROSS = (200, 30, 30), 3
_MADE, _REAL = 12, 6


def draw_pairs(
    evaluation: Evaluation,
    synthetic: Sequence[Sample],
    *,
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    tile: int = 160,
) -> Canvas:
    """Draw the samples nearest to a training image, each beside it; below, the same of held-out real images.

    Every image is shown twice, plain and with the outline of its mask, as the crop or the whole image that was
    compared. A training image may be nearest turned or mirrored; it is shown as it is.

    Args:
        evaluation: Of these samples.
        synthetic: As given to `evaluate`, like the others.
        training: Likewise.
        held_out: Likewise.
        tile: Side of a panel in pixels.

    Returns:
        uint8, (H, W, 3), RGB.
    """
    memory = evaluation.memorisation
    sections = [
        ("synthetic | nearest training image", "sample", synthetic, memory.distances, memory.nearest, _MADE),
        ("held-out real image | nearest training image", "held out", held_out, memory.real, memory.real_nearest, _REAL),
    ]
    wide, high = 4 * tile + 3 * _SEAM, tile + 2 * _LEADING + _TEXT
    parts = []
    for title, name, samples, distances, nearest, most in sections:
        rows = np.argsort(distances, kind="stable")[:most].tolist()
        top = _GAP + _TITLE + 2 * _LEADING
        height = top + -(-len(rows) // _ACROSS) * (high + _GAP)
        canvas = np.full((height, _GAP + _ACROSS * (wide + _GAP), 3), PAPER, np.uint8)
        write(canvas, f"{title}, nearest first", _GAP, _GAP, size=_TITLE, colour=INK, bold=True)
        for k, row in enumerate(rows):
            y, x = top + k // _ACROSS * (high + _GAP), _GAP + k % _ACROSS * (wide + _GAP)
            panels = [
                *_panels(samples[row], evaluation.crop, tile),
                *_panels(training[nearest[row]], evaluation.crop, tile),
            ]
            for position, panel in enumerate(panels):
                left = x + position * (tile + _SEAM)
                canvas[y : y + tile, left : left + tile] = panel
            near = distances[row] < memory.threshold
            text = f"{name} {row}, training image {nearest[row]}, distance {distances[row]:.3f}"
            text += ", nearer than real ones" if near and samples is synthetic else ""
            (line,) = wrap(text, wide, lines=1, size=_TEXT)
            write(canvas, line, x, y + tile + _LEADING, size=_TEXT, colour=_RED if near else FAINT)
        parts.append(canvas)
    return np.concatenate(parts)


def _panels(sample: Sample, side: int | None, tile: int) -> tuple[Canvas, Canvas]:
    """Return what was compared, without and with the outline of the mask."""
    image = view(sample, side)
    picture = to_rgb(image, display_range(image, None))
    if sample.mask is None:
        return fit(picture, (tile, tile)), fit(picture, (tile, tile))
    mask = view(Sample(sample.mask[..., None], sample.mask), side)[..., 0].astype(np.uint8)
    return fit(picture, (tile, tile)), fit(picture, (tile, tile), mask)
