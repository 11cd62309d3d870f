import json
import re
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.lora.base import SCHEDULERS, is_repository, load_base, scheduler_named
from inout_generators.lora.tiny import tiny_stable_diffusion


def picture(pipeline: StableDiffusionPipeline) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    size = {"height": 32, "width": 32}
    generator = torch.Generator().manual_seed(0)
    return pipeline("a crack", num_inference_steps=1, generator=generator, output_type="pt", **size).images


def as_one_file(pipeline: StableDiffusionPipeline, path: Path) -> None:
    """Write the weights in the key names of the original code, as web interfaces do."""
    resnet = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3"}
    resnet |= {"time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
    unet = {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "down_blocks.0.resnets.0": "input_blocks.1.0",
        "down_blocks.0.attentions.0": "input_blocks.1.1",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
        "down_blocks.1.resnets.0": "input_blocks.3.0",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "up_blocks.0.resnets.0": "output_blocks.0.0",
        "up_blocks.0.resnets.1": "output_blocks.1.0",
        "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
        "up_blocks.1.resnets.0": "output_blocks.2.0",
        "up_blocks.1.attentions.0": "output_blocks.2.1",
        "up_blocks.1.resnets.1": "output_blocks.3.0",
        "up_blocks.1.attentions.1": "output_blocks.3.1",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
    tensors = {}
    for key, value in pipeline.unet.state_dict().items():
        start = next(name for name in sorted(unet, key=len, reverse=True) if key.startswith(f"{name}."))
        rest = key.removeprefix(f"{start}.")
        if "resnets" in start:
            part, _, kind = rest.rpartition(".")
            rest = f"{resnet[part]}.{kind}"
        tensors[f"model.diffusion_model.{unet[start]}.{rest}"] = value
    levels = len(pipeline.vae.config.block_out_channels)
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    for name, value in pipeline.vae.state_dict().items():
        key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
        key = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", key)
        key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", key)
        key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
        key = key.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        if "mid_block.attentions.0" in key:
            for ours, theirs in attention.items():
                key = key.replace(f"mid_block.attentions.0.{ours}.", f"mid.attn_1.{theirs}.")
            value = value[..., None, None] if value.ndim == 2 else value
        tensors[f"first_stage_model.{key}"] = value
    for key, value in pipeline.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    save_file({key: value.clone() for key, value in tensors.items()}, path)


def test_a_folder_is_loaded_as_it_was_written(tmp_path: Path) -> None:
    written = tiny_stable_diffusion(tmp_path)
    assert torch.equal(picture(load_base(tmp_path)), picture(written))


def test_a_single_file_is_loaded_with_settings_from_elsewhere(tmp_path: Path) -> None:
    written = tiny_stable_diffusion(tmp_path / "folder")
    as_one_file(written, tmp_path / "model.safetensors")
    read = load_base(tmp_path / "model.safetensors", config=tmp_path / "folder")
    read.scheduler = written.scheduler
    torch.testing.assert_close(picture(read), picture(written), atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")  # diffusers, huggingface_hub 1
def test_a_repository_out_of_reach_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"(?s)could not be had.*Give a local folder.*HF_HOME.*HF_HUB_CACHE"):
        load_base("nobody/stable-diffusion-of-nobody", revision="main")
    as_one_file(tiny_stable_diffusion(), tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"(?s)holds neither settings nor tokenizer.*as config="):
        load_base(tmp_path / "model.safetensors", config="nobody/stable-diffusion-of-nobody")


def without(key: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "unet" / "diffusion_pytorch_model.safetensors"
        save_file({name: value for name, value in load_file(file).items() if name != key}, file)

    return change


def named(kind: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        index = json.loads((folder / "model_index.json").read_text())
        (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": kind}))

    return change


def pickled(folder: Path) -> None:
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()


def wider(folder: Path) -> None:
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"cross_attention_dim": 64}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (named("StableDiffusionXLPipeline"), r"is SDXL; expected Stable Diffusion 1\.x or 2\.x"),
        (named("FluxPipeline"), "is FluxPipeline; expected"),
        (without("conv_in.weight"), r"the unet of .* does not fit its settings: missing keys conv_in\.weight"),
        (wider, "the unet of .* does not fit its settings"),
        (pickled, r"has pickles, unet/diffusion_pytorch_model\.bin, where safetensors are expected"),
    ],
)
def test_another_model_and_weights_that_fit_in_part_are_refused(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    tiny_stable_diffusion(tmp_path)
    change(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_base(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_file({"conditioner.embedders.0.x": torch.zeros(1)}, tmp_path / "xl.safetensors")
    with pytest.raises(CheckpointError, match="is SDXL"):
        load_base(tmp_path / "xl.safetensors")
    save_file({"lora_unet_x.alpha": torch.zeros(1)}, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointError, match=r"is no Stable Diffusion: .*lora_unet_x\.alpha.*given as lora="):
        load_base(tmp_path / "lora.safetensors")
    torch.save({"model.diffusion_model.x": torch.zeros(1)}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="is a pickle"):
        load_base(tmp_path / "model.ckpt")
    with pytest.raises(FileNotFoundError, match=r"there is no base at .*nowhere"):
        load_base(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="is no Stable Diffusion in diffusers' layout"):
        load_base(tmp_path)


@pytest.mark.parametrize("name", ["./a/b", "/a", "a/b/c", "a", "~/b", "a/b.safetensors"])
def test_paths_are_no_repositories(name: str) -> None:
    assert not is_repository(name)


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # diffusers, numpy 2
def test_schedulers_have_the_noise_that_the_base_was_trained_with(name: str) -> None:
    own = tiny_stable_diffusion().scheduler
    own.register_to_config(prediction_type="v_prediction", beta_end=0.013)
    config = scheduler_named(name, own).config
    assert (config.beta_schedule, config.beta_end, config.prediction_type) == ("scaled_linear", 0.013, "v_prediction")
    assert not config.get("clip_sample", False)


def test_it_draws_no_bars_and_leaves_those_of_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny_stable_diffusion(tmp_path)
    capfd.readouterr()
    load_base(tmp_path)
    assert not capfd.readouterr().err
    StableDiffusionPipeline.from_pretrained(tmp_path)
    drawn = capfd.readouterr().err
    assert "Loading weights" in drawn
    assert "Loading pipeline components" in drawn
