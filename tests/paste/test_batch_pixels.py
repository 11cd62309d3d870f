"""Painted pixels and all pixels, read and written, against plain indexing of any view of any memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from inout_aug.paste._batch_pixels import Everywhere, Painted

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int64, torch.bool]


@st.composite
def views(draw: Any) -> tuple[Tensor, Tensor]:
    """Return memory, and pictures (N, C, H, W) that are some view of it: cut out, with gaps, axes in any order."""
    sizes = [draw(st.integers(1, 4)) for _ in range(4)]
    gaps = [draw(st.integers(1, 3)) for _ in range(4)]
    margins = [draw(st.integers(0, 2)) for _ in range(4)]
    whole = [margin + size * gap for margin, size, gap in zip(margins, sizes, gaps, strict=True)]
    memory = torch.arange(torch.Size(whole).numel()).view(whole)
    cut = memory[tuple(slice(margin, None, gap) for margin, gap in zip(margins, gaps, strict=True))]
    order = draw(st.permutations(range(4)))
    return memory, cut.permute(order)


@st.composite
def slots(draw: Any, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return a different picture for each slot, and which of its pixels are painted."""
    count, _, height, width = pictures.shape
    which = draw(st.permutations(range(count)))[: draw(st.integers(1, count))]
    bits = st.lists(st.booleans(), min_size=len(which) * height * width, max_size=len(which) * height * width)
    return torch.tensor(which), torch.tensor(draw(bits)).view(len(which), height, width)


@given(st.data())
def test_painted_pixels_of_any_view_are_read_slot_by_slot_along_rows(data: Any) -> None:
    _, pictures = data.draw(views())
    which, painted = data.draw(slots(pictures))
    pixels = Painted(painted)
    slot, y, x = painted.nonzero(as_tuple=True)
    assert pixels.y.tolist() == y.tolist()
    assert pixels.x.tolist() == x.tolist()
    assert pixels.any.tolist() == painted.flatten(1).any(1).tolist()
    assert torch.equal(pixels.spread(torch.arange(len(which))), slot)
    found = pixels.read(pictures, pixels.place(pictures, which, pixels.number))
    assert torch.equal(found, pictures[which[slot], :, y, x].T)


@given(st.data())
def test_painted_pixels_of_any_view_are_written_and_nothing_beside_them(data: Any) -> None:
    memory, pictures = data.draw(views())
    which, painted = data.draw(slots(pictures))
    pixels, before = Painted(painted), memory.clone()
    slot, y, x = painted.nonzero(as_tuple=True)
    values = -1 - torch.arange(pictures.shape[1] * len(slot)).view(pictures.shape[1], -1)
    pixels.write(pictures, pixels.place(pictures, which, pixels.number), values)
    assert torch.equal(pictures[which[slot], :, y, x].T, values)
    # what is negative was written; all else is as it was
    assert int((memory < 0).sum()) == values.numel()
    assert torch.equal(memory[memory >= 0], before[memory >= 0])


@given(st.data())
def test_of_all_pixels_the_painted_ones_are_read_and_written_as_single_ones_are(data: Any) -> None:
    _, pictures = data.draw(views())
    which, painted = data.draw(slots(pictures))
    some, all_ = Painted(painted), Everywhere(painted)
    height, width = painted.shape[1:]
    elsewhere = data.draw(st.permutations(range(height * width)))
    table = torch.arange(len(which) * height * width).view(len(which), -1)
    for number in (lambda pixels: pixels.number, lambda pixels: torch.tensor(elsewhere)[pixels.number.long()]):
        found = all_.read(pictures, all_.place(pictures, which, number(all_)))
        assert found.shape == (pictures.shape[1], *painted.shape)
        assert torch.equal(found[:, painted], some.read(pictures, some.place(pictures, which, number(some))))
        assert torch.equal(
            all_.look_up(table, number(all_)).expand(painted.shape)[painted], some.look_up(table, number(some))
        )
    assert torch.equal(all_.any, some.any)
    rows = torch.rand(2, len(which))
    assert torch.equal(all_.spread(rows).expand(2, *painted.shape)[:, painted], some.spread(rows))
    other = pictures.clone()
    for pixels, target in ((some, pictures), (all_, other)):
        pixels.write(target, pixels.place(target, which, pixels.number), torch.full((1, 1), -7))
    assert torch.equal(pictures, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_type_and_memory_format(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    pictures = (torch.arange(2 * 3 * 5 * 4).view(2, 3, 5, 4) % 200).to(dtype).to(memory_format=memory_format)
    painted = torch.zeros(2, 5, 4, dtype=torch.bool)
    painted[0, 4, 3] = painted[0, 1, 2] = painted[1, 0, 0] = True
    pixels, which, other = Painted(painted), torch.tensor([1, 0]), torch.zeros_like(pictures)
    place = pixels.place(pictures, which, pixels.number)
    values = pixels.read(pictures, place)
    assert values.dtype == dtype
    pixels.write(other, place, values)
    assert torch.equal(pixels.read(other, place), values)
    assert other.stride() == pictures.stride()
    pixels.write(other, place, torch.ones(1, 1, dtype=dtype))  # one value for all
    assert other.sum((1, 2, 3)).tolist() == [3, 6]


def test_repeated_pictures_share_their_memory() -> None:
    grey = torch.arange(6.0).view(1, 1, 2, 3).expand(4, 3, 2, 3)
    painted = torch.zeros(2, 2, 3, dtype=torch.bool)
    painted[0, 1, 2] = painted[1, 0, 1] = True
    pixels = Painted(painted)
    assert pixels.read(grey, pixels.place(grey, torch.tensor([3, 0]), pixels.number)).tolist() == [[5, 1]] * 3


def test_nothing_to_read_or_write_is_fine() -> None:
    pictures, pixels = torch.ones(2, 3, 4, 4), Painted(torch.zeros(2, 4, 4, dtype=torch.bool))
    place = pixels.place(pictures, torch.tensor([1, 0]), pixels.number)
    assert pixels.read(pictures, place).shape == (3, 0)
    pixels.write(pictures, place, torch.zeros(3, 0))
    assert pictures.all()
    assert not pixels.any.any()
