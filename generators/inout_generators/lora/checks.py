"""What a generator and its requests must be like, told before a model runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import torch

from inout_aug.plugin import Request
from inout_aug.sample import MIN_SIDE
from inout_generators.common.insertion import check_host
from inout_generators.lora.prompts import check_length, classes_of

if TYPE_CHECKING:
    from inout_generators.lora.generator import LoRADiffusion

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_LAST_CLASS = 255


def check_settings(generator: LoRADiffusion) -> None:
    """Raise ValueError if a setting is out of range, a prompt too long, or the pipeline of another kind."""
    from inout_generators.lora.generator import Offload

    pipeline, on_cpu = generator.pipeline, generator.device.type == "cpu"
    channels, latents = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
    if channels != latents and not generator.hosts:
        raise ValueError(
            f"the UNet takes {channels} channels, latents have {latents}: it is for inpainting. LoRAInpaint uses it; "
            "whole images want a base that is not"
        )
    if generator.steps < 1 or not generator.guidance_scale >= 0:
        raise ValueError(
            f"steps are at least 1, and guidance_scale is not negative; got {generator.steps} and "
            f"{generator.guidance_scale}"
        )
    if generator.precision not in _DTYPES:
        raise ValueError(f"dtype is float32, bfloat16 or float16; got {generator.precision}")
    if generator.precision == torch.float16 and on_cpu:
        raise ValueError("float16 is for GPUs; a CPU wants float32 or bfloat16")
    if generator.offload not in get_args(Offload):
        raise ValueError(f"offload is one of {', '.join(get_args(Offload))}; got {generator.offload!r}")
    if generator.offload != "none" and on_cpu:
        raise ValueError(f"offload={generator.offload!r} spares a GPU's memory; the device is a CPU")
    cell = pipeline.vae_scale_factor
    if generator.size is not None and (min(generator.size) < MIN_SIDE or any(side % cell for side in generator.size)):
        height, width = (max(MIN_SIDE, round(side / cell) * cell) for side in generator.size)
        raise ValueError(
            f"size is (height, width), multiples of {cell} and at least {MIN_SIDE}; got {generator.size}. Take "
            f"{(height, width)}: what is drawn is resized to what is asked for"
        )
    for text in (generator.negative_prompt, *(prompt.text for prompt in generator.prompts)):
        check_length(pipeline.tokenizer, text)
    if len(classes_of(generator.prompts)) > _LAST_CLASS:
        raise ValueError(f"a mask has room for {_LAST_CLASS} classes; the prompts name more")


def check_request(generator: LoRADiffusion, request: Request) -> None:
    """Raise ValueError if a request cannot be met, and TypeError if its host is no image."""
    changed = request.host is not None or request.region is not None or request.strength != 1
    if changed and not generator.hosts:
        raise ValueError(
            "LoRADiffusion draws whole images; host, region and strength are for LoRAInpaint, which changes images"
        )
    if generator.hosts:
        if request.host is None:
            raise ValueError(f"{generator.name} changes normal images: give each request a host")
        check_host(request)
    if request.channels not in (1, 3):
        raise ValueError(f"images have 1 or 3 channels; {request.channels} were asked for")
    if min(request.height, request.width) < MIN_SIDE:
        raise ValueError(f"images have at least {MIN_SIDE} pixels a side; got {request.height}x{request.width}")
    names = classes_of(generator.prompts)
    if request.prompt is None and not names:
        raise ValueError(
            'there is no prompt: give the generator some, as prompts={"skt background scratched": "scratch"}, or each '
            "request its own"
        )
    if not 1 <= request.defect_class <= (len(names) or _LAST_CLASS):
        raise ValueError(
            f"defect classes are 1 to {len(names) or _LAST_CLASS}{', ' if names else ''}{', '.join(names)}; got "
            f"{request.defect_class}"
        )
