"""Quality gates that compare a sample with real images, by features of a pretrained network."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from inout_aug.cache.features import Features, Vectors
from inout_aug.cache.filters import Bounds, MaskShare, NotBlank, OnProduct, ScoreGate, ceiling_of, floor_of
from inout_aug.cache.plan import Gate
from inout_aug.labels import read_labels
from inout_aug.layout import Layout, infer_layout
from inout_aug.paste.foreground import Foreground
from inout_aug.sample import Sample
from inout_aug.seeding import stream

# cells of normal images kept to compare with; PatchCore keeps 1 to 25 % of them, chosen with more care
_CELLS, _CELLS_PER_IMAGE = 4096, 64
# scores are rounded, so that they do not depend on the order in which a machine adds up
_DECIMALS = 6
_CHUNK = 1024


class LikenessGate(ScoreGate):
    """A gate that compares with vectors of real images.

    Args:
        features: What the vectors are made of.
        references: The vectors, of length 1 each, (N, C).
        bounds: Of each score; None for no bounds.
    """

    def __init__(self, features: Features, references: Vectors, bounds: Sequence[Bounds] | None = None) -> None:
        self.features, self._references = features, references
        self.bounds = tuple(bounds or [(0.0, math.inf)] * len(self.score_names))

    def settings(self) -> Mapping[str, Any]:
        """Return what decides the scores."""
        references = hashlib.sha256(self._references.tobytes()).hexdigest()
        return {"features": self.features.fingerprint, "references": references}


class Visible(LikenessGate):
    """Rejects samples whose defect cannot be told from a normal surface.

    Score: `visibility`, the distance of the defect's features to the nearest of normal images, in [0, 2]: the largest
    over all cells that the mask touches (Roth et al., "Towards total recall in industrial anomaly detection", CVPR
    2022, eq. 6, with vectors of length 1).
    """

    name = "invisible"
    score_names = ("visibility",)

    @classmethod
    def calibrated(
        cls, features: Features, *, positives: Iterable[Sample], normals: Iterable[Sample], percentile: float = 2.0
    ) -> Self:
        """Set the bound so that at most `percentile` percent of some real defects are less visible."""
        cells = [_some(features.cells(sample.image, None), _CELLS_PER_IMAGE) for sample in normals]
        if not cells:
            raise ValueError("how visible a defect is shows in comparison with normal images; got none")
        references = _some(np.concatenate(cells), _CELLS)
        scores = [cls(features, references).measure(sample)[0] for sample in positives]
        return cls(features, references, [(floor_of(scores, percentile), math.inf)])

    def measure(self, sample: Sample) -> tuple[float, ...]:
        """Return the visibility; 0 for an empty mask."""
        if sample.mask is not None and not sample.mask.any():
            return (0.0,)
        cells = self.features.cells(sample.image, sample.mask)
        return (float(nearest(cells, self._references).max()),)


class Realistic(LikenessGate):
    """Rejects samples that look like no real defective image.

    Scores, both the mean distance of features to the nearest of real defective images, in [0, 2]: `strangeness` of all
    cells, which noise, blur and artefacts raise, and `defect_strangeness` of the cells that the mask touches.
    """

    name = "unrealistic"
    score_names = ("strangeness", "defect_strangeness")

    @classmethod
    def calibrated(cls, features: Features, *, positives: Sequence[Sample], percentile: float = 2.0) -> Self:
        """Set the bounds so that at most `percentile` percent of some real defects are farther from all others."""
        _check_several(positives)
        most = min(_CELLS_PER_IMAGE, max(1, _CELLS // len(positives)))
        cells = [_some(features.cells(sample.image, None), most) for sample in positives]
        references = np.concatenate(cells)
        owners = np.repeat(np.arange(len(cells)), [len(part) for part in cells])
        scores = [cls(features, references[owners != k]).measure(sample) for k, sample in enumerate(positives)]
        bounds = [(0.0, ceiling_of(column, percentile)) for column in zip(*scores, strict=True)]
        return cls(features, references, bounds)

    def measure(self, sample: Sample) -> tuple[float, ...]:
        """Return the strangeness of the image and of the defect; infinite for an empty mask."""
        everywhere = nearest(self.features.cells(sample.image, None), self._references)
        if sample.mask is None:
            return float(everywhere.mean()), float(everywhere.mean())
        if not sample.mask.any():
            return float(everywhere.mean()), math.inf
        defect = nearest(self.features.cells(sample.image, sample.mask), self._references)
        return float(everywhere.mean()), float(defect.mean())


class NotMemorised(LikenessGate):
    """Rejects near-copies of the images that a generator was trained on.

    Score: `novelty`, the distance of the picture's features to those of the nearest training image, in [0, 2].
    """

    name = "memorised"
    score_names = ("novelty",)

    @classmethod
    def calibrated(cls, features: Features, *, training: Sequence[Sample], percentile: float = 2.0) -> Self:
        """Set the bound so that at most `percentile` percent of the training images are nearer to another one."""
        _check_several(training)
        pictures = np.stack([features.picture(sample.image) for sample in training])
        cosines = pictures @ pictures.T
        np.fill_diagonal(cosines, -1.0)
        scores = distance_of(cosines.max(axis=1))
        return cls(features, pictures, [(floor_of(scores, percentile), math.inf)])

    @property
    def min_distance(self) -> float:
        """The lowest novelty that is kept."""
        return self.bounds[0][0]

    def measure(self, sample: Sample) -> tuple[float, ...]:
        """Return the novelty."""
        return (float(nearest(self.features.picture(sample.image)[None], self._references)[0]),)


def calibrate_gates(
    dataset: Any,
    *,
    features: Features | None = None,
    foreground: Foreground | None = None,
    percentile: float = 2.0,
    normal_label: int = 0,
    layout: Layout | None = None,
    max_images: int = 500,
) -> tuple[Gate, ...]:
    """Return all gates that a real dataset allows, cheap ones first, each calibrated on it.

    Every bound is set in the same way: at most `percentile` percent of the real positives lie beyond it.

    Args:
        dataset: Map-style, with normal and defective images: the generator's training set.
        features: For the gates of this module; None leaves them out.
        foreground: For `OnProduct`; None leaves it out.
        percentile: Percentage of real positives that each bound may cut off, in [0, 50].
        normal_label: The dataset's label of normal images.
        layout: How the dataset's items are read, where it cannot be told.
        max_images: Most images read of either kind, evenly spaced in the dataset.

    Raises:
        ValueError: There are fewer than two positives, or no normal images for a gate that needs them.

    Example:
        >>> from inout_aug.datasets import Surfaces
        >>> for gate in calibrate_gates(Surfaces(60, size=(64, 64))):
        ...     print(gate.name, gate.score_names)
        blank ('contrast', 'flat_share')
        mask size ('mask_share',)
    """
    read = layout or infer_layout(dataset[0])
    labels = read_labels(dataset, read, None)
    normal, defective = np.flatnonzero(labels == normal_label), np.flatnonzero(labels != normal_label)
    positives = [read.unpack(dataset[index]) for index in _spaced(defective, max_images)]
    masks = all(sample.mask is not None for sample in positives)
    if masks:
        positives = [sample for sample in positives if sample.mask is not None and sample.mask.any()]
    if len(positives) < 2:
        raise ValueError(
            f"gates are calibrated on real positives, and the dataset has {len(positives)} with a defect in sight. Set "
            "bounds by hand: NotBlank(min_contrast=...), MaskShare(max_share=...)"
        )
    gates: list[Gate] = [NotBlank.calibrated(positives, percentile=percentile)]
    if masks:
        gates.append(MaskShare.calibrated(positives, percentile=percentile))
        if foreground is not None:
            gates.append(OnProduct.calibrated(positives, foreground, percentile=percentile))
    if features is not None:
        if not len(normal):
            raise ValueError(f"no normal image to compare with: no label equals normal_label={normal_label}")
        normals = (read.unpack(dataset[index]) for index in _spaced(normal, max_images))
        gates += [
            Visible.calibrated(features, positives=positives, normals=normals, percentile=percentile),
            Realistic.calibrated(features, positives=positives, percentile=percentile),
            NotMemorised.calibrated(features, training=positives, percentile=percentile),
        ]
    return tuple(gates)


def nearest(vectors: Vectors, references: Vectors) -> NDArray[np.float64]:
    """Return the distance of each vector to the nearest reference, all of length 1; (N, C), (M, C) -> (N,)."""
    cosines = [(vectors[start : start + _CHUNK] @ references.T).max(axis=1) for start in range(0, len(vectors), _CHUNK)]
    return distance_of(np.concatenate(cosines))


def distance_of(cosines: NDArray[Any]) -> NDArray[Any]:
    """Return the distance between vectors of length 1 from the cosine of their angle."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosines, 0)).round(_DECIMALS))


def _check_several(real: Sequence[Sample]) -> None:
    if len(real) < 2:
        raise ValueError(f"a gate is calibrated on the distances between real images; two at least, got {len(real)}")


def _spaced(indices: NDArray[np.int64], most: int) -> Sequence[int]:
    chosen: list[int] = indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)].tolist()
    return chosen


def _some(vectors: Vectors, most: int) -> Vectors:
    """Return at most so many of the vectors, always the same ones."""
    return vectors[np.sort(stream(0).permutation(len(vectors))[:most])]
