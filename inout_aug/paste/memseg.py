"""MemSeg's anomaly simulation: noise-shaped defects of texture, or of the host's own structure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from inout_aug.paste._blend import blend, fade_in
from inout_aug.paste._options import as_defect_class, as_number, as_range
from inout_aug.paste._perturb import Perturb, check_perturb, draw_perturbation
from inout_aug.paste.foreground import Foreground, find_foreground
from inout_aug.paste.perlin import Field, Floats, Perlin
from inout_aug.paste.source import draw_structure, draw_texture, structure_at, texture_at, tint
from inout_aug.paste.textures import Fit, Textures, TextureSource, check_fit
from inout_aug.sample import Image, Mask, Params, check_image

Range: TypeAlias = float | tuple[float, float]
Preset: TypeAlias = Literal["memseg", "draem", "faithful"]

_ATTEMPTS = 4
_LEAST_CELL = 4  # pixels


class Options(TypedDict, total=False):
    """What `MemSegPaste` takes by keyword; see there."""

    field: Field
    cells: int | tuple[int, int]
    angle: Range
    threshold: float
    opacity: Range
    p_texture: float
    texture_fit: Fit
    grid: tuple[int, int]
    perturb: Perturb
    perturb_texture: bool
    foreground: Foreground | None
    min_area: int | None
    max_area_fraction: float
    min_contrast: float
    feather: float
    defect_class: int


PRESETS: dict[Preset, Options] = {
    # the paper, with what it leaves open chosen for images of any size
    "memseg": Options(
        field=Perlin(),
        cells=(1, 32),
        angle=(-90.0, 90.0),
        threshold=0.5,
        opacity=(0.15, 1.0),
        p_texture=0.5,
        texture_fit="cover",
        grid=(4, 8),
        perturb="memseg",
        perturb_texture=False,
        foreground=None,
        min_area=None,
        max_area_fraction=0.5,
        min_contrast=2.0,
        feather=0.0,
        defect_class=1,
    ),
    # DRAEM: always a texture, perturbed (arXiv 2108.07610 §3.2)
    "draem": Options(opacity=(0.2, 1.0), p_texture=1.0, perturb="draem", perturb_texture=True),
    # the public MemSeg code, but for its empty masks
    "faithful": Options(
        field=Perlin(zero_corners=True),
        texture_fit="stretch",
        grid=(8, 8),
        perturb="draem",
        min_area=1,
        max_area_fraction=1.0,
        min_contrast=0.0,
    ),
}


class MemSegPaste:
    """Paints blobs of noise with a texture, or with the host itself turned, recoloured and shuffled.

    The anomaly simulation of MemSeg (Yang et al. 2022, arXiv 2205.00908, section 3.2). A noise field above `threshold`,
    inside the foreground, is the mask M; with the anomaly source S and the opacity δ a host I becomes
    `(1 - M) * I + M * (δ * S + (1 - δ) * I)`. Only the pixels in M are computed, and all others equal the host's.

    A mask is never empty: if the field is too low or too high, up to three others are drawn, and then the last one's
    highest pixels are taken. A host that is grey stays grey, in one channel or three.

    Args:
        textures: A folder of pictures, a list of arrays, or `Textures`; None to paint structure only.
        preset: What the options below are if not given: "memseg" for the values named with them; "draem" for a texture
            each time, perturbed, with opacity (0.2, 1); "faithful" for the settings of the public MemSeg code: noise
            rotated with empty corners, stretched textures, an 8×8 grid, the perturbations of DRAEM, and no least
            contrast.
        field: The noise: `Perlin()` or `Simplex()`.
        cells: (1, 32). Noise cells per axis, a power of two in this range; no more than have 4 pixels each.
        angle: (-90, 90). Rotation of the noise in degrees.
        threshold: 0.5. Lower makes larger defects.
        opacity: (0.15, 1). δ.
        p_texture: 0.5. How often the source is a texture, where there are any.
        texture_fit: "cover" for a random crop at one scale, or "stretch" to the host's size.
        grid: (4, 8). Cells of the shuffled structure; the larger number goes along the host's longer side.
        perturb: Of the structure, before shuffling: "memseg" for mirroring, rotation, brightness, saturation and hue;
            "draem" for three of the ten perturbations of DRAEM; "none"; or an albumentations transform.
        perturb_texture: False. Whether textures are perturbed too.
        foreground: Where defects may lie: `Threshold`, `Otsu`, `HostMasks`, or any callable from an image to a mask;
            None for everywhere.
        min_area: Smallest area of a mask in pixels; None for the larger of 16 and a 10,000th of the image.
        max_area_fraction: 0.5. Largest area of a mask as a share of the image.
        min_contrast: 2. Least difference that the paste makes to the mean value inside the mask, in standard deviations
            of the host's noise, taken as 1 to 5 % of full scale. A fainter one, as the structure of an even surface
            gives, is made brighter or darker; 0 leaves it.
        feather: 0. Over how many pixels, inwards from the mask's edge, the paste fades in.
        defect_class: 1. Value of the mask inside.

    Raises:
        FileNotFoundError: No texture was found.
        TypeError: An option is not known, or of the wrong kind.
        ValueError: An option is out of range.

    Example:
        >>> paster = MemSegPaste()
        >>> host = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
        >>> image, mask = paster.apply(host, paster.make_params(host, np.random.default_rng(1)))
        >>> bool((image == host)[mask == 0].all()), bool((image == host)[mask == 1].all())
        (True, False)
    """

    def __init__(
        self,
        textures: TextureSource | Textures | None = None,
        *,
        preset: Preset = "memseg",
        **options: Unpack[Options],
    ) -> None:
        if preset not in PRESETS:
            raise ValueError(f"preset is one of {tuple(PRESETS)}; got {preset!r}")
        if unknown := options.keys() - PRESETS["memseg"].keys():
            raise TypeError(f"MemSegPaste has no option {sorted(unknown)}; it has {list(PRESETS['memseg'])}")
        chosen = PRESETS["memseg"] | PRESETS[preset] | options
        self.textures = textures if textures is None or isinstance(textures, Textures) else Textures(textures)
        self.field = chosen["field"]
        self.cells = as_powers(chosen["cells"])
        self.angle = as_range("angle", chosen["angle"], low=-360, high=360)
        self.threshold = as_number("threshold", chosen["threshold"], low=-1e3, high=1e3)
        self.opacity = as_range("opacity", chosen["opacity"], low=0.01, high=1)
        self.p_texture = as_number("p_texture", chosen["p_texture"], low=0, high=1)
        self.texture_fit = check_fit(chosen["texture_fit"])
        self.grid = as_grid(chosen["grid"])
        self.perturb = check_perturb(chosen["perturb"])
        self.perturb_texture = chosen["perturb_texture"]
        self.foreground = chosen["foreground"]
        self.min_area = _as_area(chosen["min_area"])
        self.max_area_fraction = as_number("max_area_fraction", chosen["max_area_fraction"], low=0, high=1)
        self.min_contrast = as_number("min_contrast", chosen["min_contrast"], low=0, high=1e3)
        self.feather = as_number("feather", chosen["feather"], low=0, high=1e4)
        self.defect_class = as_defect_class(chosen["defect_class"])
        if self.foreground is not None and not callable(self.foreground):
            kind = type(self.foreground).__name__
            raise TypeError(f"foreground is a callable from an image to its mask, or None; got {kind}. See HostMasks")
        if self.textures is None and self.p_texture == 1:
            raise ValueError("p_texture=1 paints textures only, but none are given: pass a folder or a list of arrays")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_describe(value)}" for name, value in vars(self).items())
        return f"MemSegPaste({shown})"

    def make_params(self, image: Image, rng: np.random.Generator) -> Params:
        """Draw one paste for a host.

        Args:
            image: uint8 or uint16, (H, W, C).
            rng: The only source of randomness.

        Returns:
            The mask's cells, angle and seed, the opacity, and what describes the source.

        Raises:
            TypeError: The image has another dtype.
            ValueError: The image has another shape, or no texture can be read.
        """
        check_image(image)
        params: Params = {
            "cells": [_draw_cells(side, self.cells, rng) for side in image.shape[:2]],
            "angle": rng.uniform(*self.angle),
            "seed": int(rng.integers(2**32)),
            "opacity": rng.uniform(*self.opacity),
        }
        if self.textures is not None and rng.random() < self.p_texture:
            params |= draw_texture(image, rng, self.textures, self.texture_fit)
        else:
            params |= draw_structure(image, rng, self.grid)
        if params["source"] == "structure" or self.perturb_texture:
            params |= draw_perturbation(self.perturb, rng)
        return params

    def apply(self, image: Image, params: Params) -> tuple[Image, Mask]:
        """Paint; pure.

        Args:
            image: uint8 or uint16, (H, W, C); left as it is.
            params: From `make_params`.

        Returns:
            The painted image, of the host's shape and dtype, and its mask, uint8 (H, W), `defect_class` inside.

        Raises:
            HostRefused: The paste would leave the host as it is, which takes a `min_contrast` near 0.
            TypeError: The image has another dtype.
            ValueError: The image has another shape, or the parameters name a texture that is not there.
        """
        check_image(image)
        image = cast(Image, np.ascontiguousarray(image))  # OpenCV reads no flipped views
        mask, where = self._mask(image, params)
        painted = image.copy()
        pixels = painted.reshape(-1, image.shape[2])
        host = cast(Image, np.take(pixels, where, axis=0))
        new = blend(
            host,
            self._source(where, image, host, params),
            params["opacity"],
            fade=fade_in(mask, self.feather).reshape(-1, 1)[where] if self.feather else None,
            host=image,
            min_contrast=self.min_contrast,
        )
        for channel in range(image.shape[2]):  # twice as fast as all at once
            pixels[where, channel] = new[:, channel]
        return painted, mask.view(np.uint8) if self.defect_class == 1 else mask * np.uint8(self.defect_class)

    def _mask(self, image: Image, params: Params) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Return the mask, (H, W), and flat indices of its pixels."""
        height, width = image.shape[:2]
        inside = find_foreground(self.foreground, image)
        room = height * width if inside is None else int(np.count_nonzero(inside))
        least = max(16, round(1e-4 * height * width)) if self.min_area is None else self.min_area
        most = max(least, int(self.max_area_fraction * height * width))
        for attempt in range(_ATTEMPTS):
            seed = params["seed"] + attempt
            field = self.field(height, width, cells=tuple(params["cells"]), angle=params["angle"], seed=seed)
            mask: NDArray[np.bool_] = field > self.threshold
            if inside is not None:
                mask &= inside
            where = np.flatnonzero(mask)
            if min(least, room) <= len(where) <= most:
                return mask, where
        mask = _highest(field, inside, min(least if len(where) < least else most, room))
        return mask, np.flatnonzero(mask)

    def _source(self, where: NDArray[np.intp], image: Image, host: Image, params: Params) -> Image:
        if params["source"] == "structure":
            colours = structure_at(where, image, params, self.perturb)
        elif self.textures is not None:
            colours = texture_at(where, image, params, self.perturb, self.textures, self.texture_fit)
        else:
            raise ValueError("the parameters name a texture, but this MemSegPaste has none: pass textures=")
        return tint(colours, params, image, host)


def _draw_cells(side: int, cells: tuple[int, int], rng: np.random.Generator) -> int:
    """Draw a power of two, but no more cells than have four pixels each."""
    most = max(1, min(cells[1], side // _LEAST_CELL)).bit_length()
    return 1 << int(rng.integers(min(cells[0].bit_length(), most) - 1, most))


def _highest(field: Floats, inside: NDArray[np.bool_] | None, count: int) -> NDArray[np.bool_]:
    """Return the mask of exactly `count` highest values of a field, the first of equals."""
    values = field.ravel() if inside is None else np.where(inside, field, -np.inf).ravel()
    level = np.partition(values, values.size - count)[values.size - count]
    mask: NDArray[np.bool_] = values > level
    mask[np.flatnonzero(values == level)[: count - np.count_nonzero(mask)]] = True
    return mask.reshape(field.shape)


def as_powers(cells: int | Sequence[int]) -> tuple[int, int]:
    """Return a range of numbers of cells.

    Raises:
        ValueError: Not one or two powers of two in ascending order.
    """
    low, high = (cells, cells) if isinstance(cells, int) else cells
    if not 1 <= low <= high or low & (low - 1) or high & (high - 1):
        raise ValueError(f"cells is a power of two, or (fewest, most), both powers of two; got {cells!r}")
    return low, high


def as_grid(grid: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of a grid of cells.

    Raises:
        ValueError: Not two numbers, or there is nothing to shuffle.
    """
    if len(grid) != 2 or min(grid) < 1 or grid[0] * grid[1] < 2:
        raise ValueError(f"grid is two numbers of cells, together at least 2; got {grid!r}")
    return int(grid[0]), int(grid[1])


def _as_area(pixels: int | None) -> int | None:
    if pixels is None:
        return None
    if not isinstance(pixels, int | np.integer) or pixels < 1:
        raise ValueError(f"min_area is a number of pixels, at least 1, or None; got {pixels!r}")
    return int(pixels)


def _describe(value: object) -> str:
    """Return what a setting is, without memory addresses: the paster is fingerprinted by its repr."""
    if type(value).__repr__ is object.__repr__:
        return f"{type(value).__qualname__}({getattr(value, '__dict__', {})})"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
