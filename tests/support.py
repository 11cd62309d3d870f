"""Small datasets and pasters that tests share; a module of its own so that spawned workers can import them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Dataset, IterableDataset

from inout_aug.sample import Sample


def normal_image(index: int, *, height: int = 24, width: int = 32, channels: int = 3, dtype: Any = np.uint8) -> Any:
    """A textured image that differs from every other index."""
    rng = np.random.default_rng(index)
    top = np.iinfo(dtype).max
    return rng.integers(top // 4, top // 2, (height, width, channels)).astype(dtype)


class Parts(Dataset):
    """(image, label) samples; every `every`-th is defective. `wrap` turns (image, mask, label, index) into an item."""

    def __init__(self, length: int = 40, *, every: int = 10, wrap: Any = None, targets: bool = True, **image: Any):
        self.length, self.every, self.wrap, self.image = length, every, wrap, image
        self.classes = ["good", "defective"]
        if targets:
            self.targets = [self.label(i) for i in range(length)]

    def label(self, index: int) -> int:
        return int(self.every > 0 and index % self.every == 0)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.length:
            raise IndexError(index)
        image, label = normal_image(index, **self.image), self.label(index)
        mask = np.zeros(image.shape[:2], np.uint8)
        if label:
            image[4:8, 4:8] = np.iinfo(image.dtype).max
            mask[4:8, 4:8] = 1
        return (image, label) if self.wrap is None else self.wrap(image, mask, label, index)


class Belt(IterableDataset):
    """The same samples as a stream, sharded by worker."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def __iter__(self) -> Any:
        from torch.utils.data import get_worker_info

        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        for index in range(start, len(self.parts), step):
            yield self.parts[index]


class Square:
    """Paster: inverts a square of 8 pixels; works on any host."""

    def __init__(self, defect_class: int = 1) -> None:
        self.defect_class = defect_class

    def make_params(self, image: Any, rng: np.random.Generator) -> dict[str, Any]:
        height, width = image.shape[:2]
        return {"y": int(rng.integers(height - 8)), "x": int(rng.integers(width - 8))}

    def apply(self, image: Any, params: dict[str, Any]) -> Any:
        out, mask = image.copy(), np.zeros(image.shape[:2], np.uint8)
        window = np.s_[params["y"] : params["y"] + 8, params["x"] : params["x"] + 8]
        out[window] = np.iinfo(image.dtype).max - out[window]
        mask[window] = self.defect_class
        return out, mask


class Shelf:
    """Sample source: `size` ready samples, all of one grey level per sample, classes in turn."""

    fingerprint = "shelf"

    def __init__(self, size: int = 8, classes: int = 1) -> None:
        self.size, self.n_classes = size, classes

    def bind(self, count: int, like: Sample, seed: int) -> Any:
        if count > self.size:
            raise ValueError(f"{count} samples wanted, {self.size} there")
        return ShelfDraws(count, like, self.n_classes)


class ShelfDraws:
    def __init__(self, count: int, like: Sample, classes: int) -> None:
        self.classes = (np.arange(count) % classes + 1).astype(np.uint8)
        self.shape, self.dtype = like.image.shape, like.image.dtype

    def __call__(self, position: int, epoch: int) -> Sample:
        kind = int(self.classes[position])
        image = np.full(self.shape, 100 + 10 * epoch + position, self.dtype)
        mask = np.zeros(self.shape[:2], np.uint8)
        mask[2:6, 2:6] = kind
        return Sample(image, mask, kind)


def kill_at(line: str, words: Sequence[Any]) -> None:
    """Start this Python with some words, and kill it with SIGKILL as soon as it says a line that begins so."""
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("only POSIX has SIGKILL")
    command = [sys.executable, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if not any(said.startswith(line) for said in process.stdout or ()):
            pytest.fail(f"it ended before it said {line!r}")
        process.kill()
