from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from inout_generators.lora.tiny import WORDS, tiny_stable_diffusion


def picture(pipeline: StableDiffusionPipeline, prompt: str, seed: int = 0) -> torch.Tensor:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    size = {"height": 32, "width": 64}
    return pipeline(prompt, num_inference_steps=2, generator=generator, output_type="pt", **size).images


def test_prompt_and_seed_change_the_picture() -> None:
    pipeline = tiny_stable_diffusion()
    first = picture(pipeline, "a scratch")
    assert first.shape == (1, 3, 32, 64)
    assert first.std() > 0.05
    assert torch.equal(first, picture(pipeline, "a scratch"))
    assert (first - picture(pipeline, "a crack")).abs().max() > 0.01
    assert (first - picture(pipeline, "a scratch", seed=1)).abs().max() > 0.1


def test_diffusers_reads_back_what_is_on_disk(tmp_path: Path) -> None:
    written = tiny_stable_diffusion(tmp_path, words=["dent"])
    read = StableDiffusionPipeline.from_pretrained(tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".bin", ".pt", ".ckpt")]
    assert torch.equal(picture(written, "a dent"), picture(read, "a dent"))
    assert read.tokenizer("naïve dent 12").input_ids == written.tokenizer("naïve dent 12").input_ids


def test_words_are_tokens_and_anything_else_is_spelt() -> None:
    tokenizer = tiny_stable_diffusion(words=["dent"]).tokenizer
    assert tokenizer.tokenize("a dent on the wall") == ["a</w>", "dent</w>", "on</w>", "the</w>", "wall</w>"]
    assert all(len(tokenizer.tokenize(word)) == 1 for word in WORDS)
    assert len(tokenizer.tokenize("qxz")) == 3
    assert tokenizer.unk_token_id not in tokenizer("Ünïcödé, 7!").input_ids[1:-1]


def test_a_seed_fixes_the_weights_and_leaves_the_global_stream_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    nets = [tiny_stable_diffusion(seed=seed).unet.conv_in.weight for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(nets[0], nets[1])
    assert not torch.equal(nets[0], nets[2])


def test_inpainting_checkpoints_have_nine_channels_and_an_autoencoder_may_be_shallow() -> None:
    pipeline = tiny_stable_diffusion(in_channels=9, vae_channels=(8, 16), width=64)
    assert pipeline.unet.config.in_channels == 9
    assert pipeline.unet.config.cross_attention_dim == 64
    assert pipeline.vae.encode(torch.zeros(1, 3, 32, 48)).latent_dist.mean.shape == (1, 4, 16, 24)
