import numpy as np
import pytest
import torch

from inout_aug import BatchPaste
from inout_aug.paste import _batch_source as source
from inout_aug.paste._batch_pixels import everywhere, read


def slots(count, size, seed=0):
    return BatchPaste(share=1.0, seed=seed).draw(torch.empty(count, 3, *size)).slots()


@pytest.mark.parametrize("size", [(32, 64), (37, 53)])
def test_cells_are_shuffled_and_the_whole_is_mirrored(size):
    (height, width), (rows, columns), drawn = size, (4, 8), slots(6, size)
    images = torch.arange(6 * height * width).view(6, 1, height, width)
    where = everywhere(torch.empty(6, *size))
    seen = read(images, torch.arange(6)[:, None, None], source._shuffled(drawn, where, size, (rows, columns)))[0]

    def first(cell, side, cells):
        return -(-cell * side // cells)

    expected = torch.empty_like(seen)
    for slot, y, x in np.ndindex(6, height, width):
        row, column = y * rows // height, x * columns // width
        to_row, to_column = divmod(int(drawn.shuffle[slot, row * columns + column]), columns)
        to_y = min(first(to_row, height, rows), height - -(-height // rows)) + y - first(row, height, rows)
        to_x = min(first(to_column, width, columns), width - -(-width // columns)) + x - first(column, width, columns)
        mirrored = images[slot, 0]
        mirrored = mirrored.flip(0) if drawn.mirror_y[slot] else mirrored
        mirrored = mirrored.flip(1) if drawn.mirror_x[slot] else mirrored
        expected[slot, y, x] = mirrored[to_y, to_x]
    assert torch.equal(seen, expected)
    if size == (32, 64):
        assert all(len(part.unique()) == height * width for part in seen)


def test_some_pixels_are_read_as_all_are_in_any_memory_format():
    picked = torch.rand(5, 20, 24, generator=torch.Generator().manual_seed(0)) < 0.1
    slot, y, x = picked.nonzero(as_tuple=True)
    whole = torch.arange(5 * 3 * 20 * 24).view(5, 3, 20, 24)
    odd = torch.zeros(5, 3, 20, 30, dtype=torch.long)[..., 3:27].copy_(whole)
    for images in (whole, whole.to(memory_format=torch.channels_last), odd, whole.mT.contiguous().mT):
        assert torch.equal(read(images, slot, y * 24 + x), whole.movedim(1, 0)[:, picked])
        numbers = torch.arange(5)[:, None, None]
        assert torch.equal(read(images, numbers, torch.arange(480).view(20, 24)), whole.movedim(1, 0))


def test_a_turn_of_120_degrees_exchanges_the_channels_and_greys_stay():
    drawn = slots(2, (32, 32))
    drawn = drawn._replace(hue=torch.full((2,), 120.0), contrast=torch.ones(2), saturation=torch.ones(2))
    drawn = drawn._replace(shift=torch.zeros(2))
    colours, slot = torch.tensor([[0.9, 0.4], [0.2, 0.4], [0.1, 0.4]]), torch.tensor([0, 0])
    level, grey = torch.full((2,), 0.5), torch.zeros(2, dtype=torch.bool)
    assert torch.allclose(source.tint(colours, drawn, slot, level, grey), colours.roll(1, 0), atol=1e-6)
    bleak = source.tint(colours, drawn, slot, level, ~grey)
    luma = torch.tensor([0.299 * 0.9 + 0.587 * 0.2 + 0.114 * 0.1, 0.4])
    assert torch.allclose(bleak, luma.expand(3, 2), atol=1e-6)
