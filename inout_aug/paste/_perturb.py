"""How a source is changed before it is painted: MemSeg's list, DRAEM's, or an albumentations transform."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from inout_aug.paste import draem
from inout_aug.sample import Image, Params

_SEEDS = 2**32


class AlbumentationsTransform(Protocol):
    """The part of an albumentations 2.0 transform that is used here."""

    def set_random_seed(self, seed: int | None) -> None:
        """Seed the transform's own random state."""
        ...


Perturb: TypeAlias = Literal["memseg", "draem", "none"] | AlbumentationsTransform

# MemSeg's paper names the five changes without their strengths: these are DRAEM's for the same changes.
_ROTATION = 45.0  # degrees
_GAIN = (0.8, 1.2)
_SHIFT = 30 / 255
_SATURATION = (0.5, 1.5)
_HUE = 70.0  # degrees


def check_perturb(perturb: object) -> Any:
    """Return `perturb`.

    Raises:
        TypeError: It is neither a name nor an albumentations transform.
        ValueError: It is not a known name.
    """
    if isinstance(perturb, str) and perturb not in ("memseg", "draem", "none"):
        raise ValueError(f'perturb is "memseg", "draem", "none" or an albumentations transform; got {perturb!r}')
    if not isinstance(perturb, str) and not (callable(perturb) and hasattr(perturb, "set_random_seed")):
        raise TypeError(
            f'perturb is "memseg", "draem", "none" or an albumentations 2.0 transform; got {type(perturb).__name__}'
        )
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
    """Return a picture changed as a whole, by DRAEM's list or by albumentations.

    Raises:
        ImportError: albumentations is not installed.
        ValueError: The transform fails on such a picture, or changes its shape or dtype.
    """
    if perturb == "draem":
        return draem.perturb(picture, seed)
    try:
        import albumentations
    except ImportError as error:
        raise ImportError(
            "this perturb= needs the albumentations package: pip install 'inout-aug[albumentations]'"
        ) from error
    try:
        changed = albumentations.Compose([perturb], seed=seed)(image=picture)["image"]
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
