"""Draws from a cache: in microseconds, the same in every run, each sample as often as any other."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from inout_aug.cache.draws import CachedDraws, Pool
from inout_aug.cache.fill import fill_cache
from inout_aug.cache.filters import MASK_SHARE, MaskShare, NotBlank
from inout_aug.cache.fitted import fit_cache
from inout_aug.cache.reaugment import Reaugment
from inout_aug.cache.review import Review
from inout_aug.cache.shard import DType
from inout_aug.cache.store import SampleCache
from inout_aug.hosts import Hosts, OnHosts
from inout_aug.plugin import Generator, name_of
from inout_aug.sample import Sample
from inout_aug.seeding import check_seed

Classes: TypeAlias = Sequence[int] | Mapping[int, float]


class CachedSampler:
    """The samples of a cache, as a member of `InOutAugment(generators=[...])`.

    Samples that were rejected in review are not drawn, nor are normal ones (label 0) and ones whose mask is empty. The
    accepted ones of a class are gone through in one random order, epoch after epoch: none comes twice in an epoch, and
    after any number of epochs each came as often as any other, give or take one. Which class is drawn at which position
    is the same in every epoch.

    Samples of another form than the dataset's are converted once, when a dataset is wrapped: see `fit_cache`.

    Args:
        cache: An open cache, or where one lies.
        classes: Defect classes to draw: None for all in the proportions of the cache, several in equal parts, or a
            weight for each.
        min_score: Lowest score that is accepted, by the name of the score.
        max_score: Highest score that is accepted, by the name of the score.
        replacement: Make each draw on its own; samples may come twice in an epoch, or never.
        weight_by: Score to which the chance of a draw is proportional, with `replacement=True`.
        repeat: Draw samples more than once in an epoch that needs more than there are.
        lossy: Let colour become grey and 16 bit 8 bit, if the dataset is so.
        augment: An albumentations or torchvision v2 transform of image and mask, which each draw goes through. It
            depends on (seed, epoch, position) alone. A draw whose defect it would move out of the image stays as it is.

    Attributes:
        cache: The cache.
        name: Of the generator that filled it.
        fingerprint: Of the cache.

    Raises:
        KeyError: The cache has no score of this name.
        TypeError: `augment` is of another library.
        ValueError: `weight_by` without `replacement`, or classes that are none.

    Example:
        >>> import tempfile
        >>> from inout_aug import InOutAugment, MemSegPaste
        >>> from inout_aug.cache.importer import import_dataset
        >>> from inout_aug.datasets import Surfaces
        >>> made = Surfaces(100, size=(64, 64), seed=1, binary=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = import_dataset(made, folder, name="other tool", progress=False)
        ...     augment = InOutAugment(generators=[MemSegPaste(), CachedSampler(cache)], n_aug=6)
        ...     train = augment(Surfaces(20, size=(64, 64), binary=True))
        ...     print(sorted({train.sample(index).origin.generator for index in range(20, 26)}))
        ['MemSegPaste', 'other tool']
    """

    def __init__(
        self,
        cache: SampleCache | str | os.PathLike[str],
        *,
        classes: Classes | None = None,
        min_score: Mapping[str, float] | None = None,
        max_score: Mapping[str, float] | None = None,
        replacement: bool = False,
        weight_by: str | None = None,
        repeat: bool = False,
        lossy: bool = False,
        augment: Callable[..., Any] | None = None,
    ) -> None:
        self.cache = cache if isinstance(cache, SampleCache) else SampleCache(cache)
        self.name = self.cache.generator
        self.fingerprint = self.cache.fingerprint
        self._shares = None if classes is None else _check_classes(classes)
        self._bounds = [(name, low, np.inf) for name, low in (min_score or {}).items()]
        self._bounds += [(name, -np.inf, high) for name, high in (max_score or {}).items()]
        for name in [name for name, _, _ in self._bounds] + ([weight_by] if weight_by else []):
            self._score(name)
        if weight_by is not None and not replacement:
            raise ValueError("weight_by= needs replacement=True: without replacement every sample comes equally often")
        self._replacement, self._weight_by, self._repeat, self._lossy = replacement, weight_by, repeat, lossy
        self._augment = None if augment is None else Reaugment(augment)

    def __repr__(self) -> str:
        return f"CachedSampler({self.cache!r})"

    @property
    def classes(self) -> tuple[int, ...]:
        """Defect classes that there are samples of, and that are drawn."""
        return tuple(label for label in self._available(Review(self.cache)) if (self._shares or {}).get(label, 1))

    def of_classes(self, classes: Classes) -> CachedSampler:
        """Return the same, but for the classes that are drawn: one of them, several in equal parts, or with weights."""
        other = copy.copy(self)
        other._shares = _check_classes(classes)
        return other

    def bind(self, count: int, like: Sample, seed: int) -> CachedDraws:
        """Get ready for a dataset. The decisions made in review up to now count.

        Args:
            count: Draws wanted per epoch.
            like: A real normal sample; draws have its size, channels and dtype.
            seed: Base seed of the wrapped dataset.

        Raises:
            CacheNotWritten: There is no room for the converted samples.
            ValueError: There are not enough samples, they have no masks but the dataset has, or they would have to be
                converted with a loss.
        """
        _check_masks(self.cache.folder.url, self._masks, like)
        review = Review(self.cache)
        available = self._available(review)
        counts = self._counts(count, available, review)
        # without draws there is nothing to convert
        cache = fit_cache(self.cache, like.image, lossy=self._lossy) if count else self.cache
        changed = np.flatnonzero(review.labels != self.cache.labels).tolist()
        draws = CachedDraws(
            cache,
            {label: Pool(available[label], n, self._weights(available[label])) for label, n in counts.items()},
            seed=check_seed(seed),
            relabelled={position: int(review.labels[position]) for position in changed},
            fitted=cache is not self.cache,
            augment=self._augment,
        )
        if count and self._augment is not None:
            draws(0, 0)  # a transform that does not suit is to fail here, not in a worker
        return draws

    @property
    def _masks(self) -> bool:
        return self.cache.manifest.groups[0].layout.masks

    def _score(self, name: str) -> NDArray[np.float32]:
        names = self.cache.score_names
        if name not in names:
            raise KeyError(f"{self.cache.folder.url} has no score {name!r}; it has {list(names)}")
        return self.cache.scores[:, names.index(name)]

    def _available(self, review: Review) -> dict[int, NDArray[np.int64]]:
        """Return the positions that may be drawn, by defect class."""
        fits = review.accepted & (review.labels > 0)
        for name, low, high in self._bounds:
            score = self._score(name)
            fits &= (score >= low) & (score <= high)
        if self._shares is not None:
            fits &= np.isin(review.labels, list(self._shares))
        positions = np.flatnonzero(fits)
        if self._masks:
            positions = positions[self._shows_defect(positions)]
        labels = review.labels[positions]
        found = {int(label): positions[labels == label] for label in np.unique(labels)}
        if found and max(found) > 255:
            raise ValueError(f"defect classes are 1 to 255; the cache has {max(found)}. Draw others with classes=")
        return found

    def _shows_defect(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the masks have foreground, looking at them only where no gate did."""
        if MASK_SHARE in self.cache.score_names:
            return self._score(MASK_SHARE)[positions] > 0
        masks = (self.cache.pixels(int(position))[1] for position in positions)
        return np.fromiter((mask is not None and bool(mask.any()) for mask in masks), bool, len(positions))

    def _counts(self, count: int, available: Mapping[int, NDArray[np.int64]], review: Review) -> dict[int, int]:
        """Return how many draws of each class make an epoch, by largest remainder.

        Raises:
            ValueError: There are not so many samples.
        """
        shares = self._shares or {label: float(len(positions)) for label, positions in available.items()}
        total = sum(shares.values()) or 1.0
        exact = {label: count * share / total for label, share in shares.items()}
        counts = {label: math.floor(value) for label, value in exact.items()}
        left = count - sum(counts.values())
        for label in sorted(exact, key=lambda label: counts[label] - exact[label])[:left]:
            counts[label] += 1
        there = {label: len(available.get(label, ())) for label in shares}
        again = self._repeat or self._replacement
        missing = sum(max(0, n - there[label]) for label, n in counts.items() if not (again and there[label]))
        if missing or (count and not shares):
            wanted = "".join(f", {n} of class {label} (there are {there[label]})" for label, n in counts.items())
            rejected = np.count_nonzero(~review.accepted)
            raise ValueError(
                f"{missing or count} samples are missing in {self.cache.folder.url}. An epoch needs {count}{wanted}. "
                f"Of {len(self.cache)} in the cache {rejected} were rejected in review; {self.cache.missing} were "
                "never made. Fill it with more, ask for fewer (ratio=, weights=), or give CachedSampler(repeat=True)"
            )
        return {label: n for label, n in counts.items() if n}

    def _weights(self, positions: NDArray[np.int64]) -> NDArray[np.float64] | None:
        if not self._replacement:
            return None
        if self._weight_by is None:
            return np.ones(len(positions))
        weights = self._score(self._weight_by)[positions].astype(np.float64)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError(
                f"weight_by={self._weight_by!r} needs scores that are finite, not negative and not all zero; they lie "
                f"in [{weights.min()}, {weights.max()}]"
            )
        return weights


def cached(
    generator: Generator,
    count: int,
    like: Sample,
    seed: int,
    hosts: Hosts | None = None,
    classes: Sequence[int] | None = None,
) -> CachedDraws:
    """Return draws from a generator: `InOutAugment` calls this for a generator that was given as it is.

    Fills a cache in the user's cache folder with the samples that one epoch needs, at the dataset's size, in this
    process and with a progress bar; whatever is there already is not made again. Blank images and empty masks are
    replaced. What the generator wants and makes is told by the attributes that `Generator` lists; for other conditions,
    other gates or other processes use `fill_cache` and `CachedSampler`.

    Args:
        generator: The generator.
        count: Draws wanted per epoch.
        like: A real normal sample; draws have its size, channels and dtype.
        seed: Base seed of the wrapped dataset.
        hosts: The dataset's normal samples, if they can be looked up.
        classes: Defect classes to ask for in turn; None for all that it makes.

    Raises:
        FillIncomplete: The generator failed on some requests.
        RuntimeError: This is a worker of a DataLoader.
        ValueError: It makes no masks, but the dataset has them; or it needs hosts, and there are none.
    """
    if get_worker_info() is not None:
        raise RuntimeError(
            f"{name_of(generator)} is an expensive generator, which never runs in a loader worker: wrap the dataset "
            "before the DataLoader is made"
        )
    masks = bool(getattr(generator, "masks", True))
    _check_masks(name_of(generator), masks, like)
    if not count:
        return CachedDraws((), {}, seed=seed)
    height, width, channels = like.image.shape
    dtype = getattr(generator, "dtype", "uint8")
    classes = classes or range(1, int(getattr(generator, "defect_classes", 1)) + 1)
    if getattr(generator, "hosts", False):
        if hosts is None:
            raise ValueError(
                f"{name_of(generator)} changes normal images, and those of an iterable dataset cannot be looked up. "
                "Fill a cache with fill_cache(OnHosts(generator, samples), ...), and give CachedSampler(cache)"
            )
        generator, dtype = OnHosts(generator, hosts), str(like.image.dtype)
    cache = fill_cache(
        generator,
        None,
        count,
        shape=(height, width, channels),
        seed=seed,
        conditions=[{"defect_class": k} for k in classes],
        dtype=cast(DType, dtype),
        masks=masks,
        gates=(NotBlank(), MaskShare()) if masks else (NotBlank(),),
    )
    return CachedSampler(cache).bind(count, like, seed)


def _check_masks(source: str, masks: bool, like: Sample) -> None:
    if like.mask is not None and not masks:
        raise ValueError(
            f"{source} has no masks, but the dataset has. Use a generator that makes masks, or wrap the dataset with a "
            "layout without mask="
        )


def _check_classes(classes: Classes) -> dict[int, float]:
    shares = dict(classes) if isinstance(classes, Mapping) else dict.fromkeys(classes, 1.0)
    if not shares or not all(type(label) is int and 1 <= label <= 255 for label in shares):
        raise ValueError(f"classes= names defect classes, 1 to 255; got {classes!r}")
    if not all(math.isfinite(share) and share >= 0 for share in shares.values()) or not any(shares.values()):
        raise ValueError(f"weights of classes are finite, not negative and not all zero; got {classes!r}")
    return shares
