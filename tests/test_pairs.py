from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inout_aug._pairs import match, shuffled

HOSTS = st.lists(st.integers(-1, 6), max_size=12).map(lambda drawn: np.array(drawn, np.int64))
NORMALS = st.lists(st.integers(0, 6), max_size=12).map(lambda drawn: np.array(drawn, np.int64))


@given(HOSTS, NORMALS)
def test_as_many_as_can_have_a_draw_of_their_host_to_themselves(hosts, normals):
    synthetic, normal = match(hosts, normals)
    assert np.array_equal(hosts[synthetic], normals[normal])
    assert len(set(synthetic)) == len(synthetic) == len(set(normal)) == len(normal)
    both = Counter(hosts[hosts >= 0].tolist()) & Counter(normals.tolist())
    assert len(synthetic) == both.total()


@given(HOSTS, NORMALS, st.integers(0, 9), st.integers(0, 99))
def test_an_order_holds_all_draws_and_pairs_side_by_side(hosts, normals, more, seed):
    first, second = match(hosts, normals)
    total = len(normals) + len(hosts) + more
    first += len(normals)
    order = shuffled(total, first, second, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(total))
    place = np.argsort(order)
    assert (place[second] == place[first] + 1).all()
    assert (place[first] % 2 == 0).all()


def test_an_order_is_random():
    first, second = np.array([10, 11, 12]), np.array([0, 3, 6])
    orders = np.array([shuffled(14, first, second, np.random.default_rng(seed)) for seed in range(4000)])
    places = np.argsort(orders, axis=1)
    # each pair, and each other draw, is as often in one couple of places as in another
    couples = places // 2
    for draw in range(14):
        counts = np.bincount(couples[:, draw], minlength=7)
        assert ((counts - 4000 / 7) ** 2 / (4000 / 7)).sum() < 26  # chi-square of 6 degrees: 0.02 % above
    # and no two others are couples more often than others are
    alone = [draw for draw in range(14) if draw not in (0, 3, 6, 10, 11, 12)]
    together = [(couples[:, a] == couples[:, b]).mean() for a in alone for b in alone if a < b]
    assert max(together) - min(together) < 0.06
