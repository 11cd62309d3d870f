"""What a LoRA is trained on: images of the product with captions, in one size, and as latents."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from inout_aug.sample import MIN_SIDE, Image
from inout_aug.seeding import permuted
from inout_generators.lora.drawing import fitted
from inout_generators.lora.prompts import Prompt

# least share of the base's own number of pixels that a size is chosen with
_LEAST_AREA = 0.65
# most of an image that a size which nobody asked for may cut off
_MOST_CUT = 0.25
_ENCODED_AT_A_TIME = 8


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """An image of the product.

    Attributes:
        image: uint8, (H, W, C), C in {1, 3}.
        caption: What it is called.
        defect_class: Name of the class of defect that it shows; None for a normal image.

    Raises:
        ValueError: The image is not uint8, or the caption is empty.
    """

    image: Image
    caption: str
    defect_class: str | None = None

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8:
            raise ValueError(f"Stable Diffusion draws 8-bit images; got {self.image.dtype}. Scale them to 0..255 first")
        if not self.caption.strip():
            raise ValueError("a caption is empty")


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """Pictures as the autoencoder sees them.

    Attributes:
        mean: float32, (N, C, H / 8, W / 8), on the CPU, scaled to about unit variance.
        std: Standard deviation, in the same form: an image is encoded as a normal distribution.
        tokens: Of the captions, int64, (N, 77).
    """

    mean: Tensor
    std: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.mean)

    def draw(self, places: Sequence[int], rng: np.random.Generator) -> Tensor:
        """Return latents of some pictures."""
        noise = rng.standard_normal((len(places), *self.mean.shape[1:]), np.float32)
        return self.mean[places] + self.std[places] * torch.from_numpy(noise)


def encode_images(
    pipeline: StableDiffusionPipeline, pictures: Sequence[tuple[Image, str]], size: tuple[int, int]
) -> Latents:
    """Encode images, once and for all steps.

    Args:
        pipeline: Where it is to work.
        pictures: Images, uint8, of any sizes, and their captions, none of them too long.
        size: (H, W) that all are brought to.
    """
    vae = pipeline.vae
    means, deviations = [], []
    with torch.no_grad():
        for start in range(0, len(pictures), _ENCODED_AT_A_TIME):
            pixels = np.stack([in_size(image, size) for image, _ in pictures[start : start + _ENCODED_AT_A_TIME]])
            inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(vae.device, vae.dtype) / 127.5 - 1
            encoded = vae.encode(inputs).latent_dist
            means.append(encoded.mean.float().cpu())
            deviations.append(encoded.std.float().cpu())
    captions = [caption for _, caption in pictures]
    tokens = pipeline.tokenizer(
        captions, padding="max_length", max_length=pipeline.tokenizer.model_max_length, return_tensors="pt"
    )
    scale = vae.config.scaling_factor
    return Latents(torch.cat(means) * scale, torch.cat(deviations) * scale, tokens.input_ids)


def in_size(image: Image, size: tuple[int, int]) -> Image:
    """Return an image as uint8 (H, W, 3) in a size: resized until it just covers it, and its middle cut out.

    It is enlarged by Lanczos' kernel and made smaller by area; the sides keep their ratio.
    """
    colour = cast(Image, np.repeat(image, 3, axis=2)) if image.shape[2] == 1 else image
    return fitted(colour, size, resize=True)


def choose_size(sizes: Sequence[tuple[int, int]], *, native: int, cell: int) -> tuple[int, int]:
    """Return the size to train at: nearest to the images' proportions, with about the base's number of pixels.

    Args:
        sizes: (H, W) of the images.
        native: Side of the square images that the base was trained on: 512 for SD 1.5.
        cell: Pixels to a latent: 8.

    Raises:
        ValueError: The images' proportions differ so much that one size cuts off a large part of some.

    Example:
        >>> choose_size([(600, 200)], native=512, cell=8)
        (768, 256)
    """
    ratio = float(np.median([math.log(height / width) for height, width in sizes]))
    step = max(cell, native // 8 // cell * cell)
    sides = range(-(-MIN_SIDE // step) * step, native * 4 + 1, step)
    within = [(h, w) for h in sides for w in sides if _LEAST_AREA * native**2 <= h * w <= native**2]
    best = min(within, key=lambda size: (round(abs(math.log(size[0] / size[1]) - ratio), 9), -size[0] * size[1]))
    worst = max(sizes, key=lambda size: cut_off(size, best))
    if cut_off(worst, best) > _MOST_CUT:
        raise ValueError(
            f"images of {worst[0]}x{worst[1]} would lose {cut_off(worst, best):.0%} at {best[0]}x{best[1]}, which "
            "suits most of the others: train on images of like proportions, or give a size"
        )
    return best


def cut_off(image: tuple[int, int], size: tuple[int, int]) -> float:
    """Return the share of an image, (H, W), that is lost in a size."""
    tall, wide = image[0] / size[0], image[1] / size[1]
    return 1 - min(tall, wide) / max(tall, wide)


def check_size(size: tuple[int, int], cell: int) -> tuple[int, int]:
    """Return a size that the base can draw.

    Raises:
        ValueError: A side is too short, or no multiple of a latent's pixels; the message names the nearest.
    """
    if min(size) < MIN_SIDE or any(side % cell for side in size):
        height, width = (max(MIN_SIDE, round(side / cell) * cell) for side in size)
        raise ValueError(
            f"size is height x width, multiples of {cell} and at least {MIN_SIDE}; got {size[0]}x{size[1]}. Take "
            f"{height}x{width}"
        )
    return size


def epoch_places(count: int, repeats: int, start: int, length: int, *key: int) -> list[int]:
    """Return which images are shown from one point of a training to another.

    In each epoch every image is shown `repeats` times, in an order of its own.

    Args:
        count: Number of images.
        repeats: Of each in an epoch.
        start: Number of images shown before.
        length: Number of images to show.
        key: Chooses the orders.

    Example:
        >>> sorted(epoch_places(2, 3, 0, 6, 7))
        [0, 0, 0, 1, 1, 1]
    """
    shown = (divmod(place, count * repeats) for place in range(start, start + length))
    return [permuted(place, count * repeats, *key, epoch) % count for epoch, place in shown]


def prompts_of(instances: Sequence[Instance]) -> list[Prompt]:
    """Return prompts that ask for what the defective images show: their captions, as often as they were used."""
    seen = Counter((each.caption, each.defect_class) for each in instances if each.defect_class is not None)
    return [Prompt(caption, name, float(times)) for (caption, name), times in seen.items() if name is not None]


def describe(instances: Sequence[Instance]) -> dict[str, Any]:
    """Return what there is to learn from, as JSON-able values: images by class, captions, and a digest of them all."""
    digest = hashlib.sha256()
    for each in instances:
        digest.update(f"{each.image.shape} {each.caption!r} {each.defect_class!r}".encode())
        digest.update(each.image.tobytes())
    return {
        "images": dict(Counter(each.defect_class or "normal" for each in instances)),
        "captions": dict(Counter(each.caption for each in instances)),
        "digest": digest.hexdigest(),
    }
