import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_generators.common.pixels import scale, unscale


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_level_comes_back(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    scaled = scale(levels)
    assert scaled.dtype == np.float32
    assert (scaled[0], scaled[-1]) == (-1, 1)
    assert (np.diff(scaled) > 0).all()
    restored = unscale(scaled, dtype)
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, levels)


@given(st.floats(-3, 3, width=32))
def test_floats_become_the_nearest_level_within_the_range(value):
    got = unscale(np.array([value], np.float32), np.uint8)[0]
    distances = np.abs(np.clip(value, -1, 1) - (np.arange(256) * 2 / 255 - 1))
    assert distances[got] <= distances.min() + 1e-7
