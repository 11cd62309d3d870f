import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from inout_aug import InOutAugment
from inout_aug._hosting import HostOrder, Reads
from support import Parts, Square


@given(
    st.integers(1, 40),
    st.integers(0, 2**64 - 1),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 5)), min_size=1, max_size=30),
)
def test_many_hosts_at_once_are_those_one_by_one(count, seed, drawn):
    order = HostOrder(np.arange(count) * 3 + 1, seed)
    synthetic, epochs = np.array(drawn, np.int64).T
    expected = [order.at(*each, attempt=0) for each in drawn]
    assert order.of(synthetic, epochs).tolist() == expected


def test_all_normals_are_hosts_equally_often_and_in_another_order_in_each_epoch():
    order = HostOrder(np.array([2, 3, 5, 7, 11]), seed=4)
    epochs = [[order.at(number, epoch, 0) for number in range(15)] for epoch in range(6)]
    assert all(sorted(hosts) == sorted([2, 3, 5, 7, 11] * 3) for hosts in epochs)
    assert len({tuple(hosts) for hosts in epochs}) == 6


def test_later_attempts_are_the_hosts_of_the_next():
    order = HostOrder(np.arange(9), seed=0)
    assert [order.at(3, 1, attempt) for attempt in range(12)] == [order.at(3 + n, 1, 0) for n in range(12)]


def test_a_host_is_kept_until_it_was_taken_for_itself():
    shelf, read = list("abcdef"), []

    class Shelf:
        def __getitem__(self, index):
            read.append(index)
            return [shelf[index]]

    reads = Reads(Shelf(), real=[2, 4], shared=lambda item: None if item == ["e"] else item)
    first = reads.host(2)
    assert reads.host(2) is first
    assert reads.real(2) is first
    assert read == [2]
    # nobody wants it for itself any more
    assert reads.host(2) is not first
    assert reads.host(2) is not reads.host(2)
    # what is done to a sample could change its host
    assert reads.host(4) is not reads.real(4)
    assert read == [2, 2, 2, 2, 4, 4]


def test_nothing_is_kept_where_nothing_is_taken_for_itself():
    reads = Reads([[1], [2]], real=[], shared=lambda item: item)
    assert reads.host(1) == [2]
    assert not reads._kept


class Counted(Parts):
    """Parts that say which were read."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.reads = []

    def __getitem__(self, index):
        self.reads.append(index)
        return super().__getitem__(index)


def batches(drawn, size=8):
    return [drawn[start : start + size] for start in range(0, len(drawn), size)]


def test_a_host_that_is_in_the_batch_as_well_is_read_once_for_both():
    parts = Counted(40)
    train = InOutAugment(generators=[Square()], n_aug=20)(parts)
    drawn = list(train.sampler(num_samples=80))
    parts.reads.clear()
    read, pairs = [train.__getitems__(batch) for batch in batches(drawn)], 0
    reads = len(parts.reads)
    items = [item for batch in read for item in batch]
    for at, index in enumerate(drawn[:-1]):
        if index >= 40 and train.sample(index, index.epoch).origin.host == drawn[at + 1]:
            pairs += 1
            # outside its square the synthetic one is the very image that came after it
            assert (items[at][0] != items[at + 1][0]).any(2).sum() == 64
            assert items[at + 1][1] == 0
    assert pairs > 10
    assert reads == 80 - pairs


def test_a_host_is_read_once_per_batch_and_draw():
    parts = Counted(40)
    train = InOutAugment(generators=[Square()], n_aug=20)(parts)
    host = train.sample(45).origin.host

    def reads(*indices):
        train.set_epoch(0)
        parts.reads.clear()
        train.__getitems__(indices)
        return len(parts.reads)

    assert reads(45, host) == 1
    assert reads(45, (host + 1) % 40, host) == 2
    assert reads(45, host, host) == 2
    assert reads(45, 45, host) == 1
    # the transform of the first may have changed it
    assert reads(host, 45) == 2
    assert reads(45) + reads(host) == 2


def test_a_loader_reads_hosts_once():
    parts = Counted(40)
    train = InOutAugment(generators=[Square()], n_aug=20)(parts)
    parts.reads.clear()
    loader = DataLoader(train, batch_size=8, sampler=train.sampler(num_samples=80))
    assert sum(len(images) for images, _ in loader) == 80
    assert len(parts.reads) < 70


@pytest.mark.parametrize(
    ("wrap", "shared"),
    [
        (lambda image, mask, label, index: {"image": image, "label": label, "path": f"{index}.png"}, True),
        (lambda image, mask, label, index: (image, mask, label), True),
        (lambda image, mask, label, index: {"image": image, "label": label, "boxes": [[index]]}, False),
        (lambda image, mask, label, index: (image, torch.tensor(label)), False),
    ],
)
def test_what_a_transform_could_change_in_both_is_read_twice(wrap, shared):
    parts = Counted(40, wrap=wrap)
    train = InOutAugment(generators=[Square()], n_aug=20)(parts)
    host = train.sample(45).origin.host
    parts.reads.clear()
    train.__getitems__([45, host])
    assert parts.reads == [host] * (1 if shared else 2)


def darken(item):
    """Works in place."""
    item[0][:] //= 2
    return item


def test_a_batch_is_what_its_items_are_whatever_the_transform_does_to_them():
    train = InOutAugment(generators=[Square()], n_aug=20)(Parts(40), transform=darken, transform_on="item")
    drawn = list(train.sampler(num_samples=80))
    together = [item for batch in batches(drawn) for item in train.__getitems__(batch)]
    for index, (image, label) in zip(drawn, together, strict=True):
        expected = train[index]
        assert np.array_equal(image, expected[0])
        assert label == expected[1]
