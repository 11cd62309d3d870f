from __future__ import annotations

import logging
import pickle

import pytest
import torch
from torch import nn

from inout_generators.defect_gen.blocks import Attention, PixelNorm
from inout_generators.defect_gen.unet import PRESETS, DefectGenUNet, preset


def small_net(**changes: object) -> DefectGenUNet:
    """A net of random weights, none of them zero, so that every path counts."""
    settings = {"channels": 5, "width": 16, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "groups": 8}
    torch.manual_seed(0)
    net = DefectGenUNet(**{**settings, **changes})
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net.eval()


def count(name: str, channels: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in preset(name, channels=channels).parameters())


def test_published_nets_have_the_published_number_of_parameters() -> None:
    assert round(count("large", 9) / 1e6, 2) == 125.39
    assert round(count("medium", 6) / 1e6, 2) == 98.21


def test_attention_stands_where_it_was_published() -> None:
    with torch.device("meta"):
        large, medium = preset("large", channels=9), preset("medium", channels=6)
    assert sum(isinstance(module, Attention) for module in large.modules()) == 16
    assert not any(isinstance(module, Attention) for module in medium.modules())


def test_tiny_pair_is_small_enough_to_ship() -> None:
    float16_bytes = 2 * (count("tiny_large", 8) + count("tiny_local", 8))
    assert float16_bytes < 4e6


@pytest.mark.parametrize("name", PRESETS)
def test_starts_by_predicting_nothing(name: str) -> None:
    # only the last layer matters, so a slim version of each will do
    net = DefectGenUNet(channels=5, **{**PRESETS[name], "width": 16, "groups": 8})
    assert not net(torch.randn(1, 5, 32, 32), torch.tensor([500])).any()


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (31, 16), (32, 48), (1, 5)])
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_takes_and_gives_any_size(size: tuple[int, int], levels: int) -> None:
    net = small_net(multipliers=(1, 1, 2, 2)[:levels], attention_levels=(levels - 1,))
    x = torch.randn(2, 5, *size, requires_grad=True)
    out = net(x, torch.tensor([0, 999]))
    assert out.shape == x.shape
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amin() > 0


def test_odd_sides_are_rounded_up_inside() -> None:
    # without attention and with pixel norm, what stands far from the border is the same with a row more
    net = small_net(attention_levels=(), middle=False, norm="pixel")
    x = torch.randn(1, 5, 96, 96)
    t = torch.tensor([100])
    torch.testing.assert_close(net(x[..., :95, :95], t)[..., :48, :48], net(x, t)[..., :48, :48])


def test_batch_gives_what_singles_give() -> None:
    net = small_net(classes=3)
    x, t, classes = torch.randn(3, 5, 32, 24), torch.tensor([1, 500, 999]), torch.tensor([3, 0, 1])
    singles = [net(x[i : i + 1], t[i : i + 1], classes[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(net(x, t, classes), torch.cat(singles))


def test_depends_on_the_timestep() -> None:
    net, x = small_net(), torch.randn(1, 5, 16, 16)
    assert not torch.allclose(net(x, torch.tensor([3])), net(x, torch.tensor([4])))


def test_class_zero_is_no_class() -> None:
    net = small_net(classes=2)
    with torch.no_grad():
        net.class_embed.weight[0] = DefectGenUNet(**net.config).class_embed.weight[0]
    x, t = torch.randn(1, 5, 16, 16), torch.tensor([7])
    nowhere, none, one, two = net(x, t), *(net(x, t, torch.tensor([k])) for k in range(3))
    torch.testing.assert_close(none, nowhere, rtol=0, atol=0)
    assert not torch.allclose(one, none)
    assert not torch.allclose(one, two)


def test_no_class_stays_zero_in_training() -> None:
    net = DefectGenUNet(channels=5, width=16, multipliers=(1,), blocks=1, attention_levels=(), groups=8, classes=2)
    nn.init.normal_(net.out[2].weight)
    nn.init.normal_(net.input_blocks[1][0].out_layers[3].weight)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2)
    before = net.class_embed.weight.detach().clone()
    net(torch.randn(3, 5, 16, 16), torch.tensor([1, 2, 3]), torch.tensor([0, 1, 2])).square().sum().backward()
    optimiser.step()
    assert not net.class_embed.weight[0].any()
    assert (net.class_embed.weight[1:] != before[1:]).all()


def test_refuses_a_class_it_was_not_trained_for() -> None:
    with pytest.raises(ValueError, match="without defect classes"):
        small_net()(torch.zeros(1, 5, 16, 16), torch.tensor([0]), torch.tensor([1]))


def test_pixel_norm_sees_one_pixel() -> None:
    x = torch.randn(2, 6, 5, 7)
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(PixelNorm(6)(x), expected)


def test_learns() -> None:
    torch.manual_seed(0)
    net = preset("tiny_local", channels=3)
    x0 = torch.randn(1, 3, 16, 16).clamp(-1, 1)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    losses = []
    for _ in range(60):
        loss = (net(x0 + torch.randn(4, 3, 16, 16), torch.full((4,), 500)) - x0).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("norm", ["group", "pixel"])
def test_memory_layout_changes_nothing(norm: str) -> None:
    net, x, t = small_net(norm=norm), torch.randn(2, 5, 17, 24), torch.tensor([3, 600])
    expected = net(x, t)
    net.to(memory_format=torch.channels_last)
    torch.testing.assert_close(net(x.to(memory_format=torch.channels_last), t), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close() -> None:
    net, x, t = small_net(), torch.randn(1, 5, 16, 16), torch.tensor([300])
    expected = net(x, t)
    out = net.to(torch.bfloat16)(x.bfloat16(), t)
    assert out.dtype == torch.bfloat16
    assert (out.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_changes_its_dtype_without_a_word(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)
    small_net().to(torch.float16)
    assert not caplog.records


def test_pickles() -> None:
    net, x, t = small_net(), torch.randn(1, 5, 16, 16), torch.tensor([300])
    torch.testing.assert_close(pickle.loads(pickle.dumps(net))(x, t), net(x, t), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"multipliers": ()}, "at least one level"),
        ({"blocks": 0}, "one block"),
        ({"attention_levels": (2,)}, "levels are 0 to 1"),
        ({"width": 20}, "multiples of groups=8"),
        ({"groups": 0}, "multiples of groups=0"),
        ({"width": 24, "attention_levels": (0,)}, "multiples of head_width=16"),
        ({"head_width": -1}, "multiples of head_width=-1"),
        ({"norm": "batch"}, "'group' or 'pixel'"),
    ],
)
def test_refuses_what_cannot_be_built(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_net(**changes)


def test_refuses_an_unknown_preset() -> None:
    with pytest.raises(ValueError, match="there are large, medium, small, tiny_large, tiny_local"):
        preset("huge", channels=5)
