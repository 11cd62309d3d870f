"""Regions of images drawn anew: what Stable Diffusion sees of a host, and the images that it makes of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import cv2
import numpy as np
import torch
from diffusers import StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline
from numpy.typing import NDArray

from inout_aug.sample import Image, Mask
from inout_generators.common.insertion import Window, window_around
from inout_generators.lora.drawing import Task, embeddings, torch_generator

InpaintPipeline: TypeAlias = "StableDiffusionInpaintPipeline | StableDiffusionXLInpaintPipeline"


@dataclass(frozen=True, slots=True, eq=False)
class Filling(Task):
    """One region to draw anew.

    Attributes:
        strength: Share of the noise that it is drawn from.
        window: What of the host is seen.
        region: In the window, uint8, 1 inside.
        seen: The window at the size drawn at, float32 (H, W, 3) in [0, 1].
        redrawn: What of it is drawn anew, uint8 (H, W): whole cells of latents.
    """

    strength: float
    window: Window
    region: Mask
    seen: NDArray[np.float32]
    redrawn: Mask


@torch.no_grad()
def fill(
    pipeline: InpaintPipeline,
    tasks: Sequence[Filling],
    *,
    negative_prompt: str,
    guidance_scale: float,
    steps: int,
    clip_skip: int,
) -> list[NDArray[np.float32]]:
    """Return what is made of each window, (H, W, 3) in [0, 1], also where it was to stay as it is.

    A UNet of images alone is held to the host after each step (blended latent diffusion, Avrahami et al., SIGGRAPH
    2023); one for inpainting is shown it.

    Args:
        pipeline: Where it is to work.
        tasks: Of one size and one strength.
        negative_prompt: What is not wanted.
        guidance_scale: Weight of the prompt; 1 and less is no guidance.
        steps: Of the sampler at full strength.
        clip_skip: Last layers of the text encoder left out.
    """
    height, width = tasks[0].size
    words: dict[str, Any]
    if isinstance(pipeline, StableDiffusionXLInpaintPipeline):
        # it was trained on zeros for no words, not on the embeddings of an empty text
        unwanted = [negative_prompt] * len(tasks) if negative_prompt else None
        words = {"prompt": [task.prompt for task in tasks], "negative_prompt": unwanted, "clip_skip": clip_skip or None}
    else:
        words = embeddings(pipeline, tasks, negative_prompt, guidance_scale=guidance_scale, clip_skip=clip_skip)
    images = pipeline(
        **words,
        image=torch.from_numpy(np.stack([task.seen for task in tasks])).permute(0, 3, 1, 2),
        mask_image=torch.from_numpy(np.stack([task.redrawn for task in tasks])).float()[:, None],
        height=height,
        width=width,
        strength=tasks[0].strength,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        generator=[torch_generator(task.seed) for task in tasks],
        output_type="pt",
    ).images
    return list(images.float().permute(0, 2, 3, 1).cpu().numpy())


def as_inpainting(pipeline: Any) -> InpaintPipeline:
    """Return a pipeline that fills regions, of the same parts."""
    if isinstance(pipeline, StableDiffusionInpaintPipeline | StableDiffusionXLInpaintPipeline):
        filling: InpaintPipeline = pipeline
    else:
        filling = StableDiffusionInpaintPipeline(**pipeline.components, requires_safety_checker=False)
    return filling


def window_for(region: Mask, size: tuple[int, int], *, max_share: float, max_zoom: float) -> Window:
    """Return the window, of the ratio of `size` if the host has room for it, in which a region is drawn.

    Args:
        region: (H, W), the host's size; non-zero inside, not empty.
        size: (H, W) that the model draws at.
        max_share: The most of the window's height, and of its width, that the region takes up.
        max_zoom: How much a window is enlarged at most.

    Example:
        >>> region = np.zeros((600, 200), np.uint8)
        >>> region[300:340, 50:60] = 1
        >>> window_for(region, (512, 512), max_share=0.5, max_zoom=4)
        Window(top=256, left=0, height=128, width=128)
    """
    spans = [int(np.ptp(np.flatnonzero(region.any(axis=axis)))) + 1 for axis in (1, 0)]
    scale = max(1 / max_zoom, *(span / (max_share * side) for span, side in zip(spans, size, strict=True)))
    height, width = (math.ceil(scale * side) for side in size)
    return window_around(region, (height, width), margin=0)


def drawn_size(window: Window, size: tuple[int, int], cell: int) -> tuple[int, int]:
    """Return the size, of as many pixels as `size` and in the window's ratio up to whole cells, that it is drawn at.

    Example:
        >>> drawn_size(Window(0, 0, 600, 200), (512, 512), 8)
        (888, 296)
    """
    scale = math.sqrt(math.prod(size) / math.prod(window.size)) / cell
    height, width = (max(1, round(scale * side)) * cell for side in window.size)
    return height, width


def as_seen(host: Image, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a window of a host, (h, w, 1 or 3), as float32 (H, W, 3) in [0, 1] of another size."""
    white = np.float32(np.iinfo(host.dtype).max)
    colour = np.repeat(host, 3, axis=2) if host.shape[2] == 1 else host
    return resized(colour.astype(np.float32) / white, size).clip(0, 1)


def cells_of(region: Mask, size: tuple[int, int], cell: int) -> Mask:
    """Return which pixels of the size drawn at lie in a cell with any of the region; thin cracks would be lost else."""
    height, width = (side // cell for side in size)
    touched = resized(region.astype(np.float32), (height, width), smooth=cv2.INTER_LINEAR) > 0
    return touched.repeat(cell, axis=0).repeat(cell, axis=1).astype(np.uint8)


def as_made(made: NDArray[np.float32], host: Image) -> NDArray[np.float32]:
    """Return what was made, in the size, channels and units of the window of the host that it is for."""
    pixels = resized(made, (host.shape[0], host.shape[1]))
    if host.shape[2] == 1:
        pixels = cast("NDArray[np.float32]", cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None])
    return pixels * np.float32(np.iinfo(host.dtype).max)


def resized(
    pixels: NDArray[np.float32], size: tuple[int, int], *, smooth: int = cv2.INTER_CUBIC
) -> NDArray[np.float32]:
    """Return an image in another size: means of areas along what shrinks, then `smooth` along what grows."""
    least = min(size[0], pixels.shape[0]), min(size[1], pixels.shape[1])
    for wanted, how in ((least, cv2.INTER_AREA), (size, smooth)):
        if pixels.shape[:2] != wanted:
            pixels = cast("NDArray[np.float32]", cv2.resize(pixels, wanted[::-1], interpolation=how))
    return pixels
