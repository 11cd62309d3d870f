"""Grids that end in a known time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from evidence.protocol import STRONG, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Defaults of a grid.

    Attributes:
        model: Network.
        size: Height and width of all images.
        strong: The strong recipe at this size.
        n_aug: Numbers of synthetic samples.
        seeds: How many trainings of each kind.
        at_once: Trainings side by side; None for one on each core.
        minutes: After which no training goes on.
    """

    model: str
    size: tuple[int, int]
    strong: Recipe
    n_aug: tuple[int, ...]
    seeds: int
    at_once: int | None = None
    minutes: float = math.inf


PRESETS: Mapping[str, Preset] = {
    # ksdd1 in 45 minutes on two cores
    "cpu": Preset(model="resnet18", size=(300, 100), strong=STRONG, n_aug=(100,), seeds=3),
    # magnetic_tile likewise
    "cpu-tile": Preset(model="resnet18", size=(128, 160), strong=STRONG, n_aug=(100,), seeds=3),
    # KSDD2 on one H200, in calls of nine minutes
    "gpu": Preset(
        model="resnet50",
        size=(600, 200),
        strong=replace(STRONG, batch=32, epochs=30, draws=960, ema=0.99),
        n_aug=(80, 100, 120),
        seeds=4,
        at_once=4,
        minutes=8.5,
    ),
}
