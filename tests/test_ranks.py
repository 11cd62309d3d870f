from __future__ import annotations

from typing import Any

import pytest
import torch

from inout_aug._ranks import world


def one_of(count: int, rank: int, path: str, queue: Any) -> None:
    before = world()
    store = torch.distributed.FileStore(path, count)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=count)
    inside = world()
    torch.distributed.destroy_process_group()
    queue.put((rank, before, inside, world()))


@pytest.mark.parametrize("count", [1, 3])
def test_a_process_group_is_asked_while_there_is_one(count: int, tmp_path: Any) -> None:
    context = torch.multiprocessing.get_context("fork")
    queue = context.Queue()
    store = str(tmp_path / "store")
    ranks = [context.Process(target=one_of, args=(count, rank, store, queue)) for rank in range(count)]
    for process in ranks:
        process.start()
    said = sorted(queue.get(timeout=120) for _ in ranks)
    for process in ranks:
        process.join()
    assert said == [(rank, None, (count, rank), None) for rank in range(count)]


def test_the_environment_alone_makes_no_process_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert world() is None


def test_a_torch_built_without_distributed_has_one_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    monkeypatch.delattr(torch.distributed, "is_initialized")  # such builds have none of the rest
    assert world() is None
