"""Charts of an evaluation, as matplotlib figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inout_aug.evaluate.memorisation import Memorisation
from inout_aug.evaluate.shapes import heatmap, shape_of
from inout_aug.sample import Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_REAL, _SYNTHETIC = "#00825a", "#c85a00"
_BINS = 24
_TITLES = {"area": "area, share of the image", "parts": "connected parts", "elongation": "length over width"}


def memorisation_chart(memory: Memorisation) -> Figure:
    """Draw the distances of samples and of real images to the nearest training image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.add_subplot()
    _histograms(axes, memory.real, memory.distances, np.linspace(*_ends([*memory.real, *memory.distances]), _BINS + 1))
    axes.axvline(memory.threshold, color="black", linestyle="--", linewidth=1, label="5th percentile of the real ones")
    axes.set_xlabel("distance to the nearest training image")
    axes.legend(frameon=False, fontsize=9)
    return figure


def shapes_chart(real: Sequence[Mask], synthetic: Sequence[Mask]) -> Figure:
    """Draw the masks in numbers, real against synthetic, and where in the image they lie on average."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 3)
    shapes = [[shape_of(mask) for mask in masks] for masks in (real, synthetic)]
    for place, (name, title) in zip(axes[0], _TITLES.items(), strict=True):
        a, b = ([float(getattr(shape, name)) for shape in part] for part in shapes)
        low, high = _ends([*a, *b])
        place.set_xscale("log")
        bins = np.geomspace(low, high, _BINS + 1)
        _histograms(place, a, b, bins)
        place.set_title(title, fontsize=10)
    axes[0, 0].legend(frameon=False, fontsize=9)
    for place, masks, title in zip(axes[1], (real, synthetic), ("real", "synthetic"), strict=False):
        place.imshow(heatmap(masks), extent=(0, 1, 1, 0), cmap="magma", vmin=0)
        place.set_title(f"where the defects are, {title}", fontsize=10)
    for part, colour, title in zip(shapes, (_REAL, _SYNTHETIC), ("real", "synthetic"), strict=True):
        axes[1, 2].scatter(
            [shape.x for shape in part], [shape.y for shape in part], s=9, color=colour, alpha=0.6, label=title
        )
    axes[1, 2].set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
    axes[1, 2].set_title("centres of the defects", fontsize=10)
    return figure


def _histograms(axes: Axes, real: Sequence[float], synthetic: Sequence[float], bins: NDArray[np.float64]) -> None:
    for values, colour, name in ((real, _REAL, "real"), (synthetic, _SYNTHETIC, "synthetic")):
        # shares, so that sets of different sizes compare
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, bins=bins.tolist(), weights=weights, color=colour, alpha=0.55, label=f"{name}, {len(values)}")
    axes.set_ylabel("share of the images")
    axes.spines[["top", "right"]].set_visible(False)


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low * 0.9, high * 1.1 + 1e-6)
