"""The one line: a paster and a model of one's own on a dataset, in any kind of worker, and the model runs once."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from inout_aug import InOutAugment, MemSegPaste, Request
from inout_aug.cache.sampler import CachedSampler
from inout_aug.datasets import KSDD2, Surfaces
from inout_aug.sample import Sample
from inout_aug.seeding import stream

LOADERS = [
    pytest.param(0, None, id="main process"),
    pytest.param(2, "fork", id="2 forked workers"),
    pytest.param(2, "spawn", id="2 spawned workers"),
]


@dataclass
class Cracks:
    """Stands in for a diffusion model: dark cracks on a noisy surface; writes down what it makes."""

    log: Path
    version: str = "1"

    @property
    def fingerprint(self) -> str:
        return f"cracks {self.version}"

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        with self.log.open("a") as log:
            log.writelines(f"{request.seed}\n" for request in requests)
        return [self.make(request) for request in requests]

    def make(self, request: Request) -> Sample:
        rng = stream(request.seed)
        height, width = request.height, request.width
        image = rng.normal(110, 8, (height, width, request.channels)).clip(0, 255).astype(np.uint8)
        ends = rng.integers([width, height, width, height])
        mask = cv2.line(np.zeros((height, width), np.uint8), ends[:2].tolist(), ends[2:].tolist(), 1, 2)
        image[mask > 0] = 25
        return Sample(image, mask, request.defect_class)

    @property
    def made(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"


@pytest.fixture
def cracks(tmp_path: Path) -> Cracks:
    return Cracks(tmp_path / "log.txt")


def checksum(item: Any) -> int:
    return zlib.crc32(b"".join(np.ascontiguousarray(item[key]).tobytes() for key in ("image", "mask", "label")))


def epochs(train: Dataset[Any], workers: int, method: str | None, count: int = 2) -> list[list[int]]:
    """Checksums of all items, epoch by epoch."""
    settings = {"multiprocessing_context": method, "persistent_workers": True} if workers else {}
    loader = DataLoader(train, batch_size=None, num_workers=workers, **settings)
    return [[checksum(item) for item in loader] for _ in range(count)]


@pytest.mark.parametrize(("workers", "method"), LOADERS)
def test_one_line(cracks: Cracks, workers: int, method: str | None) -> None:
    dataset = Surfaces(40, size=(64, 64), binary=True)
    train = InOutAugment(generators=[MemSegPaste(), cracks], ratio=0.5)(dataset)
    assert len(train) == 60
    assert len(cracks.made) == len(set(cracks.made)) == 10
    assert train.summary().synthetic == {"MemSegPaste": 10, "Cracks": 10}

    first, second = epochs(train, workers, method)
    assert len(cracks.made) == 10
    assert first[:40] == second[:40] == [checksum(dataset[index]) for index in range(40)]
    expected = epochs(InOutAugment(generators=[MemSegPaste(), cracks], ratio=0.5)(dataset), 0, None)
    assert [first, second] == expected
    assert len(cracks.made) == 10

    drawn = [[train.sample(index, epoch) for index in range(40, 60)] for epoch in range(2)]
    for samples in drawn:
        generated = [sample for sample in samples if sample.origin.generator == "Cracks"]
        # exact coverage: each of the ten once an epoch
        assert sorted(sample.origin.params["index"] for sample in generated) == list(range(10))
        for sample in generated:
            made = cracks.make(Request(seed=sample.origin.seed[0], height=64, width=64))
            np.testing.assert_array_equal(sample.image, made.image)
            np.testing.assert_array_equal(sample.mask, made.mask)
            assert sample.origin.fingerprint == cracks.fingerprint


def test_more_are_added_and_another_model_has_its_own(cracks: Cracks, folder: Path) -> None:
    dataset = Surfaces(20, size=(64, 64), binary=True)
    for n_aug, made in ((6, 6), (4, 6), (9, 9)):
        InOutAugment(generators=[cracks], n_aug=n_aug)(dataset)
        assert len(cracks.made) == made
    InOutAugment(generators=[Cracks(cracks.log, version="2")], n_aug=3)(dataset)
    assert len(cracks.made) == 12
    assert len(list(folder.iterdir())) == 2


def test_a_generator_without_a_share_makes_nothing(cracks: Cracks) -> None:
    dataset = Surfaces(20, size=(64, 64), binary=True)
    InOutAugment(generators=[MemSegPaste(), cracks], n_aug=4, weights=[1, 0])(dataset)
    assert cracks.made == []


def test_a_cache_in_a_dataset_of_another_size(cracks: Cracks, folder: Path) -> None:
    InOutAugment(generators=[cracks], n_aug=6)(Surfaces(20, size=(64, 64), binary=True))
    (cache,) = folder.iterdir()
    train = InOutAugment(generators=[CachedSampler(cache)], n_aug=6)(Surfaces(20, size=(48, 80), binary=True))
    assert {train[20 + k]["image"].shape for k in range(6)} == {(48, 80, 3)}
    assert len(cracks.made) == 6


@pytest.mark.real_data
@pytest.mark.parametrize(("workers", "method"), LOADERS)
def test_one_line_on_real_images(real_data: Path, cracks: Cracks, workers: int, method: str | None) -> None:
    dataset = KSDD2(real_data / "ksdd1", "train", strict_counts=False, size=(160, 64))
    textures = real_data / "textures"
    train = InOutAugment(generators=[MemSegPaste(textures), cracks], ratio=0.1)(dataset)
    assert len(train) == 223 + 22
    assert len(cracks.made) == 11
    subset = [index for index in range(len(train)) if index % 20 == 0 or index >= 223]
    first, second = epochs(Some(train, subset), workers, method)
    assert len(cracks.made) == 11
    real = sum(index < 223 for index in subset)
    assert first[:real] == second[:real]
    assert [first, second] == [
        [checksum(part) for part in (train.dataset[i] if i < 223 else as_item(train, i, epoch) for i in subset)]
        for epoch in range(2)
    ]


def as_item(train: Any, index: int, epoch: int) -> Any:
    sample = train.sample(index, epoch)
    return {"image": sample.image, "mask": sample.mask, "label": sample.label}


class Some(Dataset):
    """A part of a dataset whose items are all of one kind."""

    def __init__(self, dataset: Any, indices: list[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Any:
        return self.dataset[self.indices[position]]
