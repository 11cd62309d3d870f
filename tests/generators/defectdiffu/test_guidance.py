"""Equation 4 and its variants: what they reduce to, how often the net is asked, and that batching changes nothing."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from inout_generators.common.schedule import LinearSchedule
from inout_generators.defectdiffu.guidance import Asked, Guided, Mode, combined, evaluations
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.names import prompts
from inout_generators.defectdiffu.text import NamedEmbedding

MODES = get_args(Mode)
CALLS = {"eq4": 3, "joint": 2, "full": 3}
TIMES = [999, 400, 0]


def parts() -> tuple[DefectDiffuTransformer, NamedEmbedding]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DefectDiffuTransformer(channels=4, text_dim=16, width=64, depths=(1, 1, 1), heads=4).eval()
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        text = NamedEmbedding(products=["metal nut", "wood"], defects=["crack"], dim=16).eval()
    return net, text


def test_what_is_told() -> None:
    assert evaluations("eq4", "d", "p") == [("good", "industry"), ("good", "p"), ("d", "industry")]
    assert evaluations("joint", "d", "p", "any") == [("good", "p"), ("d", "p")]
    assert evaluations("full", "d", "p", "any") == [("good", "any"), ("good", "p"), ("d", "p")]
    with pytest.raises(ValueError, match="eq4, joint, full; got 'cfg'"):
        evaluations("cfg", "d", "p")  # type: ignore[arg-type]


def test_guidance_by_its_equations() -> None:
    noise = torch.randn(3, 2, 4, 5, 6)
    p, d = torch.tensor([1.0, 0.7]), torch.tensor([2.0, 0.3])
    wide = (each.reshape(2, 1, 1, 1) for each in (p, d))
    w_p, w_d = wide
    e0, e1, e2 = noise
    torch.testing.assert_close(combined("eq4", noise, p, d), e0 + w_p * (e1 - e0) + w_d * (e2 - e0))
    torch.testing.assert_close(combined("full", noise, p, d), e0 + w_p * (e1 - e0) + w_d * (e2 - e1))
    torch.testing.assert_close(combined("joint", noise[:2], p, d), e0 + w_d * (e1 - e0))


def test_what_guidance_reduces_to() -> None:
    noise, zero = torch.randn(3, 2, 4, 5, 6), torch.zeros(2)
    weights = torch.tensor([1.7, 0.2]), torch.tensor([2.5, 1.1])
    for mode in MODES:
        torch.testing.assert_close(combined(mode, noise[: CALLS[mode]], zero, zero), noise[0])
        same = noise[:1].expand(CALLS[mode], -1, -1, -1, -1)
        torch.testing.assert_close(combined(mode, same, *weights), noise[0])


def test_all_channels_are_guided() -> None:
    noise = torch.randn(3, 1, 4, 5, 6)
    weak, strong = (combined("eq4", noise, torch.ones(1), torch.tensor([w])) for w in (1.0, 2.0))
    assert ((weak - strong).abs().amax((0, 2, 3)) > 0.1).all()


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_one_batch_is_what_single_evaluations_say(mode: Mode) -> None:
    net, text = parts()
    asked = [Asked("metal nut", "crack", 1.0, 2.0), Asked("wood", "crack", 0.5, 0.3)]
    x, rows = torch.randn(2, 4, 8, 12), []
    net.final_layer.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    found = Guided(net, text, asked, TIMES, LinearSchedule(), mode=mode)(x, 1)
    assert rows == [CALLS[mode] * len(asked)]
    said = []
    for several in zip(*(evaluations(mode, each.defect, each.product) for each in asked), strict=True):
        of = [prompts(*told) for told in several]
        texts = (text.encode([getattr(each, part) for each in of]) for part in ("defect", "product", "fusion"))
        said.append(net(x, torch.full((2,), TIMES[1]), *texts))
    weights = (torch.tensor([getattr(each, name) for each in asked]) for name in ("w_product", "w_defect"))
    noise = combined(mode, torch.stack([each.out[:, :4] for each in said]), *weights)
    for one, other in zip(found, (noise, said[-1].out[:, 4:], said[-1].mask_latent), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_a_net_that_predicts_velocities_is_guided_alike(mode: Mode) -> None:
    net, text = parts()
    schedule, x, asked = LinearSchedule(), torch.randn(1, 4, 8, 12), [Asked("metal nut", "crack", 1.3, 2.0)]
    said, variance, mask = Guided(net, text, asked, TIMES, schedule, mode=mode)(x, 0)
    net.register_to_config(predicts="velocity")
    noise, *same = Guided(net, text, asked, TIMES, schedule, mode=mode)(x, 0)
    torch.testing.assert_close(same, [variance, mask])
    # velocity and noised image are a turn of noise and image
    image, rest = (float(factor) for factor in schedule.coefficients(torch.tensor(TIMES[0])))
    torch.testing.assert_close(noise, image * said + rest * x)


@torch.no_grad()
def test_the_null_product_is_a_field() -> None:
    net, _ = parts()
    text = NamedEmbedding(products=["wood"], defects=["crack"], dim=16, null_product="object").eval()
    asked, schedule = [Asked("wood", "crack")], LinearSchedule()
    Guided(net, text, asked, TIMES, schedule, null_product="object")(torch.zeros(1, 4, 4, 4), 0)
    with pytest.raises(ValueError, match="industry"):
        Guided(net, text, asked, TIMES, schedule)
