"""How far synthetic images are from real ones as a population: the Fréchet and the kernel distance of features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from inout_aug.seeding import check_seed, stream

Interval = tuple[float, float]

_DRAWS = 1000
_COVERAGE = (2.5, 97.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Distances between two sets of images.

    Attributes:
        kid: Unbiased; 0 for two samples of one distribution, on average, so that it may be slightly negative.
        kid_std: Over random subsets.
        kid_interval: In which it lies with 95 %, by resampling the images.
        fid: Biased upwards, the more the fewer images.
        images: How many there are in either set.
        subset_size: Of the subsets for KID.
    """

    kid: float
    kid_std: float
    kid_interval: Interval
    fid: float
    images: tuple[int, int]
    subset_size: int


def fidelity(real: ArrayLike, synthetic: ArrayLike, *, seed: int = 0) -> Fidelity:
    """Return all distances between features of real and of synthetic images; see `kid`, `kid_interval`, `fid`."""
    a, b = _checked(real, synthetic)
    mean, std = kid(a, b, seed=seed)
    return Fidelity(
        kid=mean,
        kid_std=std,
        kid_interval=kid_interval(a, b, seed=seed),
        fid=fid(a, b),
        images=(len(a), len(b)),
        subset_size=_subset_size(a, b),
    )


def fid(real: ArrayLike, synthetic: ArrayLike) -> float:
    """Return the Fréchet distance of two Gaussians with the features' means and covariances.

    Heusel et al., "GANs trained by a two time-scale update rule", NIPS 2017, eq. 6, by torchmetrics. With fewer images
    than features it says little: prefer `kid`.

    Args:
        real: Features, (N, C).
        synthetic: Likewise, (M, C).

    Raises:
        ImportError: torchmetrics is not installed.
        ValueError: There are fewer than four images, or the features do not fit.

    Example:
        >>> square = np.array([[0, 0], [0, 1], [1, 0], [1, 1.0]])
        >>> round(fid(square, square + 3), 6)
        18.0
    """
    a, b = _checked(real, synthetic)
    metric = _metrics().fid.FrechetInceptionDistance(feature=_Given(a.shape[1])).set_dtype(torch.float64)
    metric.update(torch.from_numpy(a), real=True)
    metric.update(torch.from_numpy(b), real=False)
    # rounding can take the distance of equal sets below zero
    return max(0.0, float(metric.compute()))


def kid(
    real: ArrayLike, synthetic: ArrayLike, *, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Return the kernel distance of features and its standard deviation over random subsets.

    The unbiased squared maximum mean discrepancy for the kernel (x·y / C + 1)³: Bińkowski et al., "Demystifying MMD
    GANs", ICLR 2018, eq. 4, by torchmetrics. The standard deviation is that of subsets: for how sure the mean is see
    `kid_interval`.

    Args:
        real: Features, (N, C).
        synthetic: Likewise, (M, C).
        subsets: How many.
        subset_size: Of each; None for half of the smaller set, at most 1000.
        seed: Draws the subsets.

    Raises:
        ImportError: torchmetrics is not installed.
        ValueError: There are fewer than four images, or than `subset_size`, or the features do not fit.

    Example:
        >>> from inout_aug.seeding import stream
        >>> a, b = stream(0).normal(size=(2, 200, 4))
        >>> mean, std = kid(a, b)
        >>> abs(mean) < std < 0.1 < kid(a, b + 1)[0]
        True
    """
    a, b = _checked(real, synthetic)
    size = _subset_size(a, b) if subset_size is None else subset_size
    if not 2 <= size <= min(len(a), len(b)):
        raise ValueError(
            f"subset_size is at least 2 and at most the number of images, {min(len(a), len(b))}; got {size}"
        )
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", "Metric `Kernel Inception Distance` will save", UserWarning)
        torch.manual_seed(check_seed(seed))
        distance = _metrics().kid.KernelInceptionDistance
        metric = distance(feature=_Given(a.shape[1]), subsets=subsets, subset_size=size)
        metric.update(torch.from_numpy(a), real=True)
        metric.update(torch.from_numpy(b), real=False)
        mean, std = metric.compute()
    return float(mean), float(std)


def kid_interval(real: ArrayLike, synthetic: ArrayLike, *, seed: int = 0) -> Interval:
    """Return the interval in which the kernel distance lies with 95 %, by a Bayesian bootstrap over the images.

    Each draw weighs the images of either set at random (Rubin, "The Bayesian bootstrap", 1981). Pairs of an image with
    itself stay out, as in the unbiased estimate; drawing with replacement would let them in as pairs of copies.

    Args:
        real: Features, (N, C).
        synthetic: Likewise, (M, C).
        seed: Draws the weights.
    """
    a, b = _checked(real, synthetic)
    kernel: Callable[..., Tensor] = _metrics().kid.poly_kernel
    aa, ab, bb = (kernel(*map(torch.from_numpy, pair)).numpy() for pair in ((a, a), (a, b), (b, b)))
    rng = stream(check_seed(seed))
    v, w = (rng.dirichlet(np.ones(count), _DRAWS) for count in (len(a), len(b)))
    draws = pair_mean(aa, v) + pair_mean(bb, w) - 2 * np.einsum("di,ij,dj->d", v, ab, w, optimize=True)
    return interval_of(draws)


def pair_mean(matrix: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weighted means over all pairs of two different images; (N, N), (D, N) -> (D,)."""
    apart = matrix - np.diag(np.diag(matrix))
    total = np.einsum("di,ij,dj->d", weights, apart, weights, optimize=True)
    return np.asarray(total / (weights.sum(axis=1) ** 2 - np.square(weights).sum(axis=1)))


def interval_of(draws: NDArray[np.float64]) -> Interval:
    """Return between what the middle 95 % of some draws lie."""
    low, high = np.percentile(draws, _COVERAGE).tolist()
    return low, high


class _Given(nn.Module):
    """The features are computed already: torchmetrics is to take them as they are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def _subset_size(a: NDArray[np.float64], b: NDArray[np.float64]) -> int:
    return min(1000, min(len(a), len(b)) // 2)


def _checked(real: ArrayLike, synthetic: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b = np.ascontiguousarray(real, np.float64), np.ascontiguousarray(synthetic, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 4:
        raise ValueError(
            "distances are between features of at least four real and four synthetic images, (N, C) and (M, C); got "
            f"{a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features are finite; got NaN or infinity. Is the image or the network broken?")
    return a, b


def _metrics() -> Any:
    try:
        import torchmetrics.image.fid
        import torchmetrics.image.kid
    except ImportError as error:
        raise ImportError("FID and KID need torchmetrics: pip install 'inout-aug[demo]'") from error
    return torchmetrics.image
