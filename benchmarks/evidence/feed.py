"""Batches of one training: real images lie on the device, synthetic ones are drawn by the library when they are due."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from evidence.images import Images
from inout_aug.dataset import InOutDataset

# uint8 images (N, C, H, W) and labels, 0 or 1, (N,)
Batch: TypeAlias = tuple[Tensor, Tensor]

_AHEAD = 8  # batches


class Feed:
    """Iterates over all batches of a training, and has as many as it says.

    Args:
        dataset: The wrapped dataset.
        real: What it wraps.
        sampler: Of one round.
        rounds: How often to iterate it.
        batch: Images of a batch; what is left at a round's end is not shown.
        device: Where the batches are wanted. For one that computes by itself, a thread draws ahead.
    """

    def __init__(
        self,
        dataset: InOutDataset,
        real: Images,
        sampler: Sampler[int],
        *,
        rounds: int,
        batch: int,
        device: torch.device,
    ) -> None:
        self._dataset, self._sampler, self._rounds, self._batch = dataset, sampler, rounds, batch
        self._device = device
        self._labels = torch.as_tensor(dataset.targets != 0, dtype=torch.float32)
        # a transform makes other images of the real ones too
        self._resident = len(real) if dataset.transform is None else 0
        self._images = stacked([item["image"] for item in real.items[: self._resident]]).to(device)

    def __len__(self) -> int:
        return self._rounds * (len(self._sampler) // self._batch)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Batch]:
        batches = (indices for _ in range(self._rounds) for indices in self._round())
        if self._device.type == "cpu":
            for indices in batches:
                yield self._put(indices, self._drawn(indices))
            return
        with ThreadPoolExecutor(1) as thread:
            waiting: list[tuple[list[int], Future[Tensor]]] = []
            for indices in batches:
                waiting.append((indices, thread.submit(self._drawn, indices)))
                if len(waiting) > _AHEAD:
                    ready, drawn = waiting.pop(0)
                    yield self._put(ready, drawn.result())
            for ready, drawn in waiting:
                yield self._put(ready, drawn.result())

    def _round(self) -> Iterator[list[int]]:
        indices = iter(self._sampler)
        for _ in range(len(self._sampler) // self._batch):  # type: ignore[arg-type]
            # those that lie on the device first
            yield sorted(islice(indices, self._batch), key=lambda index: index >= self._resident)

    def _drawn(self, indices: Sequence[int]) -> Tensor:
        made = stacked([self._dataset[index]["image"] for index in indices if index >= self._resident])
        return made.pin_memory() if self._device.type == "cuda" and len(made) else made

    def _put(self, indices: Sequence[int], drawn: Tensor) -> Batch:
        kept = [int(index) for index in indices[: len(indices) - len(drawn)]]
        parts = [self._images[kept]] if kept else []
        parts += [drawn.to(self._device, non_blocking=True)] if len(drawn) else []
        labels = self._labels[[int(index) for index in indices]]
        return torch.cat(parts), labels.to(self._device, non_blocking=True)


def stacked(images: Sequence[Any]) -> Tensor:
    """Return images, each uint8 (H, W, C), as one tensor (N, C, H, W)."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) if images else torch.empty(0, dtype=torch.uint8)
