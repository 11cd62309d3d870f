import json
import os
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor

from inout_generators.lora.adapters import (
    ADAPTER,
    attach,
    c3lier_text,
    c3lier_unet,
    collect,
    detach,
    fuse,
    set_alpha,
    unfuse,
)
from inout_generators.lora.files import read_lora

DATA = Path(__file__).parents[2] / "data" / "parity"
SHARED = Path(os.environ.get("INOUT_PARITY", Path(__file__).parents[4] / "shared" / "parity"))
SD15 = {"cross_attention_dim": 768, "sample_size": 64, "attention_head_dim": 8}


def unet_of_parity(seed: int = 0) -> UNet2DConditionModel:
    torch.manual_seed(seed)
    return UNet2DConditionModel(**json.loads((DATA / "lora_config.json").read_text())["unet"]).eval()


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    return load_file(DATA / "lora_io.safetensors")


def out(unet: UNet2DConditionModel, io: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return unet(io["x"], io["t"], io["c"]).sample


KOHYA = DATA / "lora_kohya_c3lier.safetensors"


@pytest.mark.skipif(not (SHARED / "lora_unet_base.safetensors").is_file(), reason="INOUT_PARITY has no lora_unet_base")
def test_gives_what_kohya_gives(io: dict[str, Tensor]) -> None:
    unet = unet_of_parity()
    unet.load_state_dict(load_file(SHARED / "lora_unet_base.safetensors"))
    attach(read_lora(KOHYA, unet), unet)
    for alpha in (0.6, 1.0):
        set_alpha(alpha, unet)
        torch.testing.assert_close(out(unet, io), io[f"out_alpha_{alpha}"], atol=1e-4, rtol=0)
        fuse(unet)
        torch.testing.assert_close(out(unet, io), io[f"out_alpha_{alpha}"], atol=1e-4, rtol=0)
        unfuse(unet)
    detach(unet)
    torch.testing.assert_close(out(unet, io), io["out_base"], atol=1e-4, rtol=0)


def test_merges_as_the_formula_says(io: dict[str, Tensor]) -> None:
    """W + α · alpha / rank · up · down, computed per layer from the file's own keys."""
    unet, oracle = unet_of_parity(), unet_of_parity()
    raw = load_file(KOHYA)
    for name, layer in oracle.named_modules():
        key = "lora_unet_" + name.replace(".", "_")
        if f"{key}.alpha" in raw:
            down, up = raw[f"{key}.lora_down.weight"], raw[f"{key}.lora_up.weight"]
            scale = 0.6 * raw[f"{key}.alpha"].item() / down.shape[0]
            layer.weight.data += scale * (up.flatten(1) @ down.flatten(1)).reshape(layer.weight.shape)
    before = out(unet, io)
    attach(read_lora(KOHYA, unet), unet, alpha=0.6)
    unfused = out(unet, io)
    assert (unfused - before).abs().max() > 0.01
    torch.testing.assert_close(unfused, out(oracle, io), atol=1e-5, rtol=0)
    fuse(unet)
    torch.testing.assert_close(out(unet, io), unfused, atol=1e-5, rtol=0)


def test_taken_off_the_base_is_as_it_was(io: dict[str, Tensor]) -> None:
    unet = unet_of_parity()
    before, keys = out(unet, io), set(unet.state_dict())
    attach(read_lora(KOHYA, unet), unet)
    detach(unet)
    assert torch.equal(out(unet, io), before)
    assert set(unet.state_dict()) == keys
    assert not hasattr(unet, "peft_config")
    attach(read_lora(KOHYA, unet), unet, alpha=0.5)
    fuse(unet)
    detach(unet)
    torch.testing.assert_close(out(unet, io), before, atol=1e-5, rtol=0)


def test_alpha_zero_is_the_base(io: dict[str, Tensor]) -> None:
    unet = unet_of_parity()
    before = out(unet, io)
    attach(read_lora(KOHYA, unet), unet, alpha=0)
    assert torch.equal(out(unet, io), before)


def test_c3lier_selects_278_modules_of_stable_diffusion() -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
        unet.add_adapter(c3lier_unet(), ADAPTER)
    layers = [layer for layer in unet.modules() if isinstance(layer, LoraLayer)]
    kinds = [tuple(layer.get_base_layer().weight.shape[2:]) for layer in layers]
    assert (len(layers), kinds.count(()), kinds.count((1, 1)), kinds.count((3, 3))) == (278, 182, 46, 50)
    for layer, kind in zip(layers, kinds, strict=True):
        assert (layer.r[ADAPTER], layer.scaling[ADAPTER]) == ((4, 0.25) if kind == (3, 3) else (32, 0.5))
    assert sum(p.numel() for layer in layers for p in (*layer.lora_A.parameters(), *layer.lora_B.parameters())) == (
        pytest.approx(18.39e6, rel=1e-3)
    )


def test_the_text_encoder_of_stable_diffusion_has_72() -> None:
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.device("meta"):
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12))
        text.add_adapter(c3lier_text(), ADAPTER)
    assert sum(isinstance(layer, LoraLayer) for layer in text.modules()) == 72


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_refuses_a_merge_weight_out_of_range(alpha: float) -> None:
    unet = unet_of_parity()
    with pytest.raises(ValueError, match=r"lies in \[0, 1\]"):
        attach(read_lora(KOHYA, unet), unet, alpha=alpha)
    assert not collect(unet).unet


def test_refuses_a_second_lora_and_another_weight_of_a_fused_one() -> None:
    unet = unet_of_parity()
    lora = read_lora(KOHYA, unet)
    attach(lora, unet)
    with pytest.raises(ValueError, match="has a LoRA already"):
        attach(lora, unet)
    fuse(unet)
    with pytest.raises(ValueError, match="unfuse it first"):
        set_alpha(0.5, unet)


def test_half_precision_bases_get_half_precision_loras(io: dict[str, Tensor]) -> None:
    unet = unet_of_parity().to(torch.bfloat16)
    attach(read_lora(KOHYA, unet), unet)
    assert {parameter.dtype for parameter in unet.parameters()} == {torch.bfloat16}
