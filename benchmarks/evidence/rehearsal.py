"""A dry run: every method goes through a few steps on a few images, to see that the long run would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from evidence.images import Images
from evidence.protocol import Recipe
from inout_aug.cache.importer import import_dataset

SHOTS = (0, 2, None)
N_AUG = 4
_BATCH, _STEPS, _NORMAL, _DEFECTIVE = 4, 6, 12, 6


def shortened(recipe: Recipe) -> Recipe:
    """Return the same recipe of a few steps, enough for a CUDA graph to be captured and replayed."""
    draws = None if recipe.pooled else _BATCH * _STEPS
    return replace(recipe, batch=_BATCH, epochs=2 if recipe.pooled else 1, draws=draws)


def few(images: Images) -> Images:
    """Return some images of either kind."""
    labels = np.asarray(images.targets)
    return images.part([*np.flatnonzero(labels == 0)[:_NORMAL], *np.flatnonzero(labels)[:_DEFECTIVE]])


def stand_in(training: Images, folder: Path) -> str:
    """Fill a cache with real defects, in place of a generator's, and return where it is."""
    defective = training.part(np.flatnonzero(training.targets).tolist())
    import_dataset(defective, str(folder), name="stand-in", progress=False)
    return str(folder)
