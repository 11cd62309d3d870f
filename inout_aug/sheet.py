"""Contact sheets: what a generator makes, beside what it was made from and what is real."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from inout_aug._panels import FAINT, PAPER, Canvas, Colour, close_up, display_range, fit, to_rgb, wrap, write
from inout_aug.augment import InOutAugment
from inout_aug.layout import Layout, declared_layout, infer_layout
from inout_aug.plugin import Paster, SampleSource
from inout_aug.sample import REAL, Image, Sample

_GAP, _SEAM, _BAR = 16, 2, 4
_TITLE, _NAME, _DETAIL, _LEADING = 18, 13, 11, 5
_DETAIL_LINES = 2
_REAL: Colour = (0, 130, 90)
_SYNTHETIC: Colour = (200, 90, 0)
_HEADINGS = ("host", "image", "mask outline", "close-up")
# about that of a screen
_PROPORTIONS = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sample on a sheet.

    Attributes:
        sample: Real or synthetic.
        host: The normal image that it was painted on, to be shown beside it.
        name: First line of the caption; None for the generator's name, or "real".
        details: The lines below; None for what was drawn.
    """

    sample: Sample
    host: Image | None = None
    name: str | None = None
    details: str | None = None


def contact_sheet(
    entries: Iterable[Sample | Entry],
    *,
    columns: int | None = None,
    tile: int = 256,
    closeup: bool = False,
    title: str = "",
) -> Canvas:
    """Draw samples: the host where there is one, the image, and the image with its mask's outline.

    Images of all sizes are letterboxed into panels of one size. 16-bit images are shown from their darkest to their
    brightest values, a host on the same scale as what was painted on it.

    Args:
        entries: Samples, or samples with their hosts and captions. Real ones have a green bar, synthetic ones an
            orange one.
        columns: Entries side by side, more of those without a host; None for the proportions of a screen.
        tile: Root of a panel's area in pixels, at least 32; its proportions are those of the images.
        closeup: Add a panel with the largest defect, magnified twice.
        title: Heading of the sheet.

    Returns:
        uint8, (H, W, 3), RGB.

    Raises:
        ValueError: There is no entry, or `columns` or `tile` is too small.

    Example:
        >>> sample = Sample(np.full((64, 48, 1), 90, np.uint8), np.eye(64, 48, dtype=np.uint8))
        >>> contact_sheet([sample, sample], tile=64).dtype
        dtype('uint8')
    """
    rows = [entry if isinstance(entry, Entry) else Entry(sample=entry) for entry in entries]
    if not rows:
        raise ValueError("a contact sheet needs at least one sample")
    if tile < 32 or (columns is not None and columns < 1):
        raise ValueError(f"tile is at least 32 and columns at least 1; got tile={tile}, columns={columns}")
    box = _common_box([row.sample.size for row in rows], tile)
    # entries without a host are narrower: they have headings of their own
    sections = [
        (_HEADINGS[not hosted : 4 if closeup else 3], list(section))
        for hosted, section in groupby(rows, key=lambda row: row.host is not None)
    ]
    height, widest = _size_of(box, max(len(headings) for headings, _ in sections))
    across = columns or max(1, round(math.sqrt(_PROPORTIONS * len(rows) * height / widest)))
    width = min(across, len(rows)) * (widest + _GAP) + _GAP
    parts = [_section(section, box, headings, width) for headings, section in sections]
    if title:
        head = np.full((_GAP + _TITLE + 2 * _LEADING, width, 3), PAPER, np.uint8)
        write(head, title, _GAP, _GAP, size=_TITLE, bold=True)
        parts.insert(0, head)
    return np.concatenate(parts)


def paste_sheet(
    dataset: Any,
    paster: Paster | SampleSource,
    *,
    n: int = 16,
    real: int = 4,
    seed: int = 0,
    normal_label: int = 0,
    layout: Layout | None = None,
    **options: Any,
) -> Canvas:
    """Draw real defects of a dataset, then what a paster makes of its normal images, or what a cache holds.

    The synthetic samples are those that `InOutAugment(generators=[paster], n_aug=n, seed=seed)` adds in epoch 0.

    Args:
        dataset: Map-style; see `InOutAugment`.
        paster: Paints the defects; or samples that there are.
        n: Number of synthetic samples.
        real: Most real defects to show, evenly spaced in the dataset.
        seed: Of the draws.
        normal_label: Label of normal samples.
        layout: How the dataset's items are read, where it cannot be told.
        options: As for `contact_sheet`.

    Raises:
        HostRefused: The paster could not paint on any of the hosts tried.
        ValueError: `n` or `real` is too small, or the dataset cannot be wrapped.
    """
    if n < 1 or real < 0:
        raise ValueError(f"n is at least 1 and real at least 0; got n={n}, real={real}")
    # what label a synthetic defect gets is not shown: any but the normal one will do
    positive_label = int(normal_label == 0)
    augment = InOutAugment(
        generators=[paster], n_aug=n, seed=seed, normal_label=normal_label, positive_label=positive_label
    )
    if layout is None and len(dataset):
        # masks are only looked at, so 1 and 255 need not be told apart where all of them are empty
        layout = declared_layout(dataset) or infer_layout(dataset[0], mask_value=1)
    train = augment(dataset, layout=layout)
    first = len(train) - n
    defects = np.flatnonzero(train.targets[:first] != normal_label)
    spaced = np.linspace(0, len(defects) - 1, min(real, len(defects))).astype(int)
    names = dict(enumerate(getattr(dataset, "classes", ())))
    entries = []
    for index in defects[spaced].tolist():
        sample = train.sample(index)
        details = f"label {sample.label}, {names[sample.label]}" if sample.label in names else None
        entries.append(Entry(sample=sample, details=details))
    for index in range(first, len(train)):
        sample = train.sample(index)
        host = None if sample.origin.host is None else train.sample(sample.origin.host).image
        entries.append(Entry(sample=sample, host=host))
    return contact_sheet(entries, **options)


def describe(sample: Sample) -> tuple[str, str]:
    """Return a sample's caption: its generator's name, and what was drawn for it.

    Words, numbers and short lists of them are shown, lists of lists are counted, and what is longer is left out.

    Example:
        >>> from inout_aug.sample import Origin
        >>> origin = Origin(generator="StrokePaste", seed=(0, 0, 7), params={"kind": "crack", "step": [-12.3456]})
        >>> describe(Sample(np.zeros((16, 16, 1), np.uint8), label=1, origin=origin))
        ('StrokePaste', 'kind crack, step -12.3, seed 0/0/7')
    """
    origin = sample.origin
    if origin.generator == REAL.generator:
        defective = sample.label != 0 if sample.mask is None else bool(sample.mask.any())
        return "real defect" if defective else "real", f"label {sample.label}"
    drawn = [f"{name} {text}" for name, value in origin.params.items() if (text := _short(value))]
    if origin.seed:
        drawn.append(f"seed {'/'.join(map(str, origin.seed))}")
    return origin.generator, ", ".join(drawn)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, str | int):
        return str(value)
    if not isinstance(value, Sequence) or not value:
        return ""
    if isinstance(value[0], Sequence | Mapping):
        return f"x{len(value)}"
    return " ".join(map(_short, value)) if len(value) <= 3 else ""


def _common_box(sizes: Sequence[tuple[int, int]], tile: int) -> tuple[int, int]:
    """Return height and width of all panels: of area tile², with the images' median proportions."""
    stretch = math.exp(float(np.median([math.log(height / width) for height, width in sizes])) / 2)
    return max(16, round(tile * stretch)), max(16, round(tile / stretch))


def _size_of(box: tuple[int, int], count: int) -> tuple[int, int]:
    """Return height and width of an entry of so many panels."""
    caption = 2 * _LEADING + _NAME + _DETAIL_LINES * (_DETAIL + _LEADING)
    return box[0] + caption, _BAR + count * (box[1] + _SEAM)


def _section(rows: Sequence[Entry], box: tuple[int, int], headings: Sequence[str], width: int) -> Canvas:
    """Return entries of one kind, in as many columns as fit, under their headings."""
    high, wide = (side + _GAP for side in _size_of(box, len(headings)))
    across = min((width - _GAP) // wide, len(rows))
    top = _GAP + _DETAIL + _LEADING
    canvas = np.full((top + math.ceil(len(rows) / across) * high, width, 3), PAPER, np.uint8)
    for k, row in enumerate(rows):
        y, x = top + k // across * high, _GAP + k % across * wide
        _draw(canvas[y : y + high - _GAP, x : x + wide - _GAP], row, box, headings)
        for position, heading in enumerate(headings if k < across else ()):
            left = x + _BAR + position * (box[1] + _SEAM)
            write(canvas, heading, left, _GAP, size=_DETAIL, colour=FAINT)
    return canvas


def _draw(canvas: Canvas, entry: Entry, box: tuple[int, int], headings: Sequence[str]) -> None:
    """Draw an entry's panels side by side, over its caption."""
    sample, (height, width) = entry.sample, box
    name, details = describe(sample)
    if sample.image.dtype == np.uint16:
        details += ", shown from {} to {}".format(*display_range(sample.image, entry.host))
    colour = _REAL if sample.origin.generator == REAL.generator else _SYNTHETIC
    canvas[:height, : _BAR - _SEAM] = colour
    for position, heading in enumerate(headings):
        left = _BAR + position * (width + _SEAM)
        canvas[:height, left : left + width] = _panel(entry, heading, box)
    room, top = canvas.shape[1] - _BAR, height + _LEADING
    for text in wrap(name if entry.name is None else entry.name, room, lines=1, size=_NAME, bold=True):
        write(canvas, text, _BAR, top, size=_NAME, bold=True, colour=colour)
    top += _NAME + _LEADING
    for text in wrap(details if entry.details is None else entry.details, room, lines=_DETAIL_LINES, size=_DETAIL):
        write(canvas, text, _BAR, top, size=_DETAIL, colour=FAINT)
        top += _DETAIL + _LEADING


def _panel(entry: Entry, heading: str, box: tuple[int, int]) -> Canvas:
    sample, shown = entry.sample, display_range(entry.sample.image, entry.host)
    if heading == "host" and entry.host is not None:
        return fit(to_rgb(entry.host, shown), box)
    picture = to_rgb(sample.image, shown)
    if heading == "image":
        return fit(picture, box)
    if sample.mask is None or (heading == "close-up" and not sample.mask.any()):
        empty = np.full((*box, 3), PAPER, np.uint8)
        write(empty, "no mask", _LEADING, _LEADING, size=_DETAIL, colour=FAINT)
        return empty
    if heading == "close-up":
        return fit(close_up(picture, sample.mask, box), box)
    return fit(picture, box, sample.mask)
