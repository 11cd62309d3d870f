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
