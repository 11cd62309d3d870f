import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inout_aug.cli._intervals import interval, student


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30, 500])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_the_quantile_is_students(freedom, confidence):
    assert student(freedom, confidence) == pytest.approx(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-5)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.floats(0.5, 0.99))
def test_the_interval_is_that_of_a_t_test(values, confidence):
    found = interval(values, confidence)
    if np.std(values) < 1e-6:
        assert found.low == pytest.approx(found.high, abs=1e-3)
        return
    low, high = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4, abs=1e-4)


def test_a_single_value_says_nothing_of_its_spread():
    found = interval([0.25])
    assert str(found) == "0.250"
    assert not found.above_zero
    assert interval([1.0, 1.1]).mean == 1.05
