"""How well logits of pixels outline defects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# name in the files: heading in the tables
METRICS = {
    "miou": "mIoU",
    "iou": "IoU",
    "best_iou": "IoU, best threshold",
    "f1": "F1",
    "ap": "pixel AP",
    "auroc": "pixel AUROC",
}
_VALUES = 1 << 16  # of a half float


def measure(logits: NDArray[np.float16], masks: NDArray[np.uint8], kinds: Sequence[str], normal: str) -> dict[str, Any]:
    """Return the scores of all images, and those of the images of each kind of defect.

    All but `miou` are of the pixels of all images together, normal ones included, so that a false alarm anywhere costs.
    `miou` is the mean over the kinds of the IoU on the images of a kind: of many kinds, none counts more than another.

    Args:
        logits: (N, H, W).
        masks: (N, H, W), non-zero inside defects.
        kinds: Name of each image's kind, (N,).
        normal: Name of normal images' kind.

    Raises:
        ValueError: There is no defect.
    """
    names = np.asarray(kinds)
    of_kind = {
        str(kind): pixel_scores(logits[names == kind], masks[names == kind])
        for kind in np.unique(names[names != normal])
    }
    if not of_kind:
        raise ValueError("none of the images has a defect to outline")
    miou = float(np.mean([scores["iou"] for scores in of_kind.values()]))
    return {"scores": {"miou": miou, **pixel_scores(logits, masks)}, "kinds": of_kind}


def pixel_scores(logits: NDArray[np.float16], masks: NDArray[np.uint8]) -> dict[str, float]:
    """Return IoU and F1 at probability 0.5, IoU at the best threshold, average precision and AUROC, all in [0, 1].

    Exact for half floats, from the number of pixels with each of their values. A tie counts half in the AUROC, and is
    one step of the average precision.

    Args:
        logits: Of any shape.
        masks: Of the same shape, non-zero inside defects; both kinds of pixels are there.

    Raises:
        ValueError: All pixels are of one kind.
    """
    truth = masks.reshape(-1) > 0
    codes = _ordered(logits.reshape(-1))
    inside = np.bincount(codes[truth], minlength=_VALUES)[::-1]
    outside = np.bincount(codes[~truth], minlength=_VALUES)[::-1]
    if not (inside.any() and outside.any()):
        raise ValueError("scores need pixels inside and outside of defects")
    hits, alarms = np.cumsum(inside), np.cumsum(outside)
    union = hits[-1] + alarms
    # of the values above 0: those before the code of 0, which is in the middle
    called = _VALUES // 2 - 1
    iou = float(hits[called - 1] / union[called - 1])
    precision = hits / np.maximum(hits + alarms, 1)
    return {
        "iou": iou,
        "best_iou": float((hits / union).max()),
        "f1": 2 * iou / (1 + iou),
        "ap": float(np.sum(precision * inside) / hits[-1]),
        "auroc": float(np.sum(outside * (hits - inside / 2)) / (hits[-1] * alarms[-1])),
    }


def _ordered(values: NDArray[np.float16]) -> NDArray[np.uint16]:
    """Return integers in the order of half floats; 0 and -0 are one, with the code 2 ** 15."""
    bits = np.ascontiguousarray(values + np.float16(0)).view(np.uint16)
    return np.where(bits >> 15, ~bits, bits | 0x8000).astype(np.uint16)
