import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.lora.adapters import ADAPTER, LoRA, attach, c3lier_text, c3lier_unet, collect, detach
from inout_generators.lora.files import Format, read_lora, save_lora
from inout_generators.lora.tiny import tiny_stable_diffusion


@pytest.fixture(scope="module")
def base() -> StableDiffusionPipeline:
    return tiny_stable_diffusion()


@pytest.fixture(scope="module")
def lora(base: StableDiffusionPipeline) -> LoRA:
    """A c3Lier of random numbers, with different alphas."""
    torch.manual_seed(1)
    base.unet.add_adapter(c3lier_unet(rank=8, alpha=4, conv_rank=4, conv_alpha=1), ADAPTER)
    base.text_encoder.add_adapter(c3lier_text(rank=8, alpha=2), ADAPTER)
    for model in (base.unet, base.text_encoder):
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    trained = collect(base.unet, base.text_encoder, clip_skip=1)
    detach(base.unet, base.text_encoder)
    return trained


def out(pipeline: StableDiffusionPipeline) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    with torch.no_grad():
        words = pipeline.text_encoder(torch.tensor([[3, 40, 55, 60]])).last_hidden_state
        return pipeline.unet(latents, 500, words).sample


def out_with(pipeline: StableDiffusionPipeline, lora: LoRA) -> Tensor:
    attach(lora, pipeline.unet, pipeline.text_encoder, alpha=0.8)
    try:
        return out(pipeline)
    finally:
        detach(pipeline.unet, pipeline.text_encoder)


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_a_saved_lora_is_read_back_with_every_alpha(
    base: StableDiffusionPipeline, lora: LoRA, tmp_path: Path, layout: Format
) -> None:
    file = save_lora(tmp_path, lora, format=layout)
    assert file == tmp_path / "pytorch_lora_weights.safetensors"
    for path in (file, tmp_path):
        read = read_lora(path, base.unet, base.text_encoder)
        assert read.clip_skip == 1
        assert {n: (u.rank, u.alpha) for n, u in read.unet.items()} == {
            n: (u.rank, u.alpha) for n, u in lora.unet.items()
        }
        assert torch.equal(out_with(base, read), out_with(base, lora))
    assert (out_with(base, lora) - out(base)).abs().max() > 0.01


@pytest.mark.parametrize("layout", ["peft", "kohya"])
def test_diffusers_reads_what_is_saved(lora: LoRA, tmp_path: Path, layout: Format) -> None:
    pipeline = tiny_stable_diffusion()
    save_lora(tmp_path, lora, format=layout)
    pipeline.load_lora_weights(tmp_path)
    pipeline.set_adapters(pipeline.get_active_adapters(), 0.8)
    theirs = out(pipeline)
    torch.testing.assert_close(theirs, out_with(tiny_stable_diffusion(), lora), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks transformers
def test_reads_what_diffusers_and_peft_save(base: StableDiffusionPipeline, lora: LoRA, tmp_path: Path) -> None:
    pipeline = tiny_stable_diffusion()
    attach(lora, pipeline.unet, pipeline.text_encoder)
    expected = lora.unet
    pipeline.unet.save_lora_adapter(tmp_path / "diffusers", adapter_name=ADAPTER)
    read = read_lora(tmp_path / "diffusers", base.unet)
    assert {n: u.alpha for n, u in read.unet.items()} == {n: u.alpha for n, u in expected.items()}
    assert all(torch.equal(read.unet[name].up, update.up) for name, update in expected.items())

    from peft import get_peft_model

    config = c3lier_unet(rank=8, alpha=4)
    get_peft_model(tiny_stable_diffusion().unet, config).save_pretrained(tmp_path / "both" / "unet")
    text = get_peft_model(tiny_stable_diffusion().text_encoder, c3lier_text(rank=8, alpha=2))
    text.save_pretrained(tmp_path / "both" / "text_encoder")
    both = read_lora(tmp_path / "both", base.unet, base.text_encoder)
    assert {n: u.alpha for n, u in both.unet.items()} == {n: u.alpha for n, u in expected.items()}
    assert {n: u.alpha for n, u in both.text_encoder.items()} == {n: u.alpha for n, u in lora.text_encoder.items()}
    alone = read_lora(tmp_path / "both" / "text_encoder", base.unet, base.text_encoder)
    assert not alone.unet
    assert alone.text_encoder.keys() == lora.text_encoder.keys()


def test_a_file_without_alphas_has_those_of_the_rank(base: StableDiffusionPipeline, lora: LoRA, tmp_path: Path) -> None:
    tensors = load_file(save_lora(tmp_path / "a.safetensors", lora, format="kohya"))
    save_file({key: value for key, value in tensors.items() if "alpha" not in key}, tmp_path / "b.safetensors")
    read = read_lora(tmp_path / "b.safetensors", base.unet, base.text_encoder)
    assert all(update.alpha == update.rank for update in read.unet.values())
    assert read.clip_skip is None


@pytest.mark.parametrize(("stored", "clip_skip"), [("None", 0), ("2", 1), ("1", 0)])
def test_reads_kohyas_clip_skip(
    base: StableDiffusionPipeline, lora: LoRA, tmp_path: Path, stored: str, clip_skip: int
) -> None:
    tensors = load_file(save_lora(tmp_path / "a.safetensors", lora, format="kohya"))
    save_file(tensors, tmp_path / "b.safetensors", metadata={"ss_clip_skip": stored})
    assert read_lora(tmp_path / "b.safetensors", base.unet, base.text_encoder).clip_skip == clip_skip


def test_older_key_names_are_read(base: StableDiffusionPipeline, lora: LoRA, tmp_path: Path) -> None:
    file = save_lora(tmp_path / "a.safetensors", lora)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    older = {
        key.replace("lora_A", "lora.down" if key.startswith("unet") else "lora_linear_layer.down").replace(
            "lora_B", "lora.up" if key.startswith("unet") else "lora_linear_layer.up"
        ): value
        for key, value in load_file(file).items()
    }
    save_file(older, tmp_path / "b.safetensors", metadata=metadata)
    read = read_lora(tmp_path / "b.safetensors", base.unet, base.text_encoder)
    assert torch.equal(out_with(base, read), out_with(base, lora))


def renamed(start: str, new: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {key.replace(start, new): value for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("lora_te_", "lora_te2_"), r"is for SDXL.* 54 keys name no layer.*lora_te2_text_model"),
        (renamed("lora_unet_down_blocks_0", "lora_unet_input_blocks_1"), "is for SDXL"),
        (renamed("lora_unet_", "lora_unet_double_blocks_"), "SD 3 or Flux"),
        (renamed("lora_down", "hada_w1_a"), "LoHa"),
        (renamed("down_blocks_0_resnets_0_conv1", "conv_in_2"), "3 keys name no layer of it.*conv_in_2"),
        (lambda tensors: {k: v for k, v in tensors.items() if "lora_up" not in k}, "up projection is missing"),
        (lambda tensors: {"noise": torch.zeros(3)}, "1 keys name no layer.*noise"),
    ],
)
def test_keys_that_do_not_match_are_listed(
    base: StableDiffusionPipeline,
    lora: LoRA,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    message: str,
) -> None:
    tensors = load_file(save_lora(tmp_path / "a.safetensors", lora, format="kohya"))
    save_file(change(tensors), tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match=message):
        read_lora(tmp_path / "b.safetensors", base.unet, base.text_encoder)


def test_a_lora_of_another_width_is_refused(lora: LoRA, tmp_path: Path) -> None:
    file = save_lora(tmp_path, lora)
    wider = tiny_stable_diffusion(width=64)
    with pytest.raises(CheckpointError, match=r"embeddings of 64 numbers\); it is for another model, .* of 32 numbers"):
        read_lora(file, wider.unet, wider.text_encoder)


def test_a_text_encoder_that_is_not_there_cannot_be_changed(
    base: StableDiffusionPipeline, lora: LoRA, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="name no layer"):
        read_lora(save_lora(tmp_path, lora), base.unet)


def test_says_what_is_missing(base: StableDiffusionPipeline, lora: LoRA, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no LoRA at .*nowhere; expected a \.safetensors file, or a folder"):
        read_lora(tmp_path / "nowhere", base.unet)
    with pytest.raises(FileNotFoundError, match="holds no LoRA"):
        read_lora(tmp_path, base.unet)
    torch.save({"a": torch.zeros(1)}, tmp_path / "lora.pt")
    with pytest.raises(CheckpointError, match=r"only pickles, lora\.pt"):
        read_lora(tmp_path, base.unet)
    with pytest.raises(CheckpointError, match="is a pickle"):
        read_lora(tmp_path / "lora.pt", base.unet)
    for name in "ab":
        save_lora(tmp_path / f"{name}.safetensors", lora)
    with pytest.raises(FileNotFoundError, match=r"several files, a\.safetensors, b\.safetensors; give one"):
        read_lora(tmp_path, base.unet)
    with pytest.raises(ValueError, match="peft or kohya"):
        save_lora(tmp_path, lora, format="a1111")  # type: ignore[arg-type]


def test_what_is_saved_names_every_setting(lora: LoRA, tmp_path: Path) -> None:
    with safe_open(save_lora(tmp_path, lora), "pt") as file:
        stored = json.loads(file.metadata()["lora_adapter_metadata"])
    assert stored["unet.lora_alpha"] == 4
    assert set(stored["unet.alpha_pattern"].values()) == {1.0}
    assert stored["text_encoder.lora_alpha"] == 2
