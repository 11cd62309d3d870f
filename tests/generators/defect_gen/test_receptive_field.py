from __future__ import annotations

import pytest
import torch
from torch import nn

from inout_generators.defect_gen.receptive_field import receptive_field
from inout_generators.defect_gen.unet import PRESETS, DefectGenUNet, preset

LOCAL = {"attention_levels": (), "middle": False}


def measured(net: DefectGenUNet, width: int) -> int | tuple[int, int]:
    """Widths of the support of single output pixels' gradients, over one period of the coarsest grid."""
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 2, 4, width, dtype=torch.float64, requires_grad=True)
    row = net.double()(x, torch.tensor([0]))[0, :, 0].sum(0)
    grid = 2 ** (len(net.config["multipliers"]) - 1)
    sides = set()
    for pixel in range(width // 2, width // 2 + grid):
        (gradient,) = torch.autograd.grad(row[pixel], x, retain_graph=True)
        columns = gradient.abs().amax((0, 1, 2)).nonzero().flatten()
        assert columns[0] > 0
        assert columns[-1] < width - 1
        assert len(columns) == columns[-1] - columns[0] + 1
        sides.add(len(columns))
    return sides.pop() if len(sides) == 1 else (min(sides), max(sides))


@pytest.mark.parametrize(("levels", "side"), [(1, 25), (2, 69), (3, 157), (4, (329, 337)), (6, (1369, 1401))])
def test_convolutions_alone(levels: int, side: int | tuple[int, int]) -> None:
    # the specification's table; one level by hand: 12 convolutions in a row
    assert receptive_field({"multipliers": (1,) * levels, "blocks": 2, **LOCAL}) == side


def test_published_nets() -> None:
    with torch.device("meta"):
        small, medium, large = (preset(name, channels=6).config for name in ("small", "medium", "large"))
    assert receptive_field(small) == 69
    assert receptive_field(medium) == 157
    assert receptive_field(large) is None
    assert receptive_field(large, attention=False) == (1625, 1657)


@pytest.mark.parametrize(("levels", "blocks"), [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2), (4, 1), (4, 2)])
def test_is_the_support_of_the_gradient(levels: int, blocks: int) -> None:
    torch.manual_seed(0)
    net = DefectGenUNet(channels=2, width=4, multipliers=(1,) * levels, blocks=blocks, norm="pixel", **LOCAL)
    assert measured(net, width=400) == receptive_field(net.config)


def test_attention_and_the_middle_see_everything() -> None:
    for changes in ({"attention_levels": (1,)}, {"middle": True}):
        torch.manual_seed(0)
        settings = {**LOCAL, "head_width": 4, **changes}
        net = DefectGenUNet(channels=2, width=4, multipliers=(1, 1), blocks=1, norm="pixel", **settings)
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.2)
        assert receptive_field(net.config) is None
        x = torch.randn(1, 2, 4, 200, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(net.double()(x, torch.tensor([0]))[0, 0, 0, 0], x)
        assert gradient.abs().amin() > 0


def test_tiny_local_net_is_as_local_as_the_published_one() -> None:
    side = receptive_field({"blocks": 2, **PRESETS["tiny_local"]})
    assert isinstance(side, int)
    assert abs(side / 64 - 157 / 256) < 0.1
