"""How a source is changed before it is painted: MemSeg's list, DRAEM's, or another library's transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from inout_aug.integrations._seeded import SeededTransform
from inout_aug.paste import draem
from inout_aug.sample import Image, Params

_SEEDS = 2**32


# a transform of albumentations 2.0, torchvision v2 or kornia
Transform: TypeAlias = Callable[..., Any]
Perturb: TypeAlias = Literal["memseg", "draem", "none"] | Transform

# MemSeg's paper names the five changes without their strengths: these are DRAEM's for the same changes.
_ROTATION = 45.0  # degrees
_GAIN = (0.8, 1.2)
_SHIFT = 30 / 255
_SATURATION = (0.5, 1.5)
_HUE = 70.0  # degrees


def check_perturb(perturb: object) -> Any:
    """Return `perturb`.

    Raises:
        TypeError: It is neither a name nor a transform of a known library.
        ValueError: It is not a known name.
    """
    if not isinstance(perturb, str):
        try:
            SeededTransform(perturb)  # type: ignore[arg-type]  # which it tells
        except TypeError as error:
            raise TypeError(f'perturb is "memseg", "draem", "none" or a transform: {error}') from error
    elif perturb not in ("memseg", "draem", "none"):
        raise ValueError(f'perturb is "memseg", "draem", "none" or a transform; got {perturb!r}')
    return perturb


def draw_perturbation(perturb: Perturb, rng: np.random.Generator) -> Params:
    """Draw what describes one perturbation: MemSeg's five changes, or the seed of the others."""
    if perturb == "none":
        return {}
    if perturb != "memseg":
        return {"perturb": int(rng.integers(_SEEDS))}
    return {
        "mirror": [bool(rng.random() < 0.5), bool(rng.random() < 0.5)],
        "rotation": rng.uniform(-_ROTATION, _ROTATION),
        "gain": rng.uniform(*_GAIN),
        "shift": rng.uniform(-_SHIFT, _SHIFT),
        "saturation": rng.uniform(*_SATURATION),
        "hue": rng.uniform(-_HUE, _HUE),
    }


def perturbed(picture: Image, perturb: Perturb, seed: int) -> Image:
    """Return a picture changed as a whole, by DRAEM's list or by another library's transform.

    Raises:
        ValueError: The transform fails on such a picture, or changes its shape or dtype.
    """
    if perturb == "draem":
        return draem.perturb(picture, seed)
    try:
        changed = SeededTransform(cast(Transform, perturb))(picture, None, seed)[0]
    except Exception as error:
        raise ValueError(
            f"perturb={perturb!r} failed on a source of shape {picture.shape} and type {picture.dtype}: {error}. "
            "Choose a transform that takes it"
        ) from error
    if not isinstance(changed, np.ndarray) or changed.shape != picture.shape or changed.dtype != picture.dtype:
        raise ValueError(
            f"perturb={perturb!r} must keep shape and dtype, {picture.shape} {picture.dtype}; it gave "
            f"{getattr(changed, 'shape', type(changed).__name__)} {getattr(changed, 'dtype', '')}. Leave out "
            "resizing, cropping, normalisation and conversion to tensors"
        )
    return changed
