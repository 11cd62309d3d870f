import numpy as np
import pytest
import torch

from inout_aug import BatchPaste
from inout_aug.paste import _batch_source as source
from inout_aug.paste._batch_pixels import Everywhere, Painted
from inout_aug.paste._colour import colour_matrix


def slots(count, size, seed=0):
    return BatchPaste(share=1.0, seed=seed).draw(torch.empty(count, 3, *size)).slots()


def untinted(drawn, opacity=1.0):
    """Return what is drawn, but for the colours, which stay as they are."""
    ones, zeros = torch.ones_like(drawn.hue), torch.zeros_like(drawn.hue)
    return drawn._replace(opacity=opacity * ones, contrast=ones, saturation=ones, shift=zeros, hue=zeros)


def shown(images, drawn, grid=(4, 8), bank=None, painted=None):
    """Return the sources of all hosts at all pixels, or at the painted ones."""
    pixels = Everywhere(torch.ones(len(images), *images.shape[2:], dtype=torch.bool))
    if painted is not None:
        pixels = Painted(painted)
    hosts = torch.arange(len(images))
    prepared = source.prepare(images, bank, drawn, hosts, grid)
    host = pixels.read(images, pixels.place(images, hosts, pixels.number))
    return source.mixed(prepared, images, bank, pixels, host)


@pytest.mark.parametrize("size", [(32, 64), (37, 53)])
def test_cells_are_shuffled_and_the_whole_is_mirrored(size):
    (height, width), (rows, columns), drawn = size, (4, 8), untinted(slots(6, size))
    images = (torch.arange(6 * height * width).view(6, 1, height, width) / (6 * height * width)).double()
    seen = shown(images, drawn, (rows, columns))[0]

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
    assert torch.allclose(seen, expected, atol=1e-6)
    if size == (32, 64):
        assert all(len(part.unique()) == height * width for part in seen)


def test_textures_are_seen_from_a_random_place_on_and_mirrored_beyond_their_edges():
    drawn = untinted(slots(5, (20, 45)))
    drawn = drawn._replace(texture=torch.tensor([1.0, -1, 0, 1, -1]))
    bank = torch.arange(2 * 3 * 16 * 16).view(2, 3, 16, 16).to(torch.uint8)
    images = torch.rand(5, 3, 20, 45, generator=torch.Generator().manual_seed(1))
    seen = shown(images, drawn, bank=bank).movedim(0, 1)
    plain = shown(images, drawn._replace(texture=torch.full((5,), -1.0))).movedim(0, 1)
    for slot, number in enumerate(drawn.texture.int().tolist()):
        if number < 0:
            assert torch.equal(seen[slot], plain[slot])
            continue
        tiled = torch.from_numpy(np.pad(bank[number].numpy(), ((0, 0), (0, 64), (0, 64)), "symmetric")) / 255
        top, left = int(drawn.crop_y[slot] * 32), int(drawn.crop_x[slot] * 32)
        assert torch.allclose(seen[slot], tiled[:, top : top + 20, left : left + 45], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_painted_pixels_are_mixed_as_all_are_in_any_memory_format(dtype):
    picked = torch.rand(5, 20, 24, generator=torch.Generator().manual_seed(0)) < 0.1
    images = torch.rand(5, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    images = (images * 255).to(torch.uint8) if dtype == torch.uint8 else images.to(dtype)
    drawn, bank = slots(5, (20, 24)), torch.arange(3 * 256).view(1, 3, 16, 16).to(torch.uint8)
    drawn = drawn._replace(texture=torch.tensor([0.0, -1, -1, 0, -1]))
    everywhere = shown(images, drawn, bank=bank)
    assert everywhere.dtype == dtype
    odd = torch.zeros(5, 3, 20, 30, dtype=dtype)[..., 3:27].copy_(images)
    for same in (images, images.to(memory_format=torch.channels_last), odd, images.mT.contiguous().mT):
        assert torch.equal(shown(same, drawn, bank=bank, painted=picked), everywhere[:, picked])
        assert torch.equal(shown(same, drawn, bank=bank), everywhere)


def test_the_opacity_is_the_sources_share():
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    opaque, faint = (shown(images, untinted(slots(4, (32, 32)), opacity)) for opacity in (1.0, 0.25))
    hosts = images.movedim(1, 0)
    assert torch.allclose(faint, 0.25 * opaque + 0.75 * hosts, atol=1e-6)


def tinted(drawn, colours, level=0.5, grey=False):
    """Return colours (3, n) as the first slot changes them."""
    weights = source._tint(drawn, torch.full((1,), level), torch.tensor([grey]))
    return source.tint(colours, weights.mT.expand(5, colours.shape[1]))


def test_a_turn_of_120_degrees_exchanges_the_channels_and_greys_stay():
    drawn = untinted(slots(1, (32, 32)))._replace(hue=torch.full((1,), 120.0))
    colours = torch.tensor([[0.9, 0.4], [0.2, 0.4], [0.1, 0.4]])
    assert torch.allclose(tinted(drawn, colours), colours.roll(1, 0), atol=1e-6)
    luma = torch.tensor([0.299 * 0.9 + 0.587 * 0.2 + 0.114 * 0.1, 0.4])
    assert torch.allclose(tinted(drawn, colours, grey=True), luma.expand(3, 2), atol=1e-6)


@pytest.mark.parametrize("hue", [-50.0, 0.0, 33.0])
def test_colours_change_by_the_matrix_of_single_pastes(hue):
    drawn = untinted(slots(1, (32, 32)))._replace(
        hue=torch.full((1,), hue), saturation=torch.full((1,), 0.7), contrast=torch.full((1,), 0.8)
    )
    colours = torch.rand(3, 50, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.35
    expected = 0.8 * torch.from_numpy(colour_matrix(0.7, hue)) @ colours.double() + 0.2 * 0.5
    assert torch.allclose(tinted(drawn, colours).double(), expected, atol=1e-6)


def test_brightness_moves_away_from_the_nearer_end_of_the_range():
    drawn = untinted(slots(1, (32, 32)))._replace(shift=torch.full((1,), 0.2))
    colours = torch.full((1, 1), 0.9)
    assert torch.allclose(tinted(drawn, colours, level=0.9), torch.tensor([[0.7]]))
    assert torch.allclose(tinted(drawn, colours, level=0.5), torch.tensor([[1.0]]))
