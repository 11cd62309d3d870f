"""All measurements of synthetic against real defects in one go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from inout_aug.cache.features import Features
from inout_aug.datasets._files import fit_image, fit_mask
from inout_aug.evaluate.diversity import Diversity, diversity
from inout_aug.evaluate.fidelity import Fidelity, fidelity
from inout_aug.evaluate.memorisation import Memorisation, memorisation
from inout_aug.evaluate.perceptual import LPIPS, Perceptual, perceptual
from inout_aug.evaluate.shapes import Comparison, compare_shapes, shape_of
from inout_aug.evaluate.views import crop_side, distances, looks, turned_pictures, view
from inout_aug.sample import Sample

# scales further apart than this make defects of one kind look different in crops
_SCALES_APART = 1.25
_LEAST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How good synthetic defects are, by comparison with real ones.

    Attributes:
        classes: Number of images of each defect class: of the synthetic, the training and the held-out ones.
        features: Fingerprint of the feature network. Figures of different networks do not compare.
        crop: Side in pixels of the crops that were compared; None for whole images.
        fidelity: Synthetic against held-out images.
        fidelity_training: Training against held-out images: what real images reach. None if there are fewer than four.
        diversity: Of the synthetic images.
        diversity_real: Of the held-out images.
        memorisation: Held-out images for comparison.
        memorisation_strict: Training images with each other for comparison; None for a single one.
        shapes: Masks in numbers, held-out and training images being the real ones; empty where there are no masks.
        lpips: Of the synthetic images; None where it was not measured.
        lpips_real: Of the held-out images.
    """

    classes: dict[str, dict[int, int]]
    features: str
    crop: int | None
    fidelity: Fidelity
    fidelity_training: Fidelity | None
    diversity: Diversity
    diversity_real: Diversity
    memorisation: Memorisation
    memorisation_strict: Memorisation | None
    shapes: tuple[Comparison, ...]
    lpips: Perceptual | None
    lpips_real: Perceptual | None

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return asdict(self)


def evaluate(
    synthetic: Sequence[Sample],
    *,
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    features: Features,
    crop: int | Literal["auto"] | None = "auto",
    lpips: LPIPS | None = None,
    seed: int = 0,
    tick: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Measure synthetic defects against real ones.

    In a small defect on a large part whole-image features see the part. So by default features are those of a square
    crop around the largest defect, in the pixels of the image, by the same rule for real and synthetic images; see
    `crop_side`. What lies outside does not count.

    Args:
        synthetic: Samples with a defect, as `defective` gives them; at least four.
        training: Real ones that the generator was trained on, all of them: at least one.
        held_out: Other real ones, at least four.
        features: A feature network.
        crop: Side of the crops in pixels, None for whole images.
        lpips: To measure LPIPS too.
        seed: Draws subsets and weights.
        tick: Called after each image that was looked at; twice for training images.

    Raises:
        ImportError: torchmetrics is not installed.
        ValueError: There are too few images, or crops would show defects at different scales.

    Example:
        >>> from torch import nn
        >>> from inout_aug.datasets import Surfaces
        >>> surfaces = Surfaces(16, size=(64, 64), defect_share=1.0, binary=True)
        >>> real = defective([Sample(item["image"], item["mask"], item["label"]) for item in surfaces])
        >>> features = Features(nn.AvgPool2d(16), mean=(0, 0, 0), std=(255, 255, 255), size=64)
        >>> found = evaluate(real[8:16], training=real[:4], held_out=real[4:8], features=features)
        >>> found.crop, found.fidelity.images
        (None, (4, 8))
    """
    if len(synthetic) < _LEAST or len(held_out) < _LEAST or not training:
        raise ValueError(
            f"an evaluation needs at least {_LEAST} synthetic, 1 training and {_LEAST} held-out images with a defect; "
            f"got {len(synthetic)}, {len(training)} and {len(held_out)}"
        )
    parts = {"synthetic": synthetic, "training": training, "held out": held_out}
    masked = all(sample.mask is not None for part in parts.values() for sample in part)
    side = crop
    if side == "auto":
        side = crop_side([*training, *held_out]) if masked else None
    if side is not None:
        _check_scales(synthetic, held_out)
    views = {name: [view(sample, side) for sample in part] for name, part in parts.items()}
    made, known, other = (looks(features, views[name], tick) for name in parts)
    turned = turned_pictures(features, views["training"], tick)
    memory = memorisation(made.pictures, turned, other.pictures)
    nearest, nearest_real = memory.nearest, memory.real_nearest
    return Evaluation(
        classes={name: dict(sorted(Counter(sample.label for sample in part).items())) for name, part in parts.items()},
        features=features.fingerprint,
        crop=side,
        fidelity=fidelity(other.pooled, made.pooled, seed=seed),
        fidelity_training=fidelity(other.pooled, known.pooled, seed=seed) if len(known) >= _LEAST else None,
        diversity=diversity(distances(made.pictures, made.pictures), nearest, seed=seed),
        diversity_real=diversity(distances(other.pictures, other.pictures), nearest_real, seed=seed),
        memorisation=memory,
        memorisation_strict=memorisation(made.pictures, turned) if len(known) > 1 else None,
        shapes=_shapes([*training, *held_out], synthetic) if masked else (),
        lpips=perceptual(lpips, views["synthetic"], nearest, seed=seed) if lpips else None,
        lpips_real=perceptual(lpips, views["held out"], nearest_real, seed=seed) if lpips else None,
    )


def defective(samples: Iterable[Sample], *, size: tuple[int, int] | None = None) -> list[Sample]:
    """Return the samples that show a defect, resized if wanted.

    Normal ones, of label 0, and ones whose mask is empty are left out.

    Args:
        samples: Real or synthetic.
        size: Height and width of all; None leaves them as they are. Give the size that a generator of whole images
            works at, so that real images are as coarse as its own.
    """
    shown = (sample for sample in samples if sample.label and (sample.mask is None or sample.mask.any()))
    return [sample if size is None else _resized(sample, size) for sample in shown]


def _resized(sample: Sample, size: tuple[int, int]) -> Sample:
    mask = None if sample.mask is None else fit_mask(sample.mask, size)
    return replace(sample, image=fit_image(sample.image, size), mask=mask)


def _shapes(real: Sequence[Sample], synthetic: Sequence[Sample]) -> tuple[Comparison, ...]:
    a, b = ([shape_of(sample.mask) for sample in part if sample.mask is not None] for part in (real, synthetic))
    return compare_shapes(a, b)


def _check_scales(synthetic: Sequence[Sample], real: Sequence[Sample]) -> None:
    made, there = (np.median([np.prod(sample.size) for sample in part]) ** 0.5 for part in (synthetic, real))
    if not 1 / _SCALES_APART <= made / there <= _SCALES_APART:
        raise ValueError(
            f"synthetic images are about {made:.0f} pixels across and real ones {there:.0f}, so that crops would show "
            "their defects at different scales. Resize both (--size HxW, size=), or compare whole images (--crop whole)"
        )
