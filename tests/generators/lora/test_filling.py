"""What Stable Diffusion sees of a host and what becomes of it: sizes, units and means of areas, each by brute force."""

import math
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from diffusers import StableDiffusionInpaintPipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from inout_generators.common.insertion import Window
from inout_generators.lora.filling import (
    Filling,
    as_inpainting,
    as_made,
    as_seen,
    cells_of,
    drawn_size,
    fill,
    resized,
    window_for,
)
from inout_generators.lora.tiny import tiny_stable_diffusion

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.integers(1, 60)


def means(small: int, large: int) -> Any:
    """Return the matrix of the shares that pixels of a line have in those of a shorter one."""
    scale = Fraction(large, small)
    overlap = [[min((y + 1) * scale, x + 1) - max(y * scale, x) for x in range(large)] for y in range(small)]
    return np.maximum(np.array(overlap, np.float64), 0) / float(scale)


@given(seed=SEEDS, before=st.tuples(SIDES, SIDES), after=st.tuples(SIDES, SIDES))
@settings(max_examples=60)
def test_what_shrinks_is_the_mean_of_areas_along_each_axis_by_itself(seed: int, before: Any, after: Any) -> None:
    pixels = np.random.default_rng(seed).random((*before, 3), np.float32)
    whole = resized(pixels, after)
    assert whole.shape == (*after, 3)
    small = tuple(map(min, zip(before, after, strict=True)))
    rows, columns = (means(least, side) for least, side in zip(small, before, strict=True))
    expected = np.einsum("yi,xj,ijc->yxc", rows, columns, pixels)
    np.testing.assert_allclose(resized(pixels, small), expected, atol=1e-5)
    if small == after:
        np.testing.assert_allclose(whole, expected, atol=1e-5)
    constant = resized(np.full((*before, 3), 0.3, np.float32), after)
    np.testing.assert_allclose(constant, 0.3, atol=1e-6)


def test_what_grows_keeps_its_ramps_and_what_fits_is_not_touched() -> None:
    ramp = np.tile(np.arange(20, dtype=np.float32)[None, :, None], (9, 1, 3))
    grown = resized(ramp, (3, 60))
    np.testing.assert_allclose(grown[:, 6:-6, 0], np.tile((np.arange(60)[6:-6] + 0.5) / 3 - 0.5, (3, 1)), atol=0.04)
    assert resized(ramp, (9, 20)) is ramp
    assert set(np.unique(resized(ramp[..., 0], (9, 50), smooth=cv2.INTER_NEAREST))) == set(range(20))


@given(
    seed=SEEDS, channels=st.sampled_from([1, 3]), dtype=st.sampled_from([np.uint8, np.uint16]), size=st.none() | SIDES
)
def test_hosts_are_seen_in_colour_from_0_to_1_and_come_back(seed: int, channels: int, dtype: Any, size: Any) -> None:
    rng, white = np.random.default_rng(seed), np.iinfo(dtype).max
    host = rng.choice([0, white // 3, white], (18, 25, channels)).astype(dtype)
    host.flags.writeable = False
    shape = (18, 25) if size is None else (size, 61 - size)
    seen = as_seen(host, shape)
    assert (seen.shape, seen.dtype) == ((*shape, 3), np.float32)
    assert 0 <= seen.min() <= seen.max() <= 1
    if channels == 1:
        np.testing.assert_allclose(seen, np.repeat(seen[..., :1], 3, axis=2), atol=1e-6)
    made = as_made(seen, host)
    assert made.shape == host.shape
    if size is None:
        np.testing.assert_allclose(seen, np.broadcast_to(host / white, seen.shape), atol=1e-6)
        np.testing.assert_allclose(made, host, atol=white * 1e-6)


def test_what_is_made_for_a_grey_host_is_its_luma() -> None:
    made = np.random.default_rng(0).random((18, 25, 3), np.float32)
    host = np.zeros((18, 25, 1), np.uint16)
    np.testing.assert_allclose(as_made(made, host)[..., 0], made @ [0.299, 0.587, 0.114] * 65535, rtol=1e-5)


@given(height=st.integers(1, 900), width=st.integers(1, 900), size=st.tuples(*[st.integers(2, 80)] * 2))
def test_as_many_pixels_are_drawn_as_the_model_knows_in_the_windows_ratio(height: int, width: int, size: Any) -> None:
    known = size[0] * 8, size[1] * 8
    drawn = drawn_size(Window(3, 4, height, width), known, 8)
    scale = math.sqrt(known[0] * known[1] / (height * width))
    for side, ours in zip(drawn, (height, width), strict=True):
        assert side % 8 == 0
        assert side == 8 or abs(side - scale * ours) <= 4 + 1e-6
    assert drawn_size(Window(0, 0, 3 * size[0], 3 * size[1]), known, 8) == known


@given(data=st.data(), share=st.floats(0.05, 1), zoom=st.floats(1, 8))
def test_a_window_is_the_smallest_that_leaves_a_region_its_share(data: Any, share: float, zoom: float) -> None:
    host, size = (150, 90), (64, 48)
    spans = []
    for whole in host:
        first = data.draw(st.integers(0, whole - 1))
        spans.append((first, data.draw(st.integers(first + 1, whole))))
    region = np.zeros(host, np.uint8)
    # its corners alone are enough to know it by
    region[[spans[0][0], spans[0][1] - 1], [spans[1][0], spans[1][1] - 1]] = 9
    window = window_for(region, size, max_share=share, max_zoom=zoom)
    scale = max(1 / zoom, *((last - first) / share / side for (first, last), side in zip(spans, size, strict=True)))
    for start, length, whole, side, (first, last) in zip(
        (window.top, window.left), window.size, host, size, spans, strict=True
    ):
        assert length == min(whole, math.ceil(scale * side))
        assert 0 <= start <= first < last <= start + length <= whole
        # in the middle, unless the host ends there
        assert start in (0, whole - length) or abs((first - start) - (start + length - last)) <= 1


@given(seed=SEEDS, cell=st.sampled_from([4, 8]), finer=st.integers(1, 3))
def test_cells_with_any_of_the_region_are_drawn_anew_whole(seed: int, cell: int, finer: int) -> None:
    rng = np.random.default_rng(seed)
    # each cell sees a block of `finer` x `finer` pixels of the region
    region = (rng.random((5 * finer, 7 * finer)) < 0.1).astype(np.uint8)
    cells = region.reshape(5, finer, 7, finer).any((1, 3))
    redrawn = cells_of(region, (5 * cell, 7 * cell), cell)
    assert redrawn.dtype == np.uint8
    np.testing.assert_array_equal(redrawn, np.kron(cells, np.ones((cell, cell))))


def filling(**changes: Any) -> Filling:
    seen = np.full((32, 48, 3), 0.4, np.float32)
    redrawn = np.zeros((32, 48), np.uint8)
    redrawn[8:24, 8:32] = 1
    window = Window(0, 0, 32, 48)
    given = {"prompt": "a crack", "seed": 3, "size": (32, 48), "strength": 1.0, "window": window, "region": redrawn}
    return Filling(**{**given, "seen": seen, "redrawn": redrawn, **changes})


def test_a_pipeline_fills_with_its_own_parts() -> None:
    whole = tiny_stable_diffusion()
    pipeline = as_inpainting(whole)
    assert isinstance(pipeline, StableDiffusionInpaintPipeline)
    assert all(getattr(pipeline, name) is part for name, part in whole.components.items())
    assert as_inpainting(pipeline) is pipeline


@pytest.mark.parametrize("in_channels", [4, 9])
def test_without_guidance_nothing_is_unwanted(in_channels: int) -> None:
    pipeline = as_inpainting(tiny_stable_diffusion(in_channels=in_channels))
    pipeline.set_progress_bar_config(disable=True)

    def made(scale: float, unwanted: str, **changes: Any) -> Any:
        tasks = [filling(**changes), filling(seed=4)]
        options = {"guidance_scale": scale, "negative_prompt": unwanted, "steps": 2, "clip_skip": 1}
        return fill(pipeline, tasks, **options)[0]

    plain = made(1.0, "")
    assert (plain.shape, plain.dtype) == ((32, 48, 3), np.float32)
    assert 0 <= plain.min() < plain.max() <= 1
    assert np.array_equal(plain, made(1.0, "a scratch"))
    assert not np.array_equal(made(4.0, ""), made(4.0, "a scratch"))
    assert not np.array_equal(plain, made(1.0, "", prompt="a scratch"))
    assert not np.array_equal(plain, made(1.0, "", seed=5))
