"""Prior images: what the base draws of the wider class, so that a training can hold on to it (DreamBooth)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from inout_aug.datasets._files import contents, list_images, read_image
from inout_aug.plugin import Request
from inout_aug.sample import Image
from inout_generators.common.checkpoints import replacing
from inout_generators.lora.generator import LoRADiffusion

# images between two lines of progress, and at most lost when it is killed
_AT_A_TIME = 8


def read_prior(folder: Path) -> list[Image]:
    """Read prior images, from a folder and those below it.

    Raises:
        FileNotFoundError: There is none.
        ValueError: One is no 8-bit image.
    """
    paths = list_images(folder) if folder.is_dir() else []
    if not paths:
        raise FileNotFoundError(f"no prior images in {folder}. {contents(folder)}")
    images = [read_image(path) for path in paths]
    if wrong := [path for path, image in zip(paths, images, strict=True) if image.dtype != np.uint8]:
        raise ValueError(f"{wrong[0]} is no 8-bit image, which is what Stable Diffusion draws. Convert it")
    return images


def fill_prior(
    folder: Path,
    count: int,
    load: Callable[[], LoRADiffusion],
    prompt: str,
    size: tuple[int, int],
    *,
    process: int = 0,
    processes: int = 1,
    log: Callable[[str], None] = print,
) -> None:
    """Draw what is missing of some prior images, 00000.png and so on; stop it and call it again at will.

    Args:
        folder: For the images of this prompt, size and base alone.
        count: Number of images wanted.
        load: Returns the base as a generator; called if any image is missing.
        prompt: What to draw.
        size: (H, W).
        process: Number of this process, which draws its share.
        processes: Number of them.
        log: Takes lines of progress.
    """
    paths = {k: folder / f"{k:05d}.png" for k in range(process, count, processes)}
    missing = [k for k, path in paths.items() if not path.is_file()]
    if not missing:
        return
    generator = load()
    for start in range(0, len(missing), _AT_A_TIME):
        numbers = missing[start : start + _AT_A_TIME]
        requests = [Request(seed=k, height=size[0], width=size[1], prompt=prompt) for k in numbers]
        for k, sample in zip(numbers, generator.generate(requests), strict=True):
            with replacing(paths[k]) as unfinished:
                unfinished.write_bytes(cv2.imencode(".png", sample.image[..., ::-1])[1].tobytes())
        log(f"prior images of {prompt!r}: {start + len(numbers)} of {len(missing)} drawn")
