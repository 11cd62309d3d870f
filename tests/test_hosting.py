import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inout_aug._hosting import HostOrder, Reads


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

    reads = Reads(Shelf(), real=[2, 4], leaves_alone=lambda item: item != ["e"])
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
    reads = Reads([[1], [2]], leaves_alone=lambda item: True)
    assert reads.host(1) == [2]
    assert not reads._kept
