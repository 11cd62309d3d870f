"""What flows through the library: an image, its mask, its label, and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Image: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
Mask: TypeAlias = NDArray[np.uint8]
Params: TypeAlias = dict[str, Any]
Distribution: TypeAlias = Literal["in", "out"]

MIN_SIDE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a sample came from; enough to explain and to replay it.

    Attributes:
        generator: Name of the paster or generator, `"real"` for a sample of the wrapped dataset.
        fingerprint: Identifies the generator's code version, weights and settings; empty for real samples.
        seed: The integers that seeded the draw, `(seed, epoch, index)` for samples of a wrapped dataset.
        params: What was drawn, as JSON-able values; `paster.apply(host, params)` gives the same bytes again.
        host: Index, in the wrapped dataset, of the real normal sample that was painted on; None if there was none.
    """

    generator: str = "real"
    fingerprint: str = ""
    seed: tuple[int, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    host: int | None = None


REAL = Origin()


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image with its ground truth, in the one form every part of the library uses.

    Attributes:
        image: uint8 or uint16, shape (H, W, C), C in {1, 3}, RGB order, H and W at least 16.
        mask: uint8, shape (H, W); 0 is background, k is defect class k. None where no pixel label exists.
        label: The dataset's own class number.
        origin: Real, or which generator made it and how.

    Raises:
        TypeError: An array has another dtype.
        ValueError: An array has another shape.

    Example:
        >>> Sample(np.zeros((32, 48, 1), np.uint8), np.zeros((32, 48), np.uint8)).size
        (32, 48)
    """

    image: Image
    mask: Mask | None = None
    label: int = 0
    origin: Origin = REAL

    def __post_init__(self) -> None:
        check_image(self.image)
        if self.mask is not None:
            if self.mask.dtype != np.uint8:
                raise TypeError(f"a mask is uint8 (0 = background, k = defect class k); got {self.mask.dtype}")
            if self.mask.shape != self.image.shape[:2]:
                raise ValueError(
                    f"mask and image must have the same size; got mask {self.mask.shape} for image "
                    f"{self.image.shape[:2]}. Resize masks with nearest-neighbour interpolation, with their images"
                )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image.shape[0], self.image.shape[1]


def check_image(image: object) -> None:
    """Raise unless `image` is a uint8/uint16 (H, W, C) array with C in {1, 3} and both sides at least 16.

    Raises:
        TypeError: Not an array, or of another dtype.
        ValueError: Of another shape, or too small.
    """
    if not isinstance(image, np.ndarray):
        raise TypeError(f"an image is a numpy array here; got {type(image).__name__}. Layouts convert other containers")
    if image.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"an image is uint8 or uint16; got {image.dtype}. Scale it to 0..255 or 0..65535 first")
    if image.ndim != 3:
        raise ValueError(f"an image has shape (H, W, C); got {image.shape}. Add a channel axis, or unbatch it")
    if image.shape[2] not in (1, 3):
        raise ValueError(
            f"an image has 1 or 3 channels; got {image.shape[2]}. Drop an alpha channel with image[..., :3]"
        )
    if min(image.shape[:2]) < MIN_SIDE:
        raise ValueError(f"an image is at least {MIN_SIDE} pixels on each side; got {image.shape[:2]}. Resize it first")
