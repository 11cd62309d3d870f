"""Masks from attention, against attention written out, and on maps whose answer is known."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch.nn import functional as F

from inout_aug.plugin import Request
from inout_generators.lora.attention import AttentionMasks, positions_of
from inout_generators.lora.drawing import Task, draw
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.tiny import tiny_stable_diffusion

SETTINGS: dict[str, Any] = {"negative_prompt": "", "steps": 3, "clip_skip": 0}


class WrittenOut:
    """Softmax(QKᵀ/√d)V of the paper, kept."""

    def __init__(self) -> None:
        self.kept: list[torch.Tensor] = []

    def __call__(self, attn: Attention, hidden: Any, encoder_hidden_states: Any = None, **_: Any) -> torch.Tensor:
        words = hidden if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            part.unflatten(-1, (attn.heads, -1)) for part in (attn.to_q(hidden), attn.to_k(words), attn.to_v(words))
        )
        weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5).softmax(dim=-1)
        if encoder_hidden_states is not None:
            self.kept.append(weights)
        return torch.as_tensor(attn.to_out[0](torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)))


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_heat_is_the_attention_to_the_words_over_layers_heads_and_steps(guidance_scale: float) -> None:
    tasks = [Task("a cracked wall", 1, (72, 40)), Task("white scratched wall scratched", 2, (72, 40))]
    masker = AttentionMasks(["cracked", "scratched"])
    pipeline = tiny_stable_diffusion()
    with masker.watch(pipeline, tasks) as heat:
        watched = draw(pipeline, tasks, guidance_scale=guidance_scale, **SETTINGS)

    other, keeper = tiny_stable_diffusion(), WrittenOut()
    other.unet.set_attn_processor(keeper)
    drawn = draw(other, tasks, guidance_scale=guidance_scale, **SETTINGS)
    assert all(np.abs(a[0].astype(int) - b[0]).max() <= 1 for a, b in zip(watched, drawn, strict=True))
    expected = torch.zeros(2, 72, 40)
    # start of text, then the words
    for image, at in enumerate(([2], [2, 4])):
        for weights in keeper.kept:
            flat = weights[-2:][image][..., at].mean(dim=-1).sum(dim=0)
            shape = {45: (9, 5), 15: (5, 3)}[len(flat)]
            expected[image] += F.interpolate(flat.reshape(1, 1, *shape), (72, 40), mode="bicubic")[0, 0]
    assert len(keeper.kept) == 3 * sum(name.endswith("attn2") for name, _ in other.unet.named_modules())
    np.testing.assert_allclose(heat.maps(), expected, rtol=1e-3, atol=1e-4)


def test_images_are_the_same_with_and_without_masks_and_batches_are_their_singles() -> None:
    prompts = {"skt background scratched": "scratch"}
    plain = LoRADiffusion(tiny_stable_diffusion(), prompts, steps=2, device="cpu")
    masked = LoRADiffusion(
        tiny_stable_diffusion(), prompts, steps=2, device="cpu", masker=AttentionMasks(min_contrast=0, floor=0)
    )
    requests = [Request(seed=k, height=64, width=48) for k in range(3)]
    bare, together = plain.generate(requests), masked.generate(requests)
    assert (plain.masks, masked.masks) == (False, True)
    assert plain.fingerprint != masked.fingerprint
    for without, sample, request in zip(bare, together, requests, strict=True):
        assert np.array_equal(without.image, sample.image)
        assert sample.mask is not None
        assert 0 < sample.mask.mean() < 1
        assert sample.origin.params["mask_quality"] == "attention"
        assert np.array_equal(masked.generate([request])[0].mask, sample.mask)
    hooks = [len(module._forward_pre_hooks) for module in masked.pipeline.unet.modules()]
    assert not any(hooks)
    named = LoRADiffusion(tiny_stable_diffusion(), prompts, device="cpu", masker="attention")
    assert repr(named.masker) == repr(AttentionMasks())


def test_words_attended_to_everywhere_alike_give_an_empty_mask() -> None:
    pipeline = tiny_stable_diffusion()
    for name, module in pipeline.unet.named_modules():
        if name.endswith("attn2"):
            torch.nn.init.zeros_(module.to_q.weight)
    model = LoRADiffusion(pipeline, ["a scratch"], steps=1, device="cpu", masker="attention")
    assert not model.generate([Request(seed=0, height=32, width=32)])[0].mask.any()


def test_the_mask_is_where_it_is_hot() -> None:
    heat = np.full((128, 96), 0.3) + np.random.default_rng(0).normal(0, 0.01, (128, 96))
    hot = np.zeros((128, 96), np.uint8)
    hot[40:80, 20:30] = 1
    np.testing.assert_array_equal(AttentionMasks().mask(heat + 0.7 * hot), hot)
    assert not AttentionMasks().mask(heat).any()
    assert not AttentionMasks().mask(heat + 0.05 * hot).any()
    for broken in (np.zeros((32, 32)), np.full((32, 32), np.nan)):
        assert not AttentionMasks().mask(broken).any()


def test_words_are_found_by_their_tokens() -> None:
    tokenizer = tiny_stable_diffusion().tokenizer
    assert positions_of(tokenizer, "copper metal scratches.", None) == [3]
    assert positions_of(tokenizer, "Scratch, white SCRATCH", ["scratch"]) == [1, 4]
    # a word that the tokenizer does not know is a token a letter
    assert positions_of(tokenizer, "a rusty wall", ["rusty"]) == [2, 3, 4, 5, 6]
    assert positions_of(tokenizer, "white marks on the wall", ["white marks", "crack"]) == [1, 2]
    with pytest.raises(ValueError, match="none of the words scratch, crack is in the prompt 'white wall'"):
        positions_of(tokenizer, "white wall", ["scratch", "crack"])
    model = LoRADiffusion(tiny_stable_diffusion(), ["wall"], steps=1, device="cpu", masker=AttentionMasks("crack"))
    with pytest.raises(ValueError, match="none of the words crack"):
        model.generate([Request(seed=0, height=32, width=32)])


def test_a_compiled_unet_hides_its_attention() -> None:
    pipeline = tiny_stable_diffusion()
    pipeline.unet.compile()
    model = LoRADiffusion(pipeline, ["a crack"], steps=1, device="cpu", masker="attention")
    with pytest.raises(ValueError, match="masks want compile=False"):
        model.generate([Request(seed=0, height=32, width=32)])


@pytest.mark.parametrize("settings", [{"words": []}, {"words": " "}, {"min_contrast": 2}, {"floor": -0.1}])
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        AttentionMasks(**settings)
