"""Procedural inspection images without a licence, a download or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from inout_aug.datasets._defects import DEFECTS, press
from inout_aug.datasets._items import ITEM_LAYOUT, Item, check_size
from inout_aug.datasets._materials import MATERIALS, Colour, Field, Surface, white
from inout_aug.sample import Image, Mask
from inout_aug.seeding import check_seed, stream

# purposes of a random stream (seed, purpose, number)
_PLAN, _STYLE, _PART, _DEFECT = range(4)
_BLOCK, _STRATUM = 1000, 10  # samples planned together; among which the share of defects is even
_LARGEST_SCALE = 512  # defects grow with the image up to this side


class Surfaces(Dataset[Item]):
    """Brushed metal, woven cloth and cast iron, some with a scratch, spot, crack or dent, with exact masks.

    Sample `i` is a pure function of `seed` and `start + i`: any number of samples, all different, the same in every
    process. All samples of one seed show the same product of each material; another seed shows another product. Good
    parts differ from each other in position, exposure, light and grain, as real ones do, and defects range from faint
    to clear, so that the set is learnable, but not at a glance. A defect changes no pixel outside its mask.

    For a test set of the same product, go on where the training set ends: `Surfaces(400, start=1000)`.

    Args:
        length: Number of samples.
        start: Number of the first sample.
        size: Height and width in pixels, each at least 16.
        materials: Any of "metal", "fabric" and "cast", in equal shares.
        defects: Any of "scratch", "spot", "crack" and "dent", in equal shares, with the class ids 1, 2, …
        defect_share: Share of defective samples; every ten samples have their part of it.
        contrast: Of a defect, or the range it is drawn from; 1 is clear at a glance, 0.3 hard to find.
        channels: 3 = RGB, 1 = grey.
        binary: One class "defect" instead of one per kind.
        seed: Chooses the products and all samples.

    Attributes:
        classes: "normal", then the defects.

    Raises:
        ValueError: An argument is out of its range, or names no material or defect.

    Example:
        >>> surfaces = Surfaces(100, size=(64, 96), defect_share=0.2)
        >>> len(surfaces), sum(label > 0 for label in surfaces.targets)
        (100, 20)
        >>> surfaces[7]["image"].shape, surfaces[7]["mask"].shape
        ((64, 96, 3), (64, 96))
    """

    layout = ITEM_LAYOUT

    def __init__(
        self,
        length: int = 1000,
        *,
        start: int = 0,
        size: tuple[int, int] = (256, 256),
        materials: Sequence[str] = ("metal", "fabric", "cast"),
        defects: Sequence[str] = ("scratch", "spot", "crack", "dent"),
        defect_share: float = 0.1,
        contrast: float | tuple[float, float] = (0.4, 1.0),
        channels: int = 3,
        binary: bool = False,
        seed: int = 0,
    ) -> None:
        if length < 0 or start < 0:
            raise ValueError(f"length and start must not be negative; got {length} and {start}")
        if not 0 <= defect_share <= 1:
            raise ValueError(f"defect_share must be in [0, 1]; got {defect_share}")
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3; got {channels}")
        low, high = contrast if isinstance(contrast, Sequence) else (contrast, contrast)
        if not 0.2 <= low <= high <= 2:
            raise ValueError(f"contrast must be in [0.2, 2], as one value or (low, high); got {contrast}")
        self._materials = _named(materials, MATERIALS, "materials")
        self._defects = _named(defects, DEFECTS, "defects")
        self._length, self._start, self._size = length, start, check_size(size)
        self._defect_share, self._contrast = defect_share, (low, high)
        self._channels, self._binary, self._seed = channels, binary, check_seed(seed)
        self.classes = ("normal", "defect") if binary else ("normal", *self._defects)

    def __len__(self) -> int:
        return self._length

    @property
    def targets(self) -> list[int]:
        """Label of each sample; draws no picture."""
        stop = self._start + self._length
        blocks = range(self._start // _BLOCK, -(-stop // _BLOCK))
        kinds = np.concatenate([self._plan(block)[0] for block in blocks]) if blocks else np.zeros(0, np.uint8)
        kinds = kinds[self._start - blocks.start * _BLOCK :][: self._length]
        return cast(list[int], (np.minimum(kinds, 1) if self._binary else kinds).tolist())

    def __getitem__(self, index: int) -> Item:
        if not -self._length <= index < self._length:
            raise IndexError(f"index {index} is out of range for {self._length} samples")
        number = self._start + index % self._length
        kinds, picks = self._plan(number // _BLOCK)
        kind, material = int(kinds[number % _BLOCK]), self._materials[int(picks[number % _BLOCK])]
        image, mask = self._render(number, material, self._defects[kind - 1] if kind else None)
        label = min(kind, 1) if self._binary else kind
        name = "-".join((material, *(self._defects[kind - 1 : kind] if kind else ())))
        return {"image": image, "mask": mask * np.uint8(label), "label": label, "path": f"{name}-{self._seed}-{number}"}

    def _plan(self, block: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return _plan(self._seed, block, self._defect_share, len(self._defects), len(self._materials))

    def _render(self, number: int, material: str, defect: str | None) -> tuple[Image, Mask]:
        """Draw one sample; without its defect it is the same picture outside the mask."""
        height, width = self._size
        style = stream(self._seed, _STYLE, list(MATERIALS).index(material))
        part = stream(self._seed, _PART, number)
        surface = MATERIALS[material](style, part, height, width)
        noise = 1.2 * white(part, height, width)
        if defect is None:
            return _photograph(surface, noise, self._channels), np.zeros(self._size, np.uint8)
        rng = stream(self._seed, _DEFECT, number)
        stamp = DEFECTS[defect](rng, min(height, width, _LARGEST_SCALE), surface.light)
        mask, cover = press(surface, stamp, rng, rng.uniform(*self._contrast))
        image = _photograph(surface, noise, self._channels)
        if self._channels == 3:
            _stain(image, cover, stamp.tint)
        return image, mask


def _named(names: Sequence[str], table: Mapping[str, object], what: str) -> tuple[str, ...]:
    if isinstance(names, str) or not names or len(set(names)) < len(names) or not set(names) <= table.keys():
        raise ValueError(f"{what} must be a sequence of distinct names out of {', '.join(table)}; got {names!r}")
    return tuple(names)


def _photograph(surface: Surface, noise: Field, channels: int) -> Image:
    """Expose a surface: camera noise, 8 bits, colour that pales in the highlights."""
    grey: NDArray[np.uint8] = np.clip(surface.luminance + noise + 0.5, 0, 255).astype(np.uint8)
    if channels == 1:
        return grey[..., None]
    level = np.arange(256)[:, None]
    tint = np.asarray(surface.tint)
    ramp = np.rint(level * (tint + (1 - tint) * (level / 255) ** 3)).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(grey, ramp[:, None, :]), np.uint8)


def _stain(image: Image, cover: Field, tint: Colour) -> None:
    """Colour a picture where it is covered, in place."""
    x, y, width, height = cv2.boundingRect((cover > 0).astype(np.uint8))
    there = (slice(y, y + height), slice(x, x + width))
    loss = cover[there][..., None] * (1 - np.asarray(tint, np.float32))
    image[there] = (image[there] * (1 - loss)).astype(np.uint8)


@lru_cache(maxsize=64)
def _plan(
    seed: int, block: int, defect_share: float, defects: int, materials: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Defect class (0 = none) and material of each sample of a block, in even shares."""
    rng = stream(seed, _PLAN, block)
    strata = _BLOCK // _STRATUM
    due = np.floor((block * strata + np.arange(strata + 1)) * _STRATUM * defect_share + 1e-9)
    rank = rng.random((strata, _STRATUM)).argsort(axis=1)
    defective = (rank < np.diff(due)[:, None]).ravel()
    kinds = np.zeros(_BLOCK, np.uint8)
    kinds[defective] = 1 + _shuffled_turns(rng, defects)[: np.count_nonzero(defective)]
    return kinds, _shuffled_turns(rng, materials)


def _shuffled_turns(rng: np.random.Generator, kinds: int) -> NDArray[np.uint8]:
    """All kinds in random order, again and again, for a block."""
    return rng.random((_BLOCK // kinds + 1, kinds)).argsort(axis=1).ravel()[:_BLOCK].astype(np.uint8)
