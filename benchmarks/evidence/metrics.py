"""How well scores tell defective images from normal ones, for all resamples of the images at once."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

# name in the files: heading in the tables
METRICS = {
    "ap": "AP",
    "ap_trapezoid": "AP, trapezoid",
    "auroc": "AUROC",
    "precision_at_half": "precision at 0.5",
    "recall_at_half": "recall at 0.5",
    "precision_at_best_f1": "precision at best F1",
    "recall_at_best_f1": "recall at best F1",
    "recall_at_0_fp": "recall at 0 % false positives",
    "recall_at_1_fp": "recall at 1 % false positives",
}


def measure(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> dict[str, Floats]:
    """Return all of `METRICS`, each (B,).

    `ap` is the area under the steps of precision over recall; `ap_trapezoid`, as mixed-segdec and so In&Out have it,
    under straight lines between the points, from precision 1 at recall 0; `auroc` counts a tie half. The fixed
    threshold is a probability of 0.5; that of the best F1 only the labels tell. Recall at false positives is the
    highest at which no larger share of the normal images is called defective. Precision is 0 where nothing is called
    defective.

    Args:
        logits: (N,).
        labels: 0 or 1, (N,).
        weights: How often each image counts, (B, N); None for once each, which is B = 1.

    Raises:
        ValueError: There are no positives, or no negatives.
    """
    values, truth = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    counts = np.ones((1, len(values))) if weights is None else np.asarray(weights, np.float64)
    positives, negatives = counts @ truth, counts @ (1 - truth)
    if not (positives.all() and negatives.all()):
        raise ValueError(f"metrics need positives and negatives; there are {positives.min():g} and {negatives.min():g}")
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits = np.cumsum((counts * truth)[:, order], axis=1)[:, ends]
    found = np.cumsum(counts[:, order], axis=1)[:, ends]
    precision = np.divide(hits, found, out=np.ones_like(hits), where=found > 0)
    recall, false = hits / positives[:, None], (found - hits) / negatives[:, None]
    rise = np.diff(recall, axis=1, prepend=0.0)
    best = np.argmax(2 * hits / (found + positives[:, None]), axis=1)
    rows = np.arange(len(counts))
    called = values > 0
    true_calls = counts[:, called] @ truth[called]
    return {
        "ap": np.sum(precision * rise, axis=1),
        "ap_trapezoid": np.sum((_from(1.0, precision) + precision) / 2 * rise, axis=1),
        "auroc": np.sum((_from(0.0, recall) + recall) / 2 * np.diff(false, axis=1, prepend=0.0), axis=1),
        "precision_at_half": true_calls / np.maximum(counts[:, called].sum(axis=1), 1),
        "recall_at_half": true_calls / positives,
        "precision_at_best_f1": precision[rows, best],
        "recall_at_best_f1": recall[rows, best],
        "recall_at_0_fp": np.where(false <= 0, recall, 0.0).max(axis=1),
        "recall_at_1_fp": np.where(false <= 0.01, recall, 0.0).max(axis=1),
    }


def _from(start: float, values: Floats) -> Floats:
    """Return the values one point earlier."""
    return np.concatenate([np.full((len(values), 1), start), values[:, :-1]], axis=1)
