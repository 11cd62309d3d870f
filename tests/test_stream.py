import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from inout_aug.augment import InOutAugment
from inout_aug.stream import InOutIterableDataset
from support import Belt, Parts, Shelf, Square


def keep_index(image, mask, label, index):
    return {"image": image, "label": label, "index": index, "synthetic": False}


def stream(parts, ratio, *members, **options):
    return InOutAugment(generators=members or [Square()], ratio=ratio, **options)(
        Belt(parts), defaults={"synthetic": True} if parts.wrap else None
    )


@given(st.floats(0, 4), st.integers(1, 60), st.integers(0, 3))
def test_the_ratio_holds_after_every_real_sample(ratio, length, first_normal):
    train = stream(Parts(length, every=0, wrap=keep_index), ratio)
    assert isinstance(train, InOutIterableDataset)
    real = synthetic = 0
    for item in train:
        if not item["synthetic"]:
            # all that was due after the sample before has come by now
            assert synthetic == int(np.floor(ratio * real + 0.5))
            assert item["index"] == real
        synthetic += item["synthetic"]
        real += not item["synthetic"]
    assert (real, synthetic) == (length, int(np.floor(ratio * length + 0.5)))


def test_any_thousand_samples_hold_the_ratio():
    train = stream(Parts(3000, every=7, wrap=keep_index, height=16, width=16), 0.37)
    flags = np.array([item["synthetic"] for item in train])
    for start in range(0, len(flags) - 1000, 100):
        assert abs(flags[start : start + 1000].sum() - 1000 * 0.37 / 1.37) <= 1


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_workers_share_the_synthetic_samples_without_duplicates(workers):
    train = stream(Parts(120, wrap=keep_index, height=128, width=128), 0.5)
    items = list(DataLoader(train, batch_size=None, num_workers=workers))
    real = sorted(item["index"] for item in items if not item["synthetic"])
    synthetic = [item for item in items if item["synthetic"]]
    assert real == list(range(120))
    assert len(synthetic) == 60
    assert all(item["label"] == 1 for item in synthetic)
    assert len({np.asarray(item["image"]).tobytes() for item in synthetic}) == 60


@pytest.mark.parametrize("persistent", [False, True])
def test_epochs_differ_and_set_epoch_repeats_them(persistent):
    def epoch(loader):
        return [np.asarray(image).tobytes() for image, _ in loader]

    train = stream(Parts(40), 0.5)
    loader = DataLoader(train, batch_size=None, num_workers=2, persistent_workers=persistent)
    first, second = epoch(loader), epoch(loader)
    assert first != second
    train.set_epoch(0)
    assert epoch(loader) == first
    frozen = stream(Parts(40), 0.5, resample=False)
    assert list(map(len, [epoch(frozen)])) == [60]
    assert epoch(frozen) == epoch(frozen)


def test_only_normal_samples_are_hosts_and_none_is_painted_before_the_first():
    parts = Parts(12, wrap=keep_index)
    parts.every, parts.targets = 1, [1] * 12
    with_normals_late = [parts[i] for i in range(12)] + [Parts(40, every=0, wrap=keep_index)[i] for i in range(3)]

    class Late(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from with_normals_late

    items = list(InOutAugment(generators=[Square()], ratio=1.0)(Late(), defaults={"synthetic": True}))
    assert [item["synthetic"] for item in items[:13]] == [False] * 13
    assert sum(item["synthetic"] for item in items) == 15
    assert {item["index"] for item in items if item["synthetic"]} <= {0, 1, 2}


def test_the_shares_of_generators_are_exact():
    train = stream(Parts(200, every=0, wrap=keep_index), 1.0, Square(), Shelf(1000))
    levels = [len(np.unique(item["image"])) == 1 for item in train if item["synthetic"]]
    assert sum(levels) == 100


def test_length_is_known_where_the_stream_knows_it():
    train = stream(Parts(10), 0.25)
    with pytest.raises(TypeError):
        len(train)
    train.dataset.__class__.__len__ = lambda self: len(self.parts)
    try:
        assert len(train) == 13
    finally:
        del train.dataset.__class__.__len__


def test_pickles():
    train = pickle.loads(pickle.dumps(stream(Parts(10), 0.5)))
    assert len(list(train)) == 15
    assert train.parts.classes == ["good", "defective"]


@pytest.mark.parametrize("count", [{"n_aug": 5}, {"balance": 0.5}])
def test_a_stream_needs_a_ratio(count):
    with pytest.raises(ValueError, match="an iterable dataset needs ratio="):
        InOutAugment(generators=[Square()], **count)(Belt(Parts(10)))


def test_an_empty_stream_and_labels_are_refused():
    with pytest.raises(ValueError, match="empty"):
        stream(Parts(0, targets=False), 0.5)
    with pytest.raises(ValueError, match="map-style"):
        InOutAugment(generators=[Square()], ratio=1)(Belt(Parts(10)), labels=[0] * 10)


def test_what_the_loop_does_to_an_item_does_not_reach_the_hosts():
    def spoilt(items):
        for item in items:
            image = item["image"].copy()
            item["image"][:] = 0
            yield image

    parts = Parts(30, every=0, wrap=keep_index)
    kept = [np.asarray(item["image"]).copy() for item in stream(parts, 1.0)]
    assert all(np.array_equal(a, b) for a, b in zip(spoilt(stream(parts, 1.0)), kept, strict=True))


class SameBuffer(Belt):
    def __iter__(self):
        buffer = None
        for image, label in super().__iter__():
            buffer = image.copy() if buffer is None else buffer
            buffer[:] = image
            yield buffer, label


def test_a_stream_that_reuses_its_buffer_works():
    parts = Parts(30, every=0)
    reused = InOutAugment(generators=[Square()], ratio=1.0)(SameBuffer(parts))
    fresh = InOutAugment(generators=[Square()], ratio=1.0)(Belt(parts))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(map(copy_first, reused), fresh, strict=True))


def copy_first(item):
    return item[0].copy(), item[1]


def synthetic_of(loader):
    return [np.asarray(item["image"]).tobytes() for item in loader if item["synthetic"]]


def rank_of_two(rank, train, store, queue):
    """Read a shard in a process group: rank 0 by itself, rank 1 in a spawned worker."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.FileStore(store, 2), rank=rank, world_size=2)
    spawned = {"num_workers": 1, "multiprocessing_context": "spawn"} if rank else {}
    queue.put((rank, synthetic_of(DataLoader(train, batch_size=None, **spawned))))
    torch.distributed.destroy_process_group()


def test_a_spawned_worker_of_a_rank_draws_what_the_rank_itself_would(tmp_path, monkeypatch):
    context = torch.multiprocessing.get_context("fork")
    queue = context.Queue()
    train = stream(Parts(40, every=0, wrap=keep_index, height=64, width=64), 0.5)
    train.set_epoch(0)
    ranks = [context.Process(target=rank_of_two, args=(r, train, str(tmp_path / "store"), queue)) for r in range(2)]
    for process in ranks:
        process.start()
    images = dict(queue.get(timeout=120) for _ in ranks)
    for process in ranks:
        process.join()
    assert len(images[0]) == len(images[1]) == 20
    assert not set(images[0]) & set(images[1])
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        assert images[rank] == synthetic_of(train)


def forked_rank(rank, train, workers, queue, turns):
    """Read three epochs, the ranks in turns."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2")
    for epoch in range(3):
        for turn in range(2):
            if turn == rank:
                queue.put((rank, epoch, synthetic_of(DataLoader(train, batch_size=None, num_workers=workers))))
            turns.wait(60)


@pytest.mark.parametrize("workers", [0, 2])
def test_forked_ranks_count_their_own_epochs(workers, monkeypatch):
    context = torch.multiprocessing.get_context("fork")
    queue, turns = context.Queue(), context.Barrier(2)
    train = stream(Parts(24, every=0, wrap=keep_index), 0.5)
    ranks = [context.Process(target=forked_rank, args=(r, train, workers, queue, turns)) for r in range(2)]
    for process in ranks:
        process.start()
    seen = {(rank, epoch): images for rank, epoch, images in (queue.get(timeout=120) for _ in range(6))}
    for process in ranks:
        process.join()
    told = stream(Parts(24, every=0, wrap=keep_index), 0.5)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for (rank, epoch), images in seen.items():
        monkeypatch.setenv("RANK", str(rank))
        told.set_epoch(epoch)
        assert images == synthetic_of(DataLoader(told, batch_size=None, num_workers=workers))


class Once(Belt):
    def __init__(self, parts):
        super().__init__(parts)
        self.stored = super().__iter__()

    def __iter__(self):
        return self.stored


def test_streams_that_would_mislead_are_refused():
    with pytest.raises(TypeError, match="once only"):
        InOutAugment(generators=[Square()], ratio=1)(Once(Parts(10)))
    with pytest.raises(ValueError, match="none of 10 samples was normal"):
        list(stream(Parts(10, every=1), 1.0))
    other = Parts(10, wrap=lambda image, mask, label, index: (image, 5 * label))
    with pytest.raises(ValueError, match=r"sample 0 has label 5.*positive_label="):
        list(InOutAugment(generators=[Square()], ratio=1)(Belt(other)))
    assert len(list(InOutAugment(generators=[Square()], ratio=1, positive_label=5)(Belt(other)))) == 20
