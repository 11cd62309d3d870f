"""Copy-paste: the few real defects there are, moved onto normal images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.labels import class_names, find_normal, read_labels
from inout_aug.layout import Layout, declared_layout, infer_layout, with_mask_value
from inout_aug.paste._colour import Floats, full_scale, to_levels, with_channels
from inout_aug.paste._options import as_defect_class, as_range, digest, log_uniform
from inout_aug.plugin import HostRefused
from inout_aug.sample import Image, Mask, Params, Sample, check_image

_MARGIN = 6  # pixels of surroundings that are looked at
_LEAST_SURROUNDINGS = 8  # pixels
_GRID = 24  # per side, on which surroundings are smoothed
_REACH = 0.5  # of the shorter side
_JOIN = 5  # pixels; parts nearer than that are one defect


class CopyPaste:
    """Moves real defects onto normal images, turned, resized, and made stronger or weaker.

    After Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR 2021,
    with what inspection needs: a defect is taken as its difference to its surroundings, and given to the surroundings
    that it comes to, so that neither another brightness nor a slope in it leaves an edge. What is painted is of the
    product's own defects, so its distribution is "in": with `MemSegPaste()` it makes an In&Out mix that takes no
    training, for few real defects.

    Args:
        samples: Real defects: pairs of an image, uint8 or uint16 (H, W, C), and its mask, (H, W), non-zero inside; or
            `Sample`s. Of hosts' scale, as they are not resized but for `scale`.
        scale: Magnification, log-uniform. A defect that would not fit into a host is made smaller.
        angle: Rotation in degrees.
        mirror: Whether to mirror along either axis, at random.
        strength: Factor of the difference to the surroundings, log-uniform. Below 1, copies of faint defects can no
            longer be seen, and teach a network that nothing is a defect.
        defect_class: Value of the mask inside.

    Attributes:
        defects: Number of separate defects that were found.

    Raises:
        ValueError: There is no defect, or none whose surroundings can be seen; or a range is empty or out of bounds.

    Example:
        >>> image = np.full((64, 64, 1), 200, np.uint8)
        >>> mask = np.zeros((64, 64), np.uint8)
        >>> image[20:30, 40:44], mask[20:30, 40:44] = 150, 1
        >>> paster = CopyPaste([(image, mask)], strength=1)
        >>> host = np.full((48, 96, 1), 100, np.uint8)  # darker by half
        >>> painted, where = paster.apply(host, paster.make_params(host, np.random.default_rng(0)))
        >>> int(painted.min()), bool((painted[where == 0] == 100).all())
        (50, True)
    """

    distribution = "in"

    def __init__(
        self,
        samples: Iterable[Sample | tuple[Image, Mask]],
        *,
        scale: float | tuple[float, float] = (0.8, 1.6),
        angle: float | tuple[float, float] = (-180.0, 180.0),
        mirror: bool = True,
        strength: float | tuple[float, float] = (1.0, 2.0),
        defect_class: int = 1,
    ) -> None:
        self.scale = as_range("scale", scale, low=0.05, high=20)
        self.angle = as_range("angle", angle, low=-360, high=360)
        self.mirror = bool(mirror)
        self.strength = as_range("strength", strength, low=0.05, high=20)
        self.defect_class = as_defect_class(defect_class)
        pairs = [_checked(number, each) for number, each in enumerate(samples)]
        self._defects = tuple(defect for image, mask in pairs for defect in _defects(image, mask))
        if not self._defects:
            raise ValueError(
                f"there is no defect to copy in {len(pairs)} samples: each needs a mask that is not empty, and some "
                "normal surface around it. Pass defective samples with their masks"
            )

    @classmethod
    def from_dataset(
        cls,
        dataset: Any,
        *,
        layout: Layout | None = None,
        normal_label: int | str | None = None,
        **options: Any,
    ) -> Self:
        """Copy the defects of a map-style dataset: those of the training set that is to be wrapped, never of a test.

        Args:
            dataset: As `InOutAugment` takes it; its items have masks.
            layout: How items are read, where it cannot be told.
            normal_label: As for `InOutAugment`.
            options: Of the constructor.

        Raises:
            ValueError: No item has a mask that is not empty.

        Example:
            >>> from inout_aug.datasets import Surfaces
            >>> CopyPaste.from_dataset(Surfaces(40, size=(64, 64), binary=True)).defects
            4
        """
        known = layout or declared_layout(dataset) or infer_layout(dataset[0])
        labels = read_labels(dataset, known, None)
        normal = find_normal(class_names(dataset, known), normal_label)
        items = [dataset[index] for index in np.flatnonzero(labels != normal).tolist()]
        known = known if layout is not None else with_mask_value(known, items)
        return cls((known.unpack(item) for item in items), **options)

    @property
    def defects(self) -> int:
        """Number of separate defects."""
        return len(self._defects)

    def __repr__(self) -> str:
        names = ("scale", "angle", "mirror", "strength", "defect_class")
        content = digest(part for defect in self._defects for part in (defect.change, defect.inside))
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"CopyPaste(<{self.defects} defects, {content}>, {shown})"

    def make_params(self, image: Image, rng: np.random.Generator) -> Params:
        """Draw which defect, how it is mirrored, turned, resized and strengthened, and its box's corner (y, x)."""
        check_image(image)
        index = int(rng.integers(self.defects))
        mirrored = (rng.random(2) < 0.5).tolist() if self.mirror else [False, False]
        angle, scale = rng.uniform(*self.angle), log_uniform(rng, self.scale)
        size = np.array(_extent(self._defects[index].inside.shape, angle, scale))
        if (largest := float((np.array(image.shape[:2]) / size).min())) < 1:
            scale *= 0.99 * largest  # a box is rounded up
            size = np.array(_extent(self._defects[index].inside.shape, angle, scale))
        room = np.maximum(np.array(image.shape[:2]) - size, 0)
        return {
            "defect": index,
            "mirror": mirrored,
            "angle": angle,
            "scale": scale,
            "strength": log_uniform(rng, self.strength),
            "to": rng.integers(0, room + 1).tolist(),
        }

    def apply(self, image: Image, params: Params) -> tuple[Image, Mask]:
        """Give the defect's difference to its surroundings to the host's; the mask is the defect's, moved along.

        Raises:
            HostRefused: The defect would not show: the host is as dark or as bright as it can be there.
            ValueError: The parameters name a defect that is not there.
        """
        check_image(image)
        if not 0 <= params["defect"] < self.defects:
            raise ValueError(f"the parameters name defect {params['defect']}, but there are {self.defects}")
        change, inside = _moved(self._defects[params["defect"]], params)
        top, left = params["to"]
        target = np.s_[top : top + inside.shape[0], left : left + inside.shape[1]]
        host = image[target]
        change, inside = _like(change[: host.shape[0], : host.shape[1]], host), inside[: host.shape[0], : host.shape[1]]
        fade = cv2.GaussianBlur(inside.astype(np.float32), (3, 3), 0)[inside][:, None]
        around = _surroundings(host.astype(np.float32), inside)[inside]
        before = host[inside]
        wanted = around + np.float32(params["strength"]) * change[inside]
        new = to_levels(before + fade * (wanted - before), image.dtype)
        if np.array_equal(new, before):
            raise HostRefused("the defect looks like what it covers: the host has no room for its brightness there")
        out, mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
        out[target][inside], mask[target][inside] = new, self.defect_class
        return out, mask


@dataclass(frozen=True, slots=True, eq=False)
class _Defect:
    """A real defect: its difference to its surroundings, (h, w, C), 1 = full scale, and where it is, (h, w)."""

    change: Floats
    inside: NDArray[np.bool_]


def _checked(number: int, each: Sample | tuple[Image, Mask]) -> tuple[Image, Mask]:
    image, mask = (each.image, each.mask) if isinstance(each, Sample) else each
    check_image(image)
    if mask is None or mask.shape != image.shape[:2]:
        got = "none" if mask is None else f"one of {mask.shape} for an image of {image.shape[:2]}"
        raise ValueError(f"a defect to copy needs its mask, of its image's size; sample {number} has {got}")
    return image, mask


def _defects(image: Image, mask: Mask) -> Iterator[_Defect]:
    """Yield the separate defects of an image."""
    kernel = np.ones((_JOIN, _JOIN), np.uint8)
    number, parts = cv2.connectedComponents(cv2.dilate((mask > 0).astype(np.uint8), kernel))
    scaled = image.astype(np.float32) / np.float32(full_scale(image))
    for part in range(1, number):
        rows, columns = np.nonzero((parts == part) & (mask > 0))
        box = np.s_[
            max(0, rows.min() - _MARGIN) : rows.max() + _MARGIN + 1,
            max(0, columns.min() - _MARGIN) : columns.max() + _MARGIN + 1,
        ]
        inside, others = (parts[box] == part) & (mask[box] > 0), mask[box] > 0
        if np.count_nonzero(~others) >= _LEAST_SURROUNDINGS:
            change = scaled[box] - _surroundings(scaled[box], others)
            yield _Defect(np.where(inside[..., None], change, np.float32(0)), inside)


def _surroundings(values: Floats, hidden: NDArray[np.bool_]) -> Floats:
    """Return what values (h, w, C) smoothly go on as where they are hidden: a mean of those seen, nearer ones first.

    It is taken on a coarse grid, where a wide Gaussian costs little.
    """
    height, width, channels = values.shape
    if hidden.all():
        return np.broadcast_to(values.mean(axis=(0, 1)), values.shape)
    step = max(1.0, max(height, width) / _GRID)
    coarse = max(1, round(width / step)), max(1, round(height / step))
    seen = (~hidden).astype(np.float32)
    sigma = max(1.0, _REACH * min(height, width) / step)
    known = np.concatenate([values * seen[..., None], seen[..., None]], axis=2)
    shrunk = cv2.resize(known, coarse, interpolation=cv2.INTER_AREA).reshape(coarse[1], coarse[0], channels + 1)
    # the constant reaches where the Gaussian is too narrow
    smooth = cv2.GaussianBlur(shrunk, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE) + 1e-4 * shrunk.mean(axis=(0, 1))
    level = smooth[..., :channels] / smooth[..., channels:]
    full: Floats = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
    return full.reshape(values.shape)


def _moved(defect: _Defect, params: Params) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the difference, (h, w, C), and where it is, (h, w), in the upright box that the turned defect needs."""
    height, width = defect.inside.shape
    rows, columns = (slice(None, None, -1 if flip else 1) for flip in params["mirror"])
    high, wide = _extent((height, width), params["angle"], params["scale"])
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), params["angle"], params["scale"])
    turn[:, 2] += (wide - width) / 2, (high - height) / 2
    change = np.ascontiguousarray(defect.change[rows, columns])
    inside = np.ascontiguousarray(defect.inside[rows, columns].view(np.uint8))
    moved = cv2.warpAffine(change, turn, (wide, high), flags=cv2.INTER_LINEAR).reshape(high, wide, -1)
    mask = cv2.warpAffine(inside, turn, (wide, high), flags=cv2.INTER_NEAREST) > 0
    if not mask.any():  # made so small that no pixel's centre is in it
        mask[high // 2, wide // 2] = True
        moved[high // 2, wide // 2] = change[inside > 0].mean(axis=0)
    return moved.astype(np.float32, copy=False), mask


def _extent(size: tuple[int, ...], angle: float, scale: float) -> tuple[int, int]:
    """Return height and width of the upright box around a turned and resized one."""
    cos, sin = abs(math.cos(math.radians(angle))) * scale, abs(math.sin(math.radians(angle))) * scale
    return math.ceil(size[0] * cos + size[1] * sin - 1e-9), math.ceil(size[0] * sin + size[1] * cos - 1e-9)


def _like(change: Floats, host: Image) -> Floats:
    """Return a difference in the host's number of channels and units."""
    return with_channels(change, host.shape[2]) * np.float32(full_scale(host))
