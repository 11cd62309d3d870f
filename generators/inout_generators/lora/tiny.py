"""Stable Diffusion at a thousandth of its weights, random: every path of the code runs on it, on a CPU, offline."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from inout_generators.common.checkpoints import PathLike

# those of the In&Out and DIAG papers' prompts; other words cost a token a letter
WORDS = (
    *("a", "background", "copper", "crack", "cracked", "marks", "metal", "of", "on"),
    *("photo", "scratch", "scratched", "scratches", "skt", "the", "wall", "white"),
)
_SUFFIX = "</w>"
_PROMPT_TOKENS = 77


def tiny_stable_diffusion(
    path: PathLike | None = None,
    *,
    words: Sequence[str] = (),
    in_channels: int = 4,
    unet_channels: tuple[int, int] = (32, 64),
    vae_channels: Sequence[int] = (8, 16, 16, 16),
    width: int = 32,
    seed: int = 0,
) -> StableDiffusionPipeline:
    """Build a random Stable Diffusion: the parts of SD 1.5, narrow and shallow.

    Args:
        path: A folder to write it to, in the standard layout of diffusers; None for none.
        words: One token each, beside those of the In&Out prompts.
        in_channels: Of the UNet: 4, or 9 as in inpainting checkpoints.
        unet_channels: Of its two levels.
        vae_channels: Of the autoencoder's levels; n of them make an image 2^(n - 1) times as large as its latents,
            8 by default as in SD.
        width: Of the text embeddings.
        seed: Of the weights.

    Returns:
        A pipeline on the CPU in float32, without safety checker.

    Example:
        >>> pipeline = tiny_stable_diffusion()
        >>> pipeline.set_progress_bar_config(disable=True)
        >>> pipeline("a scratch", height=32, width=64, num_inference_steps=2).images[0].size
        (64, 32)
    """
    tokenizer = _tokenizer((*WORDS, *words))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=_vae(vae_channels),
            text_encoder=_text_encoder(tokenizer, width),
            tokenizer=tokenizer,
            unet=_unet(in_channels, unet_channels, width),
            scheduler=_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    if path is not None:
        pipeline.save_pretrained(path, safe_serialization=True)
    return pipeline


def _unet(in_channels: int, channels: tuple[int, int], width: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=channels,
        norm_num_groups=8,
        attention_head_dim=8,
        cross_attention_dim=width,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def _vae(channels: Sequence[int]) -> AutoencoderKL:
    levels = len(channels)
    return AutoencoderKL(
        block_out_channels=tuple(channels),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=8 * 2 ** (levels - 1),
    ).eval()


def _text_encoder(tokenizer: CLIPTokenizer, width: int) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=_PROMPT_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def _scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _tokenizer(words: Sequence[str]) -> CLIPTokenizer:
    """Return CLIP's tokenizer with every byte as a token, inside and at the end of a word, and these whole words."""
    backend = CLIPTokenizer().backend_tokenizer
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    endings = [letter + _SUFFIX for letter in letters]
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=1, end_of_word_suffix=_SUFFIX, initial_alphabet=letters, show_progress=False
    )
    backend.train_from_iterator(words, trainer)
    model = json.loads(backend.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    joined = ["".join(pair) for pair in merges]
    tokens = dict.fromkeys([*letters, *endings, *joined, "<|startoftext|>", "<|endoftext|>"])
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=_PROMPT_TOKENS)
