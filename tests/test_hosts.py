"""Generators that change normal images get some to change, and the wrapped dataset gets them back with a defect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import IterableDataset

from inout_aug import InOutAugment, Request
from inout_aug.hosts import OnHosts
from inout_aug.sample import Sample
from inout_aug.seeding import stream


class Dots:
    """A generator that makes one pixel of its host white; the row tells the class."""

    fingerprint = "dots 1"
    hosts = True
    defect_classes = 2

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        return [self.make(request) for request in requests]

    def make(self, request: Request) -> Sample:
        assert request.host is not None
        image, mask = request.host.copy(), np.zeros((request.height, request.width), np.uint8)
        image[request.defect_class, 3] = np.iinfo(image.dtype).max
        mask[request.defect_class, 3] = request.defect_class
        return Sample(image, mask, request.defect_class)


class Normals:
    """Noise, every third item defective; one item is of another size."""

    def __init__(self, dtype: Any = np.uint16) -> None:
        self.dtype = dtype

    def __len__(self) -> int:
        return 30

    def __getitem__(self, k: int) -> dict[str, Any]:
        if k >= len(self):
            raise IndexError(k)
        size = (24, 20) if k == 7 else (20, 24)
        image = stream(k).integers(0, 200, (*size, 1)).astype(self.dtype)
        mask = np.zeros(size, np.uint8)
        mask[5:9, 5:9] = k % 3 == 0
        return {"image": image, "mask": mask, "label": int(k % 3 == 0)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path / "caches"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_synthetic_samples_are_the_datasets_normal_images_with_a_defect(dtype: Any) -> None:
    dataset = Normals(dtype)
    augment = InOutAugment(generators=[Dots()], n_aug=12, resample=False)
    train = augment(dataset)
    normal = [dataset[k]["image"] for k in range(30) if k % 3]
    used, rows = set(), []
    for k in range(30, 42):
        item = train[k]
        assert item["image"].dtype == dtype
        (changed,) = np.argwhere(item["mask"])
        rows.append(int(changed[0]))
        item["image"][tuple(changed)] = 0
        for host in normal:
            host[tuple(changed)] = 0
        same = [number for number, host in enumerate(normal) if np.array_equal(host, item["image"])]
        assert len(same) == 1
        used.update(same)
        normal = [dataset[k]["image"] for k in range(30) if k % 3]
    assert sorted(rows) == [1] * 6 + [2] * 6
    assert len(used) > 4
    again = augment(dataset)
    assert all(np.array_equal(train[k]["image"], again[k]["image"]) for k in range(30, 42))


def test_a_host_depends_on_the_requests_seed_alone() -> None:
    hosts = [Sample(np.full((16, 16, 1), k, np.uint8)) for k in range(50)]
    generator = OnHosts(Dots(), hosts)
    requests = [Request(seed=seed, height=16, width=16, channels=1) for seed in range(8)]
    together = generator.generate(requests)
    assert [s.origin.host for s in together] == [generator.generate([r])[0].origin.host for r in requests]
    assert all(s.origin.host == s.image[0, 0, 0] for s in together)
    assert len({s.origin.host for s in together}) > 4


def test_other_hosts_have_another_fingerprint() -> None:
    def of(values: Sequence[int]) -> str:
        return OnHosts(Dots(), [Sample(np.full((16, 16, 1), value, np.uint8)) for value in values]).fingerprint

    assert of([1, 2, 3]) == of([1, 2, 3])
    assert len({of([1, 2, 3]), of([1, 2]), of([1, 9, 3])}) == 3


def test_hosts_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(ValueError, match="there are none"):
        OnHosts(Dots(), [])
    small = OnHosts(Dots(), [Sample(np.zeros((16, 16, 1), np.uint8))])
    with pytest.raises(ValueError, match=r"shape asked for, \(32, 32, 1\)"):
        small.generate([Request(seed=0, height=32, width=32, channels=1)])

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter([Normals()[k] for k in range(5)])

    with pytest.raises(ValueError, match="OnHosts"):
        InOutAugment(generators=[Dots()], ratio=0.5)(Stream())
