import numpy as np
import pytest
import torch
from scipy import stats

from inout_aug.paste._batch_field import draw_canvases, seen_turned
from inout_aug.paste._batch_mask import draw_masks

SIZE = (48, 64)


def canvases(count, powers=(2, 3), seed=0):
    angle = torch.linspace(-90, 90, count)
    return draw_canvases(torch.tensor([powers] * count), angle, seed + torch.arange(count), size=SIZE, finest=(16, 16))


def masks(count, threshold=0.5, foreground=None):
    images = torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    return draw_masks(images, torch.arange(count), canvases(-(-count // 2)), threshold, foreground)


def test_two_slots_share_the_peaks_and_the_pits_of_a_field():
    field = seen_turned(canvases(3), SIZE)
    found = masks(6)
    assert torch.equal(found[::2], field >= 0.5)
    assert torch.equal(found[1::2], (-field.flip((1, 2))) >= 0.5)
    assert torch.equal(masks(5), found[:5])


def test_a_field_that_hardly_reaches_the_threshold_is_cut_near_its_maximum():
    field = seen_turned(canvases(4), SIZE)
    found = masks(8, threshold=5.0)
    apart = (field.amax((1, 2)) - field.amin((1, 2)))[:, None, None]
    assert torch.equal(found[::2], field >= field.amax((1, 2), keepdim=True) - 0.1 * apart)
    assert torch.equal(found[1::2].flip((1, 2)), field <= field.amin((1, 2), keepdim=True) + 0.1 * apart)
    assert found.flatten(1).any(1).all()


def test_peaks_and_pits_are_equally_large_in_the_long_run():
    area = masks(400).flatten(1).double().mean(1).numpy()
    assert stats.wilcoxon(area[::2], area[1::2]).pvalue > 1e-3
    # and they are no more alike than the cells and the angle that they share make them
    assert abs(np.corrcoef(area[::2], area[1::2])[0, 1]) < 0.3


@pytest.mark.parametrize("count", [1, 4, 7])
def test_defects_stay_in_the_foreground_of_their_own_host(count):
    inside = torch.zeros(count, *SIZE, dtype=torch.bool)
    for number in range(count):
        inside[number, number : number + 20, 2 * number : 2 * number + 30] = True

    def product(hosts):
        assert hosts.shape == (count, 3, *SIZE)
        return inside.to(torch.uint8)

    found = masks(count, foreground=product)
    assert not (found & ~inside).any()
    # even where the field is low all over the foreground
    assert found.flatten(1).any(1).all()
    fields = seen_turned(canvases(-(-count // 2)), SIZE)
    for number in range(count):
        field = fields[number // 2] if number % 2 == 0 else -fields[number // 2].flip((0, 1))
        highest, lowest = field[inside[number]].max(), field.min()
        level = (highest - 0.1 * (highest - lowest)).clamp(max=0.5)
        assert torch.equal(found[number], inside[number] & (field >= level))


def test_without_a_foreground_there_is_no_defect():
    found = masks(4, foreground=lambda hosts: torch.arange(4)[:, None, None].expand(4, *SIZE) % 2 == 0)
    assert found.flatten(1).any(1).tolist() == [True, False, True, False]
