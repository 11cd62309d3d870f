"""Pictures for people: many samples in one file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2

from inout_aug.sample import Sample
from inout_aug.sheet import Entry, contact_sheet


def write_sheet(path: Path, samples: Iterable[Sample], *, names: Iterable[str] | None = None, tile: int = 128) -> None:
    """Write a picture of samples and the outlines of their masks.

    Args:
        path: The file; its suffix is the format.
        samples: At least one.
        names: Captions of the samples; none by default.
        tile: See `contact_sheet`.
    """
    shown = list(samples)
    captions = [""] * len(shown) if names is None else list(names)
    entries = [Entry(sample=sample, name=name, details="") for sample, name in zip(shown, captions, strict=True)]
    sheet = contact_sheet(entries, tile=tile, columns=4)
    path.write_bytes(cv2.imencode(path.suffix, sheet[..., ::-1])[1].tobytes())
