"""Windows of hosts, and what is put back: nothing but the region changes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.plugin import Request
from inout_aug.sample import Origin, Sample
from inout_generators.common.insertion import Window, answered, blend, put_back, window_anywhere, window_around

SIDES = st.integers(16, 80)


@given(height=SIDES, width=SIDES, size=st.tuples(SIDES, SIDES), seed=st.integers(0, 999))
def test_a_window_anywhere_lies_in_the_host(height: int, width: int, size: tuple[int, int], seed: int) -> None:
    window = window_anywhere((height, width), size, np.random.default_rng(seed))
    assert window.size == (min(height, size[0]), min(width, size[1]))
    assert np.zeros((height, width))[window.slices].shape == window.size


def test_windows_come_to_every_place() -> None:
    tops = {window_anywhere((20, 30), (16, 16), np.random.default_rng(seed)).top for seed in range(60)}
    assert tops == {0, 1, 2, 3, 4}


@given(data=st.data(), height=SIDES, width=SIDES, size=st.tuples(SIDES, SIDES))
def test_a_window_holds_its_region_and_some_context(data: Any, height: int, width: int, size: tuple[int, int]) -> None:
    rows = sorted(data.draw(st.tuples(st.integers(0, height - 1), st.integers(0, height - 1))))
    columns = sorted(data.draw(st.tuples(st.integers(0, width - 1), st.integers(0, width - 1))))
    region = np.zeros((height, width), np.uint8)
    region[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 7
    window = window_around(region, size)
    assert region[window.slices].sum() == region.sum()
    for axis, (first, last) in enumerate((rows, columns)):
        start, length = ((window.top, window.height), (window.left, window.width))[axis]
        margin = round(0.125 * size[axis])
        assert start <= max(0, first - margin + 1)
        assert start + length >= min(region.shape[axis], last + margin)
        assert start >= 0
        assert start + length <= region.shape[axis]
        assert length == min(region.shape[axis], max(size[axis], last - first + 1 + 2 * margin))


@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    channels=st.sampled_from([1, 3]),
    feather=st.floats(0, 9),
)
def test_outside_the_region_every_bit_is_the_hosts(seed: int, dtype: Any, channels: int, feather: float) -> None:
    rng = np.random.default_rng(seed)
    white = np.iinfo(dtype).max
    host = rng.integers(0, white, (20, 24, channels), dtype, endpoint=True)
    before = host.copy()
    made = rng.normal(white / 2, white, host.shape)
    region = (rng.random((20, 24)) < rng.random()).astype(np.uint8) * np.uint8(3)
    mixed = blend(host, made, region, feather)
    assert mixed.dtype == dtype
    np.testing.assert_array_equal(mixed[region == 0], host[region == 0])
    np.testing.assert_array_equal(host, before)
    # between the two, whatever the opacity
    low, high = np.minimum(host, made), np.maximum(host, made)
    assert (mixed >= np.clip(np.floor(low), 0, white))[region > 0].all()
    assert (mixed <= np.clip(np.ceil(high), 0, white))[region > 0].all()


def test_thin_defects_keep_their_contrast_and_thick_ones_fade_in() -> None:
    host, made = np.full((40, 40, 1), 200, np.uint8), np.zeros((40, 40, 1))
    region = np.zeros((40, 40), np.uint8)
    region[5] = 1
    region[20:36, 10:30] = 1
    mixed = blend(host, made, region, feather=3)[..., 0]
    assert (mixed[5] == 0).all()
    assert mixed[20:25, 20].tolist() == [150, 100, 50, 0, 0]
    assert (blend(host, made, region, feather=0)[region > 0] == 0).all()
    # where the host ends there is no edge to fade at
    assert (blend(host, made, np.ones((40, 40), np.uint8)) == 0).all()


def test_what_does_not_fit_is_refused() -> None:
    host = np.zeros((16, 16, 1), np.uint8)
    with pytest.raises(ValueError, match="differ in size"):
        blend(host, np.zeros((16, 17, 1)), np.ones((16, 16), np.uint8))
    with pytest.raises(ValueError, match="not finite"):
        blend(host, np.full((16, 16, 1), np.nan), np.ones((16, 16), np.uint8))


def test_what_is_put_back_lies_in_its_window_and_region() -> None:
    host = np.full((20, 30, 1), 200, np.uint8)
    region = np.zeros((16, 16), np.uint8)
    region[3, 4:9] = 2
    image, mask = put_back(host, Window(2, 10, 16, 16), np.zeros((16, 16, 1)), region, feather=3)
    assert (host == 200).all()
    assert (image[5, 14:19] == 0).all()
    assert (image == 0).sum() == (mask == 2).sum() == 5
    assert set(np.unique(image)) == {0, 200}
    assert mask[5, 14] == 2


def test_requests_are_answered_in_their_order_whatever_is_made_together() -> None:
    host = np.zeros((16, 16, 1), np.uint8)
    requests = [Request(seed=k, height=16, width=16, host=host if k in (1, 2) else None) for k in range(5)]
    together: list[list[int]] = []

    def make(these: Sequence[Request]) -> list[Sample]:
        together.append([request.seed for request in these])
        return [Sample(host, host[..., 0], 1, Origin(seed=(request.seed,))) for request in these]

    samples = answered(requests, whole=make, inserted=make)
    assert [sample.origin.seed for sample in samples] == [(0,), (1,), (2,), (3,), (4,)]
    assert together == [[0, 3, 4], [1, 2]]
