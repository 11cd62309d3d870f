"""The transformer: shapes of any size, what each text reaches, and conditions computed apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from inout_generators.common.checkpoints import load_net, save_net
from inout_generators.defectdiffu.blocks import Attention
from inout_generators.defectdiffu.model import DefectDiffuTransformer, neighbours, positions, preset

DEFECT_BLOCKS = 2


def net(**changes: Any) -> DefectDiffuTransformer:
    config = {"channels": 4, "text_dim": 16, "patch": 2, "width": 64, "depths": (1, DEFECT_BLOCKS, 1), "heads": 4}
    model = DefectDiffuTransformer(**{**config, **changes}).eval()
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=rng)
    return model


def inputs(size: tuple[int, int] = (8, 12), batch: int = 2) -> tuple[Tensor, ...]:
    rng = torch.Generator().manual_seed(1)
    texts = (torch.randn(batch, 16, generator=rng) for _ in range(3))
    return torch.randn(batch, 4, *size, generator=rng), torch.tensor([5, 999])[:batch], *texts


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (2, 6)])
@torch.no_grad()
def test_latents_of_any_size_of_whole_patches(size: tuple[int, int]) -> None:
    out, mask, attention = net()(*inputs(size))
    assert out.shape == (2, 8, *size)
    assert mask.shape == (2, 4, *size)
    assert attention.shape == (2, size[0] // 2, size[1] // 2)
    torch.testing.assert_close(attention.sum((1, 2)), torch.full((2,), float(DEFECT_BLOCKS)))
    assert (attention > 0).all()


@pytest.mark.parametrize("shape", [(2, 4, 7, 8), (2, 3, 8, 8), (4, 8, 8)])
def test_refuses_what_are_no_whole_patches(shape: tuple[int, ...]) -> None:
    _, *rest = inputs()
    with pytest.raises(ValueError, match="multiples of the patch, 2; got"):
        net()(torch.zeros(shape), *rest)


@pytest.mark.parametrize(
    "wrong",
    [
        {"depths": (1, 1)},
        {"depths": (1, 0, 1)},
        {"heads": 5},
        {"width": 6, "heads": 3},
        {"gelu": "relu"},
        {"locality": -1.0},
    ],
)
def test_refuses_what_is_no_net(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        DefectDiffuTransformer(**wrong)


@torch.no_grad()
def test_an_untrained_net_predicts_nothing_yet() -> None:
    model = preset("tiny", channels=4, patch=2, text_dim=16)
    assert not model(*inputs()).out.any()


@torch.no_grad()
def test_each_text_is_told_to_its_own_part() -> None:
    model = net()
    z, t, defect, product, fusion = inputs()
    before = model(z, t, defect, product, fusion)
    # where it looks is decided before anything is told of both
    after = model(z, t, defect, product, fusion + 1)
    torch.testing.assert_close(after.attention, before.attention, rtol=0, atol=0)
    assert not torch.allclose(after.out, before.out)
    for changed in (model(z, t, defect + 1, product, fusion), model(z, t, defect, product + 1, fusion)):
        assert not torch.allclose(changed.attention, before.attention)
        assert not torch.allclose(changed.mask_latent, before.mask_latent)


@torch.no_grad()
def test_images_that_share_a_product_share_its_blocks() -> None:
    model = net()
    z, t, defect, product, fusion = inputs()
    conditions = model.conditions(t, defect, product, fusion)
    both, first = torch.tensor([0, 1]), torch.tensor([0, 0])
    # the first image, told both defects
    shared = model.denoise(z[:1], conditions.take(first[:1], both, both), branches=first)
    apart = model.denoise(z[first], conditions.take(first, both, both))
    for one, other in zip(shared, apart, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_every_weight_is_trained() -> None:
    model = net().train()
    out, mask, attention = model(*inputs())
    (out.square().mean() + mask.square().mean() + attention.square().sum()).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    model = net(gelu="exact", position_scale=0.5, mask_silu=True)
    save_net(model, tmp_path)
    again = load_net(DefectDiffuTransformer, tmp_path)
    assert again.config["position_scale"] == 0.5
    with torch.no_grad():
        for one, other in zip(model(*inputs()), again(*inputs()), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_positions_are_sines_and_cosines_of_column_and_row() -> None:
    table = positions(3, 5, 16, 1.0, torch.device("cpu")).reshape(3, 5, 16)
    for row in range(3):
        for column in range(5):
            for k in range(4):
                for start, place in ((0, column), (8, row)):
                    angle = torch.tensor(place / 10000 ** (k / 4))
                    assert table[row, column, start + k] == pytest.approx(float(angle.sin()), abs=1e-6)
                    assert table[row, column, start + 4 + k] == pytest.approx(float(angle.cos()), abs=1e-6)


def test_half_precision_keeps_the_attention_a_distribution() -> None:
    model = net().to(torch.bfloat16)
    z, t, *texts = inputs((16, 16))
    with torch.no_grad():
        said = model(z.bfloat16(), t, *(text.bfloat16() for text in texts))
    torch.testing.assert_close(said.attention.sum((1, 2)), torch.full((2,), float(DEFECT_BLOCKS)))


def test_heads_start_out_looking_at_one_neighbour_each() -> None:
    rows, columns, heads = 7, 8, 9
    looked = neighbours(rows, columns, heads, 2.0, torch.device("cpu")).softmax(-1)
    middle = 3 * columns + 4
    seen = [divmod(int(each.argmax()), columns) for each in looked[:, middle]]
    around = {(y, x) for y in (2, 3, 4) for x in (3, 4, 5)} - {(3, 4)}
    assert set(seen) == around
    assert seen[8] == seen[0] == (2, 4)
    torch.testing.assert_close(looked[:, middle].amax(-1), torch.full((heads,), 0.62), atol=0.01, rtol=0)


def test_a_layer_of_high_locality_is_a_convolution() -> None:
    torch.manual_seed(0)
    layer, tokens = Attention(16, 8), torch.randn(1, 25, 16, requires_grad=True)
    layer(tokens, neighbours(5, 5, 8, 30.0, torch.device("cpu")))[0, 12].sum().backward()
    reached = tokens.grad[0].abs().amax(-1).reshape(5, 5) > 1e-6
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[1:4, 1:4] = True
    expected[2, 2] = False
    torch.testing.assert_close(reached, expected)


@torch.no_grad()
def test_locality_is_part_of_the_net_and_of_its_folder(tmp_path: Path) -> None:
    near, far = net(locality=2.0), net()
    save_net(near, tmp_path)
    again = load_net(DefectDiffuTransformer, tmp_path)
    assert again.config["locality"] == 2.0
    said = near(*inputs())
    torch.testing.assert_close(again(*inputs()).out, said.out, rtol=0, atol=0)
    assert not torch.allclose(far(*inputs()).out, said.out)
