"""Pixels read and written by one flat index, against plain indexing of any view of any memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from inout_aug.paste._batch_pixels import everywhere, inside, pick, read, write

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
def pixels(draw: Any, pictures: Tensor, *, unique: bool) -> tuple[Tensor, Tensor]:
    """Return numbers of pictures, and of pixels in them."""
    count, _, height, width = pictures.shape
    one = st.tuples(st.integers(0, count - 1), st.integers(0, height * width - 1))
    chosen = draw(st.lists(one, unique=unique, max_size=12))
    number, pixel = torch.tensor(chosen, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return number, pixel


@given(st.data())
def test_pixels_of_any_view_are_read(data: Any) -> None:
    _, pictures = data.draw(views())
    number, pixel = data.draw(pixels(pictures, unique=False))
    width = pictures.shape[3]
    expected = pictures[number, :, pixel // width, pixel % width].T
    assert torch.equal(read(pictures, number, pixel), expected)


@given(st.data())
def test_pixels_of_any_view_are_written_and_nothing_beside_them(data: Any) -> None:
    memory, pictures = data.draw(views())
    number, pixel = data.draw(pixels(pictures, unique=True))
    values = -1 - torch.arange(pictures.shape[1] * len(number)).view(pictures.shape[1], -1)
    before, width = memory.clone(), pictures.shape[3]
    write(pictures, number, pixel, values)
    assert torch.equal(pictures[number, :, pixel // width, pixel % width].T, values)
    # what is negative was written; all else is as it was
    assert int((memory < 0).sum()) == values.numel()
    assert torch.equal(memory[memory >= 0], before[memory >= 0])


@given(st.data())
def test_all_pixels_are_read_as_single_ones_are(data: Any) -> None:
    _, pictures = data.draw(views())
    hosts = torch.tensor(data.draw(st.lists(st.integers(0, len(pictures) - 1), max_size=3)), dtype=torch.int64)
    height, width = pictures.shape[2:]
    slot, y, x = everywhere(torch.zeros(len(hosts), height, width))
    number, pixel = pick(hosts, slot), y * width + x
    found = read(pictures, number, pixel)
    assert found.shape == (pictures.shape[1], len(hosts), height, width)
    assert torch.equal(found, pictures[hosts].movedim(1, 0))
    flat = read(pictures, *(part.flatten() for part in torch.broadcast_tensors(number, pixel)))
    assert torch.equal(flat.view_as(found), found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_any_type_and_memory_format(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    pictures = (torch.arange(2 * 3 * 5 * 4).view(2, 3, 5, 4) % 200).to(dtype).to(memory_format=memory_format)
    number, pixel = torch.tensor([1, 0, 1]), torch.tensor([19, 0, 6])
    values = read(pictures, number, pixel)
    assert values.dtype == dtype
    other = torch.zeros_like(pictures)
    write(other, number, pixel, values)
    assert torch.equal(read(other, number, pixel), values)
    assert other.stride() == pictures.stride()
    write(other, number, pixel, torch.ones(1, 1, dtype=dtype))  # one value for all
    assert other.sum((1, 2, 3)).tolist() == [3, 6]


def test_repeated_pictures_share_their_memory() -> None:
    grey = torch.arange(6.0).view(1, 1, 2, 3).expand(4, 3, 2, 3)
    number, pixel = torch.tensor([3, 0]), torch.tensor([5, 1])
    assert read(grey, number, pixel).tolist() == [[5, 1]] * 3


@given(st.integers(0, 5), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_picking_is_indexing(rows: int, shape: list[int], data: Any) -> None:
    index = torch.randint(0, 7, shape, generator=torch.Generator().manual_seed(data.draw(st.integers(0, 99))))
    for table in (torch.arange(7), torch.rand(rows, 7), torch.rand(2, rows, 7), torch.rand(7, rows).T):
        assert torch.equal(pick(table, index), table[..., index])


def test_nothing_to_read_or_write_is_fine() -> None:
    pictures, none = torch.ones(2, 3, 4, 4), torch.zeros(0, dtype=torch.int64)
    assert read(pictures, none, none).shape == (3, 0)
    write(pictures, none, none, torch.zeros(3, 0))
    assert pictures.all()


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 40)])
def test_painted_pixels_are_found_in_order(shape: tuple[int, int, int]) -> None:
    painted = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.2
    for found, expected in zip(inside(painted), painted.nonzero(as_tuple=True), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert [len(found) for found in inside(torch.zeros(shape, dtype=torch.bool))] == [0, 0, 0]
