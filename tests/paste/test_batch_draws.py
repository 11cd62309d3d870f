"""What is drawn for a batch: from the ranges given, row by row, and how many of it are due."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inout_aug.paste._batch_draws import BatchDraws, Ranges, draw

SIZE = (96, 160)


def ranges(**options: Any) -> Ranges:
    common = {
        "share": Fraction(1),
        "exact": True,
        "cells": (1, 32),
        "angle": (-90.0, 45.0),
        "opacity": (0.2, 0.9),
        "p_texture": 0.3,
        "textures": 5,
        "grid": (2, 3),
    }
    return Ranges(**{**common, **options})


@pytest.fixture(scope="module")
def many() -> BatchDraws:
    return draw(ranges(), SIZE, 20_000, (1, 0, 0))


UNIFORM = {
    "angle": (-90, 45),
    "opacity": (0.2, 0.9),
    "crop_y": (0, 1),
    "crop_x": (0, 1),
    "seed": (0, 1 << 24),
}
RECOLOURED = {"contrast": (0.7, 1.3), "saturation": (0.5, 1.5), "hue": (-60, 60)}


def is_uniform(values: Any, low: float, high: float) -> bool:
    assert low <= values.min() <= values.max() <= high
    return bool(stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3)


@pytest.mark.parametrize("name", UNIFORM)
def test_ranges_are_drawn_from_evenly(many: BatchDraws, name: str) -> None:
    assert is_uniform(getattr(many.slots(), name).numpy(), *UNIFORM[name])


def test_the_structure_source_changes_colours_and_textures_keep_theirs(many: BatchDraws) -> None:
    slots = many.slots()
    texture = slots.texture >= 0
    assert stats.binomtest(int(texture.sum()), len(texture), 0.3).pvalue > 1e-3
    numbers = Counter(slots.texture[texture].tolist())
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    assert stats.chisquare(list(numbers.values())).pvalue > 1e-3
    for name, (low, high) in RECOLOURED.items():
        values = getattr(slots, name)
        assert (values[texture] == (0 if name == "hue" else 1)).all()
        assert is_uniform(values[~texture].numpy(), low, high)
    shift = slots.shift[~texture].numpy()
    assert not slots.shift[texture].any()
    assert is_uniform(np.abs(shift), np.float32(0.1), np.float32(0.3))
    assert stats.binomtest(int((shift > 0).sum()), len(shift)).pvalue > 1e-3


def test_both_mirrorings_and_all_orders_of_the_cells_are_as_likely(many: BatchDraws) -> None:
    slots = many.slots()
    mirrored = Counter(zip(slots.mirror_y.tolist(), slots.mirror_x.tolist(), strict=True))
    assert sorted(mirrored) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert stats.chisquare(list(mirrored.values())).pvalue > 1e-3
    orders = Counter(map(tuple, slots.shuffle.int().tolist()))
    assert len(orders) == math.factorial(6)
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3


def test_no_two_columns_go_together(many: BatchDraws) -> None:
    columns = many.table[many.slots().texture < 0].double()
    kept = columns[:, columns.std(0) > 0]
    correlations = torch.corrcoef(kept.T) - torch.eye(kept.shape[1])
    # the cells of one shuffled grid exclude each other
    assert correlations[:-6].abs().max() < 0.05


@given(st.integers(16, 5000), st.integers(16, 5000), st.integers(0, 8), st.integers(0, 8))
def test_cells_are_powers_of_two_that_fit(height: int, width: int, low: int, more: int) -> None:
    drawn_from = ranges(cells=(1 << low, 1 << low + more))
    slots = draw(drawn_from, (height, width), 64, (0, 0, 0)).slots()
    finest = drawn_from.finest((height, width))
    for side, drawn, most in zip((height, width), (slots.power_y, slots.power_x), finest, strict=True):
        # four pixels to a cell, and 128 of them along the diagonal, if they were square
        fitting = [p for p in range(20) if 4 << p <= side and (1 << p) * math.hypot(height, width) <= 128 * side]
        highest = min(low + more, max(fitting, default=0))
        powers = set(range(min(low, highest), highest + 1))
        assert set(drawn.tolist()) <= powers
        assert most == 1 << max(powers)
        assert len(powers) > 4 or len(set(drawn.tolist())) == len(powers)


@given(st.integers(1, 40), st.integers(0, 40), st.tuples(*[st.integers(0, 2**40)] * 3))
def test_a_row_depends_on_the_key_and_its_number_alone(batch: int, more: int, key: tuple[int, int, int]) -> None:
    few, many_ = draw(ranges(), SIZE, batch, key), draw(ranges(), SIZE, batch + more, key)
    assert torch.equal(few.table, many_.table[:batch])
    assert sorted(few.order.tolist()) == list(range(batch))
    smaller = draw(ranges(), (16, 16), batch, key).slots()
    for name, column in smaller._asdict().items():
        assert name.startswith("power") or torch.equal(column, getattr(few.slots(), name))
    other = draw(ranges(), SIZE, batch, (key[0], key[1], key[2] + 1))
    assert not torch.equal(other.table, few.table)


SHARES = st.fractions(0, 1, max_denominator=10**6)


@given(SHARES, st.integers(1, 500), st.data())
def test_exact_shares_are_rounded_half_up_and_there_is_a_slot_for_each(share: Fraction, batch: int, data: Any) -> None:
    drawn = draw(ranges(share=share), (16, 16), batch, (0, 0, 3))
    normals = data.draw(st.integers(0, batch))
    due = int(drawn.due(torch.tensor(normals)))
    assert due == math.floor(share * normals + Fraction(1, 2))
    assert due <= len(drawn.table) == math.ceil(share * batch)


@given(SHARES, st.integers(0, 500), st.integers(0, 2**40), st.integers(0, 10**6))
def test_other_shares_add_up_over_steps(share: Fraction, normals: int, seed: int, step: int) -> None:
    def due(at: int) -> int:
        pace = draw(ranges(share=share, exact=False), (16, 16), 1, (seed, 2, at)).pace
        return int(BatchDraws(torch.empty(0), torch.empty(0), pace).due(torch.tensor(normals)))

    counts = [due(at) for at in range(step, step + 6)]
    wanted = share * normals
    assert set(counts) <= {math.floor(wanted), math.ceil(wanted)}
    for start in range(6):
        for stop in range(start + 1, 7):
            assert abs(sum(counts[start:stop]) - wanted * (stop - start)) < 1


def test_epochs_begin_at_remainders_of_their_own() -> None:
    # else the first step of every epoch would be rounded alike, and short epochs would miss the share
    first = [
        int(draw(ranges(share=Fraction(1, 4), exact=False), (16, 16), 4, (0, epoch, 0)).due(torch.tensor(1)))
        for epoch in range(800)
    ]
    assert stats.binomtest(sum(first), 800, 0.25).pvalue > 1e-3


def test_without_textures_there_are_none() -> None:
    for options in ({"textures": 0, "p_texture": 1.0}, {"p_texture": 0.0}):
        assert (draw(ranges(**options), SIZE, 500, (0, 0, 0)).slots().texture == -1).all()
    assert (draw(ranges(p_texture=1.0), SIZE, 500, (0, 0, 0)).slots().texture >= 0).all()


def test_on_the_same_device_draws_are_what_they_are() -> None:
    drawn = draw(ranges(share=Fraction(1, 3)), SIZE, 10, (0, 0, 0))
    again = drawn.to(torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(drawn, again, strict=True))
    assert [part.dtype for part in drawn] == [torch.float32, torch.int64, torch.int64]
    assert [tuple(part.shape) for part in drawn] == [(4, 14 + 6), (10,), (4,)]
