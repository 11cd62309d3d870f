import math

import numpy as np
import pytest

from inout_aug.paste._options import as_names, as_number, as_range


@pytest.mark.parametrize(
    ("given", "kept"), [(2, (2.0, 2.0)), (np.float32(0.5), (0.5, 0.5)), ((1, 3), (1.0, 3.0)), ([0, 0], (0.0, 0.0))]
)
def test_a_scalar_is_fixed_and_a_pair_is_a_range(given, kept):
    assert as_range("size", given, low=0, high=3) == kept


@pytest.mark.parametrize("wrong", [(3, 1), (-1, 1), (1, 4), (1, 2, 3), math.nan, (0, math.inf)])
def test_a_range_is_ascending_and_within_bounds(wrong):
    with pytest.raises(ValueError, match=r"size is a number, or \(smallest, largest\), in \[0, 3\]; got"):
        as_range("size", wrong, low=0, high=3)


def test_a_number_is_no_range():
    for one in (1, np.float32(1), np.int64(1)):
        assert as_number("share", one, low=0, high=1) == 1.0
    for wrong in ((0.1, 0.2), -0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"share is a number in \[0, 1\]; got"):
            as_number("share", wrong, low=0, high=1)


def test_one_name_may_stand_alone():
    assert as_names("kinds", "b", ("a", "b")) == ("b",)


@pytest.mark.parametrize("wrong", [(), "c", ("a", "c"), ("a", "a")])
def test_names_are_a_selection_of_the_known(wrong):
    with pytest.raises(ValueError, match="kinds is a selection of"):
        as_names("kinds", wrong, ("a", "b"))
