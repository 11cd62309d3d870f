import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.mixer import InOutMixer, interleave
from support import Shelf, Square


def test_default_is_half_in_half_out_shared_inside_each_half():
    mixer = InOutMixer([Square(), Square(), Shelf()])
    assert mixer.counts(100) == [25, 25, 50]
    assert mixer.names == ("Square-1", "Square-2", "Shelf")
    assert InOutMixer([Square(), Shelf()]).counts(9) == [4, 5]


def test_members_by_name():
    shelf = Shelf()
    assert InOutMixer([Square(), shelf])["Shelf"] is shelf
    with pytest.raises(KeyError, match="they are"):
        InOutMixer([shelf])["Square"]


def test_one_kind_makes_all():
    assert InOutMixer([Square(), Square()]).counts(9) == [5, 4]
    assert InOutMixer([Shelf()]).counts(9) == [9]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=6).filter(any), st.integers(0, 5000))
def test_counts_are_exact_and_within_one_of_the_share(weights, total):
    mixer = InOutMixer([Square() for _ in weights], weights)
    counts = mixer.counts(total)
    assert sum(counts) == total
    assert np.abs(np.array(counts) - total * np.array(weights) / sum(weights)).max() < 1 + 1e-6
    assert np.bincount(interleave(mixer.counts(total)), minlength=len(weights)).tolist() == counts


def test_any_stretch_of_the_schedule_is_mixed():
    schedule = interleave(InOutMixer([Square(), Square(), Shelf()], [1, 2, 7]).counts(1000))
    for start in range(0, 990, 7):
        counts = np.bincount(schedule[start : start + 10], minlength=3)
        assert np.abs(counts - [1, 2, 7]).max() <= 1


def test_weights_by_name():
    mixer = InOutMixer([Square(), Shelf()], {"Shelf": 2})
    assert mixer.counts(5) == [0, 5]


def test_a_member_may_say_what_it_is():
    shelf = Shelf()
    shelf.distribution, shelf.name = "out", "rack"
    mixer = InOutMixer([shelf, Square()])
    assert (mixer.names, mixer.counts(10)) == (("rack", "Square"), [5, 5])
    shelf.distribution = "elsewhere"
    with pytest.raises(ValueError, match="'in' or 'out'"):
        InOutMixer([shelf])


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        ([1], "one weight per generator"),
        ([0, 0], "all zero"),
        ([-1, 2], "negative"),
        ([float("nan"), 1], "finite"),
        ({"Sqare": 1}, r"generators are \['Square', 'Shelf'\]"),
    ],
)
def test_bad_weights_are_refused(weights, what):
    with pytest.raises(ValueError, match=what):
        InOutMixer([Square(), Shelf()], weights)


def test_no_generators_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        InOutMixer([])
