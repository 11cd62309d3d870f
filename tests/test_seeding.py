import copy
import itertools
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.seeding import EpochClock, EpochIndex, check_seed, permuted, permuted_all, stream

words = st.integers(0, 2**64 - 1)


@given(st.lists(words, min_size=1, max_size=4), st.lists(words, min_size=1, max_size=4))
def test_streams_are_equal_exactly_if_their_keys_are(a, b):
    drawn_a, drawn_b = stream(*a).integers(0, 2**63, 4), stream(*b).integers(0, 2**63, 4)
    assert np.array_equal(drawn_a, drawn_b) == (a == b)


def test_a_large_integer_is_not_two_small_ones():
    assert stream(2**32, 1).random() != stream(0, 1, 1).random()


def test_stream_is_the_same_in_another_process():
    code = "from inout_aug.seeding import stream, permuted; print(stream(1, 2, 3).random(), permuted(5, 1000, 1, 2))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [float(out[0]), int(out[1])] == [stream(1, 2, 3).random(), permuted(5, 1000, 1, 2)]


@given(st.integers(1, 300), st.lists(words, max_size=3))
def test_permuted_is_a_permutation(size, key):
    assert sorted(permuted(i, size, *key) for i in range(size)) == list(range(size))


@given(st.integers(1, 2**40), st.lists(words, max_size=3), st.data())
def test_many_positions_are_permuted_as_single_ones_are(size, key, data):
    positions = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20))
    expected = [permuted(position, size, *key) for position in positions]
    assert permuted_all(np.array(positions), size, *key).tolist() == expected


def test_permutations_of_different_keys_are_unrelated():
    size = 1000
    orders = [[permuted(i, size, key) for i in range(size)] for key in range(20)]
    # two random permutations agree in one place on average
    agreements = [np.mean(np.array(a) == np.array(b)) * size for a, b in itertools.pairwise(orders)]
    assert np.mean(agreements) < 3
    assert abs(np.corrcoef(orders[0], np.arange(size))[0, 1]) < 0.15


@pytest.mark.parametrize(("position", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_permuted_refuses_a_position_out_of_range(position, size):
    with pytest.raises(ValueError, match="position"):
        permuted(position, size)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, "1", None])
def test_seed_is_checked(seed):
    with pytest.raises(ValueError, match="seed"):
        check_seed(seed)


def test_clock_counts_visits_until_it_is_set():
    clock = EpochClock(3)
    assert [clock.tick(0), clock.tick(0), clock.tick(1), clock.tick(0)] == [0, 1, 0, 2]
    clock.set(7)
    assert [clock.tick(0), clock.tick(2)] == [7, 7]
    for wrong in (-1, 1.5, True):
        with pytest.raises(ValueError, match="epoch"):
            clock.set(wrong)


def _tick(clock, queue):
    queue.put(clock.tick(0))


@pytest.mark.parametrize(
    "copied", [lambda clock: clock, copy.deepcopy, lambda clock: pickle.loads(pickle.dumps(clock))]
)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_clock_is_shared_between_processes(method, copied):
    context = mp.get_context(method)
    clock, queue = copied(EpochClock(1)), context.Queue()
    for expected in (0, 1):
        child = context.Process(target=_tick, args=(clock, queue))
        child.start()
        assert queue.get(timeout=60) == expected
        child.join()
    assert clock.tick(0) == 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda index: pickle.loads(pickle.dumps(index))])
def test_epoch_index_is_an_int_and_keeps_what_it_says_when_copied(copied):
    index = copied(EpochIndex(5, 3))
    assert (index, index + 0, index.epoch) == (5, 5, 3)
    assert isinstance(index, EpochIndex)
