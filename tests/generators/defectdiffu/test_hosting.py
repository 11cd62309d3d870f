"""Hosts as the net sees them: windows of whole cells, which cells are drawn anew, and units there and back."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from inout_aug.plugin import Request
from inout_aug.seeding import stream
from inout_generators.common.insertion import Window
from inout_generators.common.pixels import scale
from inout_generators.defectdiffu.drawing import Drawn
from inout_generators.defectdiffu.hosting import as_host, start_from, window_in, with_channels
from inout_generators.defectdiffu.spaces import PixelSpace

SIDES = st.tuples(st.integers(16, 120), st.integers(16, 120))
CELLS = st.sampled_from([1, 4, 8, 16])


class Blocks(PixelSpace):
    """Means of blocks of pixels, as an autoencoder would shrink them."""

    factor = 4

    def encode(self, images: Any, noise: Tensor | None = None) -> Tensor:
        return F.avg_pool2d(super().encode(images), self.factor)


@given(host=SIDES, size=st.none() | SIDES, cell=CELLS, seed=st.integers(0, 999))
def test_without_a_region_a_window_of_whole_cells_lies_anywhere(host: Any, size: Any, cell: int, seed: int) -> None:
    if size is not None and min(size) < cell:
        size = None
    window = window_in((*host, 3), None, size, cell, stream(seed))
    wanted = host if size is None else np.minimum(host, size)
    assert window.size == tuple(side // cell * cell for side in wanted)
    assert np.zeros(host)[window.slices].shape == window.size


@given(data=st.data(), host=SIDES, whole=st.booleans(), cell=CELLS, seed=st.integers(0, 999))
def test_a_region_that_fits_into_the_hosts_whole_cells_is_seen_whole(
    data: Any, host: Any, whole: bool, cell: int, seed: int
) -> None:
    size = None if whole else tuple(cell * data.draw(st.integers(-(-16 // cell), -(-64 // cell))) for _ in host)
    spans = []
    for side in host:
        first = data.draw(st.integers(0, side - 1))
        spans.append((first, data.draw(st.integers(first + 1, min(side, first + side // cell * cell)))))
    region = np.zeros(host, np.uint8)
    region[slice(*spans[0]), slice(*spans[1])] = 255
    window = window_in(host, region, size, cell, stream(seed))
    assert region[window.slices].sum() == region.sum()
    assert np.zeros(host)[window.slices].shape == window.size
    for start, length, side, trained, (first, last) in zip(
        (window.top, window.left), window.size, host, size or host, spans, strict=True
    ):
        known = min(side, trained) // cell * cell
        margin = 0 if size is None else round(0.125 * known)
        assert length % cell == 0
        # what was trained on, and as much more as it takes, where the host has it
        needed = max(known, last - first + 2 * margin)
        assert min(needed, side // cell * cell) <= length < needed + cell
        if length >= needed:
            assert start == 0 or first - start >= margin
            assert start + length == side or start + length - last >= margin


def test_a_region_larger_than_the_windows_is_seen_in_one_cell_more() -> None:
    region = np.zeros((80, 152), np.uint8)
    region[9:50, 23:50] = 1
    assert window_in((80, 152), region, (16, 16), 16, stream(0)) == Window(5, 20, 48, 32)


def test_windows_come_to_every_place_and_a_region_decides_without_drawing() -> None:
    tops = {window_in((23, 37), None, None, 8, stream(seed)).top for seed in range(80)}
    assert tops == set(range(8))
    region = np.zeros((23, 37), np.uint8)
    region[22, 0] = 1
    rng = stream(0)
    assert window_in((23, 37), region, None, 8, rng) == Window(7, 0, 16, 32)
    assert rng.random() == stream(0).random()


def test_what_no_whole_cell_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a host has at least 32 pixels a side; got \(31, 64\)"):
        window_in((31, 64, 1), None, None, 32, stream(0))
    corners = np.zeros((17, 17), np.uint8)
    corners[0, 16] = corners[16, 0] = 1
    with pytest.raises(ValueError, match="no whole cell of 16 pixels"):
        window_in((17, 17), corners, None, 16, stream(0))


@given(seed=st.integers(0, 2**32 - 1), channels=st.sampled_from([1, 3]), dtype=st.sampled_from([np.uint8, np.uint16]))
def test_cells_with_any_of_the_region_are_drawn_anew_and_all_others_are_held(
    seed: int, channels: int, dtype: Any
) -> None:
    rng = np.random.default_rng(seed)
    host = rng.integers(0, np.iinfo(dtype).max, (40, 50, channels), dtype, endpoint=True)
    region = (rng.random((16, 24)) < rng.random() / 4).astype(np.uint8)
    window = Window(5, 9, 16, 24)
    request = Request(seed=0, height=40, width=50, channels=channels, host=host, strength=0.7)
    space = Blocks(3)
    start = start_from(space, request, window, region)
    expected = [[not region[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].any() for x in range(6)] for y in range(4)]
    assert start.held.shape == (1, 4, 6)
    assert start.held[0].tolist() == expected
    assert (start.strength, start.region is region) == (0.7, True)
    torch.testing.assert_close(start.x0, space.encode(host[None, 5:21, 9:33])[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_drawn_comes_back_in_the_hosts_units(channels: int, dtype: Any) -> None:
    white = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, white, (16, 24, channels), dtype, endpoint=True)
    image[0, :2] = [[0], [white]]

    def drawn(values: Any) -> Drawn:
        return Drawn(values, values[..., 0], np.zeros(values.shape[:2], np.uint8))

    same = as_host(drawn(scale(image)), image)
    np.testing.assert_array_equal(np.rint(same), image)
    other = as_host(drawn(scale(image)), np.repeat(image[..., :1], 4 - channels, axis=2))
    luma = image.astype(float) @ [0.299, 0.587, 0.114] if channels == 3 else image[..., 0].astype(float)
    assert other.shape == (16, 24, 4 - channels)
    for channel in np.moveaxis(other, 2, 0):
        np.testing.assert_allclose(channel, luma, atol=white * 1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_grey_is_luma_and_colour_is_grey_three_times(dtype: Any) -> None:
    colour = np.random.default_rng(1).integers(0, 256, (9, 7, 3)).astype(dtype)
    grey = with_channels(colour, 1)
    assert grey.shape == (9, 7, 1)
    assert (grey.dtype == np.uint8) is (dtype == np.uint8)
    tolerance = 1 if dtype == np.uint8 else 1e-3
    np.testing.assert_allclose(grey[..., 0], colour.astype(float) @ [0.299, 0.587, 0.114], atol=tolerance)
    again = with_channels(grey, 3)
    assert (again == grey).all()
    assert again.shape == colour.shape
    assert with_channels(colour, 3) is colour
