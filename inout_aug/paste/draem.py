"""The perturbations of DRAEM: three of ten, in random order.

Zavrtanik et al. 2021 (arXiv 2108.07610) take them from imgaug 0.4; these follow its semantics, in units of the image's
own range, so that they hold for 16 bits and one channel too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from inout_aug.paste._colour import Floats, full_scale, to_levels
from inout_aug.sample import Image

_CHOSEN = 3
# Colour spaces: conversion there and back, the channel of brightness, and its value for white.
_BRIGHTNESS_SPACES = (
    (cv2.COLOR_RGB2YCrCb, cv2.COLOR_YCrCb2RGB, 0, 1.0),
    (cv2.COLOR_RGB2YUV, cv2.COLOR_YUV2RGB, 0, 1.0),
    (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB, 2, 1.0),
    (cv2.COLOR_RGB2HLS, cv2.COLOR_HLS2RGB, 1, 1.0),
    (cv2.COLOR_RGB2Lab, cv2.COLOR_Lab2RGB, 0, 100.0),
    (cv2.COLOR_RGB2Luv, cv2.COLOR_Luv2RGB, 0, 100.0),
)
_SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13


def perturb(image: Image, seed: int) -> Image:
    """Apply three distinct ones of the ten perturbations.

    Args:
        image: uint8 or uint16, (H, W, C), C in {1, 3}; left as it is.
        seed: Chooses them, their order and their strengths.

    Returns:
        An image of the same shape and dtype. Hue and saturation leave grey images as they are.

    Example:
        >>> perturb(np.zeros((16, 16, 3), np.uint8), seed=1).shape
        (16, 16, 3)
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    for index in rng.permutation(len(PERTURBATIONS))[:_CHOSEN]:
        image = PERTURBATIONS[index](image, rng)
    return image


def gamma(image: Image, rng: np.random.Generator) -> Image:
    """Raise each channel to a power in [0.5, 2]."""
    powers = rng.uniform(0.5, 2.0, (image.shape[2],))
    return _look_up(image, [_levels(image) ** power for power in powers])


def brightness(image: Image, rng: np.random.Generator) -> Image:
    """Multiply brightness by [0.8, 1.2] and add ±30/255, in either order, in a random colour space."""
    factor, shift, order = rng.uniform(0.8, 1.2), rng.uniform(-30, 30) / 255, rng.random()
    there, back, channel, white = _BRIGHTNESS_SPACES[rng.integers(len(_BRIGHTNESS_SPACES))]
    if order < 0.5:
        shift *= factor
    if image.shape[2] == 1:
        return _look_up(image, [_levels(image) * factor + shift])
    values = cv2.cvtColor(_to_unit(image), there)
    values[..., channel] = np.clip(values[..., channel] * factor + shift * white, 0, white)
    return _from_unit(cast(Floats, cv2.cvtColor(values, back)), image)


def sharpness(image: Image, rng: np.random.Generator) -> Image:
    """Blend with a smoothed copy, or away from it: 0 is smooth, 1 the image, 2 sharper."""
    factor = np.float32(rng.uniform(0.0, 2.0))
    values = _to_unit(image)
    smooth = cv2.filter2D(values, -1, _SMOOTH).reshape(values.shape)
    return _from_unit(smooth + factor * (values - smooth), image)


def hue_and_saturation(image: Image, rng: np.random.Generator) -> Image:
    """Turn the hue by up to ±70° and change the saturation by up to ±50/255."""
    turn, shift = rng.uniform(-50, 50) / 255 * 360, rng.uniform(-50, 50) / 255
    if image.shape[2] == 1:
        return image
    values = cv2.cvtColor(_to_unit(image), cv2.COLOR_RGB2HSV)
    coloured = values[..., 1] > 0
    values[..., 0] = (values[..., 0] + turn) % 360
    values[..., 1] = np.where(coloured, np.clip(values[..., 1] + shift, 0, 1), 0)
    return _from_unit(cast(Floats, cv2.cvtColor(values, cv2.COLOR_HSV2RGB)), image)


def solarize(image: Image, rng: np.random.Generator) -> Image:
    """Invert what is brighter than a threshold in [32, 128]/255, or do nothing, with equal chance."""
    apply, threshold = rng.random() < 0.5, rng.integers(32, 129) / 255
    level = _levels(image)
    return _look_up(image, [np.where(level >= threshold, 1 - level, level)]) if apply else image


def posterize(image: Image, rng: np.random.Generator) -> Image:
    """Keep the highest 1 to 8 bits."""
    dropped = 8 * image.itemsize - int(rng.integers(1, 9))
    return cast(Image, (image >> dropped) << dropped)


def invert(image: Image, rng: np.random.Generator) -> Image:
    """Swap dark and bright."""
    return ~image


def autocontrast(image: Image, rng: np.random.Generator) -> Image:
    """Stretch each channel to the full range, after cutting off up to 20 % of its pixels at either end."""
    cut = rng.uniform(0, 20)
    tables = []
    for channel in np.moveaxis(image, 2, 0):
        low, high = np.percentile(channel, [cut, 100 - cut]) / full_scale(image)
        level = _levels(image)
        tables.append((level - low) / (high - low) if high > low else level)
    return _look_up(image, tables)


def equalize(image: Image, rng: np.random.Generator) -> Image:
    """Flatten the histogram of each channel."""
    tables = []
    for channel in np.moveaxis(image, 2, 0):
        counts = np.bincount(channel.ravel(), minlength=_levels(image).size)
        last = counts[np.flatnonzero(counts)[-1]]
        below = np.cumsum(counts) - counts
        tables.append(below / (channel.size - last) if last < channel.size else _levels(image))
    return _look_up(image, tables)


def rotate(image: Image, rng: np.random.Generator) -> Image:
    """Rotate by up to ±45° about the centre; the corners become black."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), rng.uniform(-45, 45), 1.0)
    return cast(Image, cv2.warpAffine(image, turn, (width, height)).reshape(image.shape))


PERTURBATIONS = (
    gamma,
    brightness,
    sharpness,
    hue_and_saturation,
    solarize,
    posterize,
    invert,
    autocontrast,
    equalize,
    rotate,
)


def _levels(image: Image) -> NDArray[np.float64]:
    """Return every value a pixel can have, in [0, 1]."""
    return np.linspace(0.0, 1.0, full_scale(image) + 1)


def _look_up(image: Image, tables: Iterable[NDArray[np.float64]]) -> Image:
    """Replace values by those of a table in [0, 1] for each channel, or of one table for all."""
    table = to_levels(np.stack(list(tables), axis=1) * full_scale(image), image.dtype)
    channels = np.arange(image.shape[2]) if table.shape[1] > 1 else 0
    return cast(Image, table[image, channels])


def _to_unit(image: Image) -> Floats:
    return image.astype(np.float32) / np.float32(full_scale(image))


def _from_unit(values: Floats, like: Image) -> Image:
    return to_levels(values * full_scale(like), like.dtype)
