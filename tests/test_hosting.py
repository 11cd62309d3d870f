import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inout_aug._hosting import HostOrder


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
