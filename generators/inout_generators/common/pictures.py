"""Training pictures of one product: windows of its good and of its defective images, class by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.datasets._files import fit_image, fit_mask
from inout_aug.sample import MIN_SIDE, Image, Mask, Sample

Symmetry: TypeAlias = Literal["none", "horizontal", "vertical", "flips", "turns"]
SYMMETRIES: tuple[Symmetry, ...] = ("none", "horizontal", "vertical", "flips", "turns")

# a defect that is enlarged more is blur
_MOST_ENLARGED = 2.0
# parts of a defect that are as near to each other as this share of the window are one
_GROUPED = 1 / 16
# around a whole defect, as a share of the window
_MARGIN = 1 / 16
_TRIES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """How training pictures are cut.

    Attributes:
        size: Height and width of the pictures that the nets see.
        crop: True: windows of the image as it is, so that five pixels stay five pixels. False: the whole image, scaled
            until it just covers `size`; what then sticks out along one axis is cut off, so that nothing is distorted.
        symmetry: What leaves the product as it is: nothing, a left-right flip, an upside-down flip, both, or quarter
            turns too. Only pictures that could be real ones are shown.
        shift: Most that a whole image is shifted, as a share of its sides; its edge is mirrored there.
        background: Share of pictures without a defect, from good images if there are any, else beside the defects.

    Raises:
        ValueError: A value is out of its range.
    """

    size: tuple[int, int]
    crop: bool = True
    symmetry: Symmetry = "flips"
    shift: float = 0.05
    background: float = 0.15

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(isinstance(n, int) and n >= MIN_SIDE for n in self.size):
            raise ValueError(f"size is (height, width), each at least {MIN_SIDE} pixels; got {self.size}")
        if self.symmetry not in SYMMETRIES:
            raise ValueError(f"symmetry is one of {', '.join(SYMMETRIES)}; got {self.symmetry!r}")
        if not 0 <= self.shift <= 0.25 or not 0 <= self.background < 1:
            raise ValueError(f"shift is in [0, 0.25] and background in [0, 1); got {self.shift} and {self.background}")
        if self.symmetry == "turns" and not self.crop and self.size[0] != self.size[1]:
            raise ValueError(
                f"whole images of {self.size} cannot be turned by 90 degrees: give symmetry flips, or crop"
            )


class Pictures:
    """What there is to see of one product: its good images, and those of each class of defect.

    A picture of a defect is drawn in three steps, each of them even: the sample, half of the time among all of the
    class, else by a uniform draw over the logarithm of the defect's area, so that the small and the large ones are
    seen as often as those of common size; the defect in that sample, whatever its area; and a window that has all of
    the defect in it where it fits, else half a window or more around one of its pixels.

    Args:
        samples: Defective ones, with masks of the ids 1, 2, …; none for a product that is known by its good ones only.
        classes: Names of these ids.
        windows: How pictures are cut.
        normal: Good samples.

    Raises:
        ValueError: No sample at all; an empty mask, a mask without a name for its ids, or a class without a sample;
            images of several dtypes or numbers of channels; a size that an image cannot give.

    Example:
        >>> good = Sample(np.full((64, 96, 1), 90, np.uint8))
        >>> pictures = Pictures((), (), Windows(size=(32, 32)), normal=[good])
        >>> image, mask = pictures.show(0, np.random.default_rng(0))
        >>> image.shape, mask.any()
        ((32, 32, 1), np.False_)
    """

    def __init__(
        self, samples: Sequence[Sample], classes: Sequence[str], windows: Windows, *, normal: Iterable[Sample] = ()
    ) -> None:
        self.classes, self.windows = tuple(classes), windows
        good = list(normal)
        if not samples and not good:
            raise ValueError("no image: there is nothing to learn from")
        _check_masks(samples, self.classes)
        _check_alike([*samples, *good])
        self._shots = [
            _Shot(*_scaled(sample, windows, f"defective image {k}"), windows) for k, sample in enumerate(samples)
        ]
        self._good = [_scaled(sample, windows, f"good image {k}")[0] for k, sample in enumerate(good)]
        self._members = {
            k: [shot for shot in self._shots if k in shot.defects] for k in range(1, len(self.classes) + 1)
        }
        self._shares = {k: _even_shares([shot.area(k) for shot in shots]) for k, shots in self._members.items()}

    @property
    def _any(self) -> Image:
        return self._good[0] if self._good else self._shots[0].image

    @property
    def channels(self) -> int:
        """Of the images: 1 or 3."""
        return int(self._any.shape[2])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images: uint8 or uint16."""
        return self._any.dtype

    @property
    def good(self) -> int:
        """Number of good samples."""
        return len(self._good)

    def describe(self) -> dict[str, Any]:
        """Return what there is, as JSON-able values: samples and defect areas by class, good images, sizes."""
        return {
            "classes": list(self.classes),
            "images": len(self._shots),
            "good_images": self.good,
            "areas": {self.classes[k - 1]: [shot.area(k) for shot in shots] for k, shots in self._members.items()},
            "dtype": str(self.dtype),
            "channels": self.channels,
        }

    def show(self, defect_class: int, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Return a picture of a class, and its mask.

        Args:
            defect_class: 0 for a window without any defect, from good images if there are any, else beside the defects;
                where no such window is found, the mask is not empty.
            rng: The only source of randomness.
        """
        flip_rows, flip_columns, turned = _orientation(self.windows.symmetry, rng)
        size = self.windows.size[::-1] if turned else self.windows.size
        image, mask = self._defect(defect_class, size, rng) if defect_class else self._background(size, rng)
        steps = slice(None, None, -1 if flip_rows else 1), slice(None, None, -1 if flip_columns else 1)
        image, mask = image[steps], mask[steps]
        return (image.swapaxes(0, 1), mask.T) if turned else (image, mask)

    def _background(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[Image, Mask]:
        if self._good:
            image = self._good[rng.integers(len(self._good))]
            there = _window(_anywhere(image, size, rng), size)
            return image[there], np.zeros(size, np.uint8)
        for _ in range(_TRIES):
            shot = self._shots[rng.integers(len(self._shots))]
            there = _window(_anywhere(shot.image, size, rng), size)
            if not shot.mask[there].any():
                break
        return shot.image[there], shot.mask[there]

    def _defect(self, k: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[Image, Mask]:
        shot = self._members[k][rng.choice(len(self._members[k]), p=self._shares[k])]
        pixels = shot.defects[k][rng.integers(len(shot.defects[k]))]
        pixel = pixels[rng.integers(len(pixels))]
        ends = pixels.min(0), pixels.max(0) + 1
        corner = tuple(
            _place(int(ends[0][a]), int(ends[1][a]), int(pixel[a]), size[a], shot.mask.shape[a], rng) for a in (0, 1)
        )
        there = _window(cast(tuple[int, int], corner), size)
        return shot.image[there], shot.mask[there]


class _Shot:
    """A defective sample at the scale it is shown, and where its defects are.

    Attributes:
        image: (H, W, C).
        mask: (H, W).
        defects: For each class in the mask its defects, each as the rows and columns of its pixels, int (n, 2).
    """

    def __init__(self, image: Image, mask: Mask, windows: Windows) -> None:
        self.image, self.mask = image, mask
        reach = 1 + 2 * round(min(windows.size) * _GROUPED / 2)
        self.defects: dict[int, list[NDArray[np.int64]]] = {}
        for k in np.unique(mask[mask > 0]).tolist():
            grown = cv2.dilate((mask == k).astype(np.uint8), np.ones((reach, reach), np.uint8))
            count, groups = cv2.connectedComponents(grown)
            pixels = np.argwhere(mask == k)
            group = groups[mask == k]
            self.defects[k] = [pixels[group == g] for g in range(1, count)]

    def area(self, k: int) -> int:
        """Return how many pixels a class has."""
        return sum(map(len, self.defects[k]))


def _check_masks(samples: Sequence[Sample], classes: tuple[str, ...]) -> None:
    seen: Counter[int] = Counter()
    for k, sample in enumerate(samples):
        if sample.mask is None or not sample.mask.any():
            raise ValueError(
                f"defective image {k} has {'no' if sample.mask is None else 'an empty'} mask: leave it out, or "
                "draw the defect"
            )
        ids = np.unique(sample.mask[sample.mask > 0]).tolist()
        if ids[-1] > len(classes):
            raise ValueError(
                f"the mask of defective image {k} holds {ids[-1]}; the classes {', '.join(classes) or '(none)'} have "
                f"the ids 1 to {len(classes)}. Name every class, or map the mask's values to ids"
            )
        seen.update(ids)
    missing = [name for k, name in enumerate(classes, start=1) if k not in seen]
    if missing:
        raise ValueError(
            f"no defective image shows {', '.join(missing)}. Add some, or train on the classes that are there: "
            f"{','.join(name for name in classes if name not in missing)}"
        )


def _check_alike(samples: Sequence[Sample]) -> None:
    kinds = sorted({f"{sample.image.dtype} with {sample.image.shape[2]} channels" for sample in samples})
    if len(kinds) > 1:
        raise ValueError(f"all images have one dtype and number of channels; got {' and '.join(kinds)}. Convert some")


def _scaled(sample: Sample, windows: Windows, name: str) -> tuple[Image, Mask]:
    """Return image and mask as large as they are shown, a whole image with a mirrored edge to shift it by."""
    image = sample.image
    mask = np.zeros(sample.size, np.uint8) if sample.mask is None else sample.mask
    height, width = windows.size
    scale = max(height / sample.size[0], width / sample.size[1])
    if windows.crop:
        turned = windows.symmetry == "turns"
        if scale > 1 or (turned and max(width / sample.size[0], height / sample.size[1]) > 1):
            raise ValueError(
                f"{name} is {_by(sample.size)}, smaller than a crop of {_by(windows.size)}. Choose a smaller --size, "
                "or --whole, or leave the image out"
            )
        return image, mask
    if scale > _MOST_ENLARGED:
        raise ValueError(
            f"{name} is {_by(sample.size)} and would be enlarged {scale:.2g} times to {_by(windows.size)}; at most "
            f"{_MOST_ENLARGED:g} is sensible. Choose a smaller --size"
        )
    size = max(height, round(sample.size[0] * scale)), max(width, round(sample.size[1] * scale))
    image, mask = fit_image(image, size), fit_mask(mask, size)
    rows, columns = round(windows.shift * height), round(windows.shift * width)
    edge = (rows, rows), (columns, columns)
    return cast(Image, np.pad(image, (*edge, (0, 0)), "reflect")), np.pad(mask, edge, "reflect")


def _even_shares(areas: Sequence[int]) -> NDArray[np.float64]:
    """Return how often each of the samples is drawn: half evenly, half evenly over the logarithm of their areas."""
    logs = np.log(areas)
    order = logs.argsort(kind="stable")
    ordered = logs[order]
    # each sample stands for the stretch that is nearest to it
    bounds = np.concatenate([ordered[:1], (ordered[1:] + ordered[:-1]) / 2, ordered[-1:]])
    stretch = np.empty(len(areas))
    stretch[order] = np.diff(bounds)
    even = np.full(len(areas), 1 / len(areas))
    return even if not stretch.any() else (even + stretch / stretch.sum()) / 2


def _orientation(symmetry: Symmetry, rng: np.random.Generator) -> tuple[bool, bool, bool]:
    """Draw whether to flip rows, to flip columns, and to transpose; together these are the turns too."""
    flips = rng.random(3) < 0.5
    return (
        bool(flips[0]) and symmetry in ("vertical", "flips", "turns"),
        bool(flips[1]) and symmetry in ("horizontal", "flips", "turns"),
        bool(flips[2]) and symmetry == "turns",
    )


def _place(start: int, stop: int, pixel: int, size: int, length: int, rng: np.random.Generator) -> int:
    """Draw where a window begins along one axis.

    Args:
        start: Of the defect.
        stop: Of the defect.
        pixel: One of the defect's.
        size: Of the window.
        length: Of the image.
        rng: The source of randomness.
    """
    margin = round(size * _MARGIN)
    if stop - start + 2 * margin <= size:
        low, high = stop + margin - size, start - margin
    else:
        low, high = pixel - size + size // 4, pixel - size // 4
    room = length - size
    return int(rng.integers(min(max(low, 0), room), min(max(high, 0), room) + 1))


def _anywhere(image: Image, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(image.shape[0] - size[0] + 1)), int(rng.integers(image.shape[1] - size[1] + 1))


def _window(corner: tuple[int, int], size: tuple[int, int]) -> tuple[slice, slice]:
    return slice(corner[0], corner[0] + size[0]), slice(corner[1], corner[1] + size[1])


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
