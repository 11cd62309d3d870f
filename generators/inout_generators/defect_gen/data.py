"""Training pictures out of a handful of defects: windows of them, evenly over classes and over small and large ones."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inout_aug.sample import Image, Mask, Sample
from inout_generators.common.pictures import Pictures, Windows


class Batch(NamedTuple):
    """Training pictures.

    Attributes:
        images: (B, H, W, C), of the samples' dtype.
        masks: uint8, (B, H, W); 0 is background, k is defect class k.
        classes: int64, (B,): the defect class shown; 0 for a window of background.
    """

    images: Image
    masks: Mask
    classes: NDArray[np.int64]


class Shots(Pictures):
    """The defective samples that a model learns from, and good ones to show it the background.

    Every class is shown equally often; see `Pictures` for what is shown of it.

    Args:
        samples: Defective ones, with masks of the ids 1, 2, …
        classes: Names of these ids.
        windows: How pictures are cut.
        normal: Good samples, for backgrounds.

    Raises:
        ValueError: No defective sample, and whatever `Pictures` raises.
        UserWarning: There is one sample only (warned, not raised): all that is generated will look like it.

    Example:
        >>> image, mask = np.full((64, 96, 1), 90, np.uint8), np.zeros((64, 96), np.uint8)
        >>> mask[30:34, 40:60] = 1
        >>> shots = Shots([Sample(image, mask)] * 2, ("crack",), Windows(size=(32, 32)))
        >>> shots.draw(4, np.random.default_rng(0)).images.shape
        (4, 32, 32, 1)
    """

    def __init__(
        self, samples: Sequence[Sample], classes: Sequence[str], windows: Windows, *, normal: Iterable[Sample] = ()
    ) -> None:
        if not samples:
            raise ValueError("no defective image with a mask: there is nothing to learn from")
        super().__init__(samples, classes, windows, normal=normal)
        if len(samples) == 1:
            warnings.warn(
                "trained on one defective image: what is generated will be that defect, flipped and shifted. Five a "
                "class or more give variety",
                stacklevel=2,
            )

    def draw(self, count: int, rng: np.random.Generator) -> Batch:
        """Return `count` training pictures.

        Args:
            count: At least 1.
            rng: The only source of randomness.
        """
        drawn = [self._draw_one(rng) for _ in range(count)]
        images, masks, classes = zip(*drawn, strict=True)
        return Batch(np.stack(images), np.stack(masks), np.array(classes, np.int64))

    def _draw_one(self, rng: np.random.Generator) -> tuple[Image, Mask, int]:
        if rng.random() < self.windows.background:
            image, mask = self.show(0, rng)
            if not mask.any():
                return image, mask, 0
        k = int(rng.integers(1, len(self.classes) + 1))
        return *self.show(k, rng), k
