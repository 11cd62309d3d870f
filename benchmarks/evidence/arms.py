"""What a training is shown: the wrapped dataset and the sampler of each method, as the library's users have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import RandomSampler, Sampler

from evidence.images import Images
from evidence.protocol import COPYING, SYNTHETIC, Cell, Recipe, scenario
from inout_aug import CopyPaste, InOutAugment, MemSegPaste, StrokePaste
from inout_aug.cache import CachedSampler
from inout_aug.dataset import InOutDataset
from inout_aug.plugin import Member


def members(cell: Cell, real: Images, cache: str | None, textures: str | None) -> list[Member]:
    """Return what makes the synthetic samples; of methods without any, what would.

    Args:
        cell: Which training.
        real: Its real samples.
        cache: Folder of in-distribution samples; None where there is none.
        textures: Folder of pictures; None for none.

    Raises:
        FileNotFoundError: There is no such cache, or no textures.
        ValueError: The method draws from a cache, and none is given.
    """
    if cell.method == "ddpm" and cache is None:
        raise ValueError("ddpm draws from a cache: give --cache, filled with inout-aug cache fill")
    made: list[Member] = []
    if cell.method in ("ddpm", "inout") and cache is not None:
        made.append(CachedSampler(cache.format(scenario=scenario(cell.shots), seed=cell.seed)))
    elif cell.method in (*COPYING, "inout"):
        made.append(CopyPaste.from_dataset(real))
    if cell.method not in ("stroke", "copy", "ddpm"):
        made.append(MemSegPaste(textures))
    if cell.method in ("stroke", "pastes", "mix"):
        made.append(StrokePaste())
    return made


def wrap(real: Images, cell: Cell, recipe: Recipe, makers: Sequence[Member]) -> InOutDataset:
    """Return the real samples and the synthetic ones after them."""
    synthetic = cell.n_aug if cell.method in SYNTHETIC else 0
    augment = InOutAugment(generators=makers, n_aug=synthetic, seed=cell.seed, resample=recipe.resample)
    return augment(real, transform=photometric(cell.seed) if cell.method == "standard" else None)


def photometric(seed: int) -> Any:
    """Flips, rotations and changes of light: the usual albumentations of inspection images."""
    import albumentations as A

    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Affine(rotate=(-10, 10), translate_percent=(-0.03, 0.03), scale=(0.95, 1.05), p=0.7),
            A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.7),
            A.RandomGamma(gamma_limit=(80, 120), p=0.3),
            A.GaussNoise(std_range=(0.005, 0.03), p=0.3),
        ],
        seed=seed,
    )


def draws(dataset: InOutDataset, real: Images, cell: Cell, recipe: Recipe) -> Sampler[int]:
    """Return the sampler of one round.

    Half of the draws are positives, with as many real ones among them as the recipe says. Pooled rounds show
    every positive once instead, as the paper does. Without synthetic data, real samples come as in a plain loop with
    `shuffle=True`; in pooled rounds, where that would be another number of them, balanced.
    """
    positives = sum(real.targets)
    if recipe.pooled:
        total = positives + cell.n_aug
        return dataset.sampler(
            real=positives / total if cell.method in SYNTHETIC else 1.0, num_samples=2 * total, seed=cell.seed
        )
    if cell.method == "none":
        return RandomSampler(real, num_samples=recipe.draws, generator=torch.Generator().manual_seed(cell.seed))
    return dataset.sampler(real=recipe.real, num_samples=recipe.draws, seed=cell.seed)
