"""Synthetic positives where a loader collates: no wrapped dataset, no change in the training loop."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from inout_aug._ranks import world
from inout_aug.layout import Fields, get_field, infer_layout, replace_fields
from inout_aug.paste.batch import BatchPaste
from inout_aug.paste.memseg import MemSegPaste
from inout_aug.seeding import EpochClock

if TYPE_CHECKING:
    from inout_aug.augment import InOutAugment

_MAX_WORKERS = 4096


class BatchCollate:
    """A `collate_fn` that turns a share of each batch's normal images into positives.

    Against wrapping the dataset: it works with any dataset, sampler and length, an iterable one of unknown length
    included, since the number of samples stays as it is; and a batch is painted at once, in the worker. In exchange the
    painted normals are missing as normals, and defects come after the dataset's own transforms, so those may not
    normalise: give that to `transform`.

    With `set_epoch` draws depend on `(seed, epoch, batch)` alone, whatever the workers; without, on how many batches
    each worker has collated before.

    Args:
        paste: What paints; its seed counts, its step does not.
        collate: Makes a batch of a list of items: tuple, list, mapping or dataclass, with image tensors.
        layout: Where an item's image, label and mask are; default: found in the first item.
        transform: Called with the batch's images after the paste, for example `v2.Normalize(...)`.

    Raises:
        AmbiguousLayout: When called: items can be read in more than one way, or in none.
        TypeError: When called: images come out of `collate` as something else than a tensor.
        ValueError: When called: images are not as `BatchPaste` needs them.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> normals = [(torch.rand(3, 32, 32), 0) for _ in range(16)]
        >>> loader = DataLoader(normals, batch_size=8, collate_fn=BatchCollate(BatchPaste(share=0.25, exact=True)))
        >>> [int(labels.sum()) for _, labels in loader]
        [2, 2]
    """

    def __init__(
        self,
        paste: BatchPaste,
        *,
        collate: Callable[[list[Any]], Any] = default_collate,
        layout: Fields | None = None,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.paste = copy.copy(paste)
        # what `collate` made belongs to nobody else
        self.paste.inplace = True
        self.collate = collate
        self.layout = layout
        self.transform = transform
        self._clock = EpochClock(_MAX_WORKERS)
        self._world = (1, 0)
        self._restart()

    def __getstate__(self) -> dict[str, Any]:
        # a spawned worker has no process group to ask
        return {**self.__dict__, "_world": world() or self._world}

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is, for all workers; call it before iterating.

        Raises:
            ValueError: `epoch` is not an integer >= 0.
        """
        self._clock.set(epoch)
        self._restart()

    def _restart(self) -> None:
        self._counted, self._calls = (-1, -1), 0

    def __call__(self, items: Sequence[Any]) -> Any:
        """Collate and paint."""
        items = list(items)
        layout = self.layout or infer_layout(items[0])
        batch = self.collate(items)
        images = get_field(batch, layout.image)
        masks = () if layout.mask is None else (get_field(batch, layout.mask),)
        labels = _labels(*masks) if layout.label is None else get_field(batch, layout.label)
        if not isinstance(images, Tensor):
            raise TypeError(f"collate must give images as one tensor; got {type(images).__name__}. Resize them first")
        images, labels, *masks = self.paste(images, labels, *masks, draws=self.paste.draw(images, key=self._key()))
        keys = [layout.image, layout.label, layout.mask]
        images = images if self.transform is None else self.transform(images)
        values = [images, labels, *masks]
        return replace_fields(batch, {key: value for key, value in zip(keys, values, strict=False) if key is not None})

    def _key(self) -> tuple[int, int]:
        """Return epoch and step: loaders hand batches to their workers in turn."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        ranks, rank = world() or self._world
        tick = self._clock.tick(worker)
        # a worker is forked with the count of its parent
        counted = os.getpid(), tick
        self._calls = self._calls + 1 if counted == self._counted else 0
        self._counted = counted
        return tick, (self._calls * workers + worker) * ranks + rank


def _labels(masks: Tensor) -> Tensor:
    """Return 1 for masks with foreground, else 0."""
    return masks.flatten(1).any(1).to(torch.int64)


def collate_for(augment: InOutAugment) -> BatchCollate:
    """Return what `InOutAugment.collate` is; see there."""
    members = augment.mixer.members
    if len(members) != 1 or not isinstance(members[0], MemSegPaste):
        raise ValueError(f"collate paints with one MemSegPaste; got {list(members)}. Wrap the dataset for others")
    ratio = augment.amount.ratio
    if ratio is None or augment.amount.normals is not None:
        raise ValueError(
            "collate needs ratio= alone: the other numbers need to know the dataset's length and labels; got "
            f"{augment.amount}"
        )
    normal = augment.normal_label or 0
    positive = 1 if augment.positive_label is None else augment.positive_label
    if isinstance(positive, Mapping):
        positive = positive[members[0].defect_class]
    if isinstance(normal, str) or isinstance(positive, str):
        raise ValueError(f"collate sees no class names: give numbers instead of {normal!r} and {positive!r}")
    share = ratio / (1 + ratio)
    paste = BatchPaste.like(members[0], share=share, seed=augment.seed, normal_label=normal, positive_label=positive)
    return BatchCollate(paste)
