"""From the latent of a mask to the mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inout_aug.sample import Mask
from inout_generators.common.masks import foreground, without_specks
from inout_generators.defectdiffu.spaces import Space

# the luma of the released code
_LUMA = (0.299, 0.587, 0.114)


def soft_masks(space: Space, latents: Tensor) -> NDArray[np.float32]:
    """Return what latents say of where the defect is: float32 (B, H, W), about -1 where it is not, 1 where it is.

    Args:
        space: Where the net works.
        latents: (B, C, h, w), the mean of what the net said at the last timesteps; decoded once.
    """
    values = space.values(latents).cpu().numpy()
    if values.shape[1] == 1:
        return np.ascontiguousarray(values[:, 0])
    return np.tensordot(np.asarray(_LUMA, np.float32), values, (0, 1))


def hard_mask(soft: NDArray[np.floating[Any]], min_area: int) -> Mask:
    """Return a mask, uint8 (H, W), 1 inside; empty where nothing stands out.

    The published iterative threshold, with guards: it would find something in any noise.

    Args:
        soft: (H, W), about in [-1, 1].
        min_area: Connected parts with fewer pixels are removed.

    Example:
        >>> soft = np.full((16, 16), -1.0)
        >>> soft[2:8, 3:9], soft[12, 12] = 0.8, 0.8
        >>> int(hard_mask(soft, 4).sum()), int(hard_mask(soft * 0.1, 4).sum())
        (36, 0)
    """
    return without_specks(foreground(soft), min_area)


def scaled_area(size: Sequence[int], published: int = 16, at: int = 512) -> int:
    """Return the smallest connected part for images of a size: the published one, 16 pixels at 512², by share.

    Example:
        >>> scaled_area((512, 512)), scaled_area((64, 64))
        (16, 1)
    """
    return max(1, round(published * size[0] * size[1] / at**2))
