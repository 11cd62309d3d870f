"""One batch of images from a Stable Diffusion pipeline: each from its own prompt and its own seed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, TypeVar

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from inout_aug.sample import Image, Mask
from inout_aug.seeding import stream
from inout_generators.lora.prompts import encode

Pixels = TypeVar("Pixels", Image, Mask)

# what a stream is for, so that one seed gives unrelated numbers
PROMPT, LATENTS, STEPS = range(3)


@dataclass(frozen=True, slots=True)
class Task:
    """One image to draw.

    Attributes:
        prompt: What it shows.
        seed: Fixes its noise.
        size: (H, W), multiples of the latents' pixels.
    """

    prompt: str
    seed: int
    size: tuple[int, int]


class Masks(Protocol):
    """What a `Masker` has seen."""

    def __call__(self) -> Sequence[Mask]:
        """Return a mask per image, uint8 (H, W), non-zero inside."""
        ...


class Masker(Protocol):
    """Makes masks of whole images from what the UNet attends to while it draws them. Its repr says all its settings."""

    def watch(self, pipeline: StableDiffusionPipeline, tasks: Sequence[Task]) -> AbstractContextManager[Masks]:
        """Watch the drawing of some tasks of one size."""
        ...


@torch.no_grad()
def draw(
    pipeline: StableDiffusionPipeline,
    tasks: Sequence[Task],
    *,
    negative_prompt: str,
    guidance_scale: float,
    steps: int,
    clip_skip: int,
    masker: Masker | None = None,
) -> list[tuple[Image, Mask | None]]:
    """Return an image, uint8 (H, W, 3), for each task, and its mask.

    Args:
        pipeline: Where it is to work.
        tasks: Of one size.
        negative_prompt: What is not wanted.
        guidance_scale: Weight of the prompt; 1 and less is no guidance.
        steps: Of the sampler.
        clip_skip: See `encode`.
        masker: Makes the masks; without one they are None.
    """
    height, width = tasks[0].size
    watching: AbstractContextManager[Masks | None]
    watching = nullcontext(None) if masker is None else masker.watch(pipeline, tasks)
    with watching as masks:
        images = pipeline(
            **embeddings(pipeline, tasks, negative_prompt, guidance_scale=guidance_scale, clip_skip=clip_skip),
            height=height,
            width=width,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            latents=latents(pipeline, tasks),
            # for the schedulers that add noise on the way
            generator=[torch_generator(task.seed) for task in tasks],
            output_type="pt",
        ).images
    # what overflowed in half precision is black, which a cache's gates refuse
    pixels = (images.float().nan_to_num(0) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return list(zip(pixels, [None] * len(tasks) if masks is None else masks(), strict=True))


def embeddings(
    pipeline: StableDiffusionPipeline,
    tasks: Sequence[Task],
    negative_prompt: str,
    *,
    guidance_scale: float,
    clip_skip: int,
) -> dict[str, Tensor | None]:
    """Return what the text encoder makes of the prompts of some tasks, as arguments of a pipeline."""
    # one at a time, since other batch sizes give other last bits
    known = {
        text: encode(pipeline.tokenizer, pipeline.text_encoder, [text], clip_skip=clip_skip)
        for text in {*(task.prompt for task in tasks), negative_prompt}
    }
    return {
        "prompt_embeds": torch.cat([known[task.prompt] for task in tasks]),
        "negative_prompt_embeds": torch.cat([known[negative_prompt]] * len(tasks)) if guidance_scale > 1 else None,
    }


def latents(pipeline: StableDiffusionPipeline, tasks: Sequence[Task]) -> Tensor:
    """Return the noise that each task starts from, (B, C, H / 8, W / 8), drawn on the CPU from its seed alone."""
    height, width = (side // pipeline.vae_scale_factor for side in tasks[0].size)
    shape = pipeline.vae.config.latent_channels, height, width
    noise = [stream(task.seed, LATENTS).standard_normal(shape, np.float32) for task in tasks]
    return torch.from_numpy(np.stack(noise)).to(pipeline.unet.dtype)


def drawn_size(wanted: tuple[int, int], cell: int) -> tuple[int, int]:
    """Return the least size that holds the wanted one in whole cells of pixels.

    Example:
        >>> drawn_size((200, 601), 8)
        (200, 608)
    """
    height, width = (-(-side // cell) * cell for side in wanted)
    return height, width


def fitted(pixels: Pixels, wanted: tuple[int, int], *, resize: bool) -> Pixels:
    """Return the middle of an image, or of a mask, in the wanted size.

    Args:
        pixels: (H, W, 3), or (H, W) for a mask, which is resized without making new values.
        wanted: (H, W).
        resize: Before, to the least size that covers the wanted one; the sides keep their ratio. Without, it must cover
            it already.
    """
    height, width = pixels.shape[:2]
    scale = max(wanted[0] / height, wanted[1] / width)
    if resize and scale != 1:
        height, width = max(wanted[0], round(height * scale)), max(wanted[1], round(width * scale))
        smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4
        how = cv2.INTER_NEAREST_EXACT if pixels.ndim == 2 else smooth
        pixels = cv2.resize(pixels, (width, height), interpolation=how)  # type: ignore[assignment]
    top, left = (height - wanted[0]) // 2, (width - wanted[1]) // 2
    return np.ascontiguousarray(pixels[top : top + wanted[0], left : left + wanted[1]])  # type: ignore[return-value]


def torch_generator(seed: int) -> torch.Generator:
    """Return a source of torch's own random numbers, on the CPU."""
    return torch.Generator().manual_seed(int(stream(seed, STEPS).integers(1 << 63)))
