"""A loader of a wrapped dataset beside that of the same one unwrapped, on files that are really decoded.

A process decides by where its heap puts the buffers how fast a loader is, for as long as it lives, and favours now one
loader and now the other by some per cent. So a case is measured in several fresh processes, in each of which all take
turns, and the median of the processes' ratios is told: more processes tell more than more epochs.
"""

from __future__ import annotations

import ctypes
import itertools
import math
import multiprocessing
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import torch
from common import take_turns
from PIL import Image as Pillow
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from inout_aug import InOutAugment, MemSegPaste
from inout_aug.datasets import Surfaces

FILES = (("jpg", (512, 512)), ("png", (640, 232)), ("png", (1024, 1024)))
FILES_EACH = 64
# Pixels that an epoch of the unwrapped loader reads: many batches, so that workers are at work together.
PIXELS = 2**26
WORKERS = (0, 2)
BATCH_SIZE = 16
TO_TENSOR = (v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3))
TRANSFORMS = {
    "bare": v2.Compose(TO_TENSOR),
    "augmented": v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip(), v2.ColorJitter(0.1, 0.1), *TO_TENSOR]),
}
# mallopt's, of malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


class Files(Dataset[Any]):
    """Pictures on disk, as a user's dataset reads them."""

    def __init__(self, paths: list[Path], transform: Callable[[Any], Any] | None = None) -> None:
        self.paths = paths
        self.transform = transform
        self.targets = [0] * len(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image: Any = Pillow.open(self.paths[index]).convert("RGB")
        return (self.transform(image) if self.transform else image), 0


def measure(textures: Path, seed: int, repeats: int, processes: int) -> Iterator[tuple[str, dict[str, list[float]]]]:
    """Measure shuffled epochs, and those of `train.sampler()` with the same share of positives.

    Args:
        textures: Folder of textures to paste.
        seed: Of the orders and the pastes.
        repeats: Epochs of each loader in each process.
        processes: In which all is measured.

    Yields:
        What is read and how, and the seconds of a sample, of each loader in each process.
    """
    with tempfile.TemporaryDirectory() as temporary:
        for suffix, size in FILES:
            paths = write_surfaces(Path(temporary), FILES_EACH, size, suffix)
            paths *= math.ceil(PIXELS / (len(paths) * math.prod(size)))
            for transform, workers in itertools.product(TRANSFORMS, WORKERS):
                task = paths, textures, transform, workers, seed, repeats
                found = [_in_new_process(task) for _ in range(processes)]
                seconds = {kind: [each[kind] for each in found] for kind in found[0]}
                yield f"{suffix} {size[0]}×{size[1]}, {transform}, {workers} workers", seconds


def write_surfaces(folder: Path, count: int, size: tuple[int, int], suffix: str) -> list[Path]:
    surfaces = Surfaces(count, size=size, defect_share=0)
    paths = [folder / f"{size[0]}x{size[1]}_{index}.{suffix}" for index in range(count)]
    for index, path in enumerate(paths):
        Pillow.fromarray(surfaces[index]["image"]).save(path, quality=92)  # of JPEG; PNG is lossless
    return paths


def _in_new_process(task: tuple[Any, ...]) -> dict[str, float]:
    # not a pool's: those may have no workers of their own
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_seconds_per_sample, *task).result()


def _seconds_per_sample(
    paths: list[Path], textures: Path, transform: str, workers: int, seed: int, repeats: int
) -> dict[str, float]:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _keep_freed_memory()
    augment = InOutAugment(generators=[MemSegPaste(textures)], ratio=0.5, seed=seed)
    wrapped = augment(Files(paths), transform=TRANSFORMS[transform])
    loaders = {
        "unwrapped": _loader(Files(paths, TRANSFORMS[transform]), workers, seed),
        "wrapped, shuffled": _loader(wrapped, workers, seed),
        "wrapped, its sampler": _loader(wrapped, workers, sampler=wrapped.sampler(positives=1 / 3)),
    }
    epochs = {kind: _epoch(loader) for kind, loader in loaders.items()}
    # workers' heaps grow for two epochs
    medians = take_turns(epochs, repeats, warm_up=2, clock=time.perf_counter if workers else time.thread_time)
    # the wrapped set is half as long again
    return {kind: median / len(loaders[kind].dataset) for kind, median in medians.items()}  # type: ignore[arg-type]


def _loader(dataset: Any, workers: int, seed: int = 0, sampler: Any = None) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        shuffle=sampler is None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )


def _epoch(loader: DataLoader[Any]) -> Callable[[int], object]:
    return lambda _: sum(len(batch) for batch in loader)


def _keep_freed_memory() -> None:
    """Tell glibc's malloc to give nothing back, and to map only what is larger than 32 MiB, which is its most.

    Whether a loader must ask the system for its memory anew depends on where in the heap it happens to lie.
    """
    if platform.libc_ver()[0] == "glibc":
        for option, value in ((M_TRIM_THRESHOLD, 2**31 - 1), (M_MMAP_THRESHOLD, 2**25)):
            ctypes.CDLL(None).mallopt(option, value)
