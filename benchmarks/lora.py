"""Stable Diffusion with LoRA: what our sampler adds to the bare pipeline, and seconds and memory on a GPU.

    python benchmarks/lora.py --out benchmarks/results/lora.json

Speed needs no trained weights: models of the size of SD 1.5 are filled with random numbers. Their rows need a CUDA
device; with `--dry-run` they run once, with the tiny models, on any.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import machine, take_turns, versions, write_report
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel

from inout_aug.plugin import Request
from inout_generators.lora.adapters import ADAPTER, c3lier_text, c3lier_unet, collect, detach
from inout_generators.lora.drawing import Task, latents
from inout_generators.lora.generator import LoRADiffusion
from inout_generators.lora.tiny import tiny_stable_diffusion

PROMPT = "skt background scratched"
TRAINING_BATCH = 12


def random_sd15() -> StableDiffusionPipeline:
    """The sizes of Stable Diffusion 1.5; tokens are those of the tiny one."""
    pipeline = tiny_stable_diffusion()
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        pipeline.register_modules(
            unet=UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
            vae=AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
                latent_channels=4,
            ),
            text_encoder=CLIPTextModel(
                CLIPTextConfig(
                    hidden_size=768,
                    intermediate_size=3072,
                    num_hidden_layers=12,
                    num_attention_heads=12,
                    eos_token_id=pipeline.tokenizer.eos_token_id,
                )
            ),
        )
    return pipeline


def overhead(*, batch: int = 4, steps: int = 25, repeats: int = 15) -> dict[str, Any]:
    """The same images from the bare pipeline and from `generate`."""
    ours = LoRADiffusion(tiny_stable_diffusion(), {PROMPT: "scratch"}, steps=steps, batch_size=batch, device="cpu")
    bare = tiny_stable_diffusion()
    bare.set_progress_bar_config(disable=True)
    bare.scheduler = ours.pipeline.scheduler
    _ = ours.fingerprint

    def with_pipeline(number: int) -> object:
        tasks = [Task(PROMPT, number * batch + k, (64, 64)) for k in range(batch)]
        start = latents(bare, tasks)
        return bare([PROMPT] * batch, num_inference_steps=steps, latents=start, height=64, width=64, output_type="np")

    def with_generate(number: int) -> object:
        return ours.generate([Request(seed=number * batch + k, height=64, width=64) for k in range(batch)])

    seconds = take_turns({"pipeline": with_pipeline, "generate": with_generate}, repeats=repeats, warm_up=2)
    added = 100 * (seconds["generate"] / seconds["pipeline"] - 1)
    return {"row": "overhead", "batch": batch, "steps": steps, **seconds, "added_percent": round(added, 2)}


def with_lora(pipeline: StableDiffusionPipeline) -> Any:
    """A c3Lier of random numbers, taken off again."""
    pipeline.unet.add_adapter(c3lier_unet(), ADAPTER)
    pipeline.text_encoder.add_adapter(c3lier_text(), ADAPTER)
    lora = collect(pipeline.unet, pipeline.text_encoder)
    detach(pipeline.unet, pipeline.text_encoder)
    return lora


def generation(build: Callable[[], StableDiffusionPipeline], dry: bool) -> Iterator[dict[str, Any]]:
    """Seconds per 512×512 sample at 25 steps, and the most memory that a GPU holds."""
    size, steps = (64, 2) if dry else (512, 25)
    plain, gpu = {"fuse": False, "compile": False, "offload": "none"}, torch.cuda.is_available()
    variants = [plain | {"batch": 1}, plain | {"batch": 16}, plain | {"fuse": True, "batch": 16}]
    variants += [plain | {"fuse": True, "compile": gpu, "batch": batch} for batch in (16, 32)]
    variants += [plain | {"offload": "model", "batch": 1}, plain | {"offload": "sequential", "batch": 1}] if gpu else []
    variants += [plain | {"offload": "sequential", "slicing": True, "batch": 1}] if gpu else []
    for variant in variants:
        settings = dict(variant)
        batch = settings.pop("batch")
        pipeline = build()
        lora = with_lora(pipeline)
        dtype = torch.float32 if dry else torch.bfloat16
        if settings["offload"] != "none":
            pipeline.to("cpu")
        model = LoRADiffusion(
            pipeline, [PROMPT], lora=lora, scheduler="dpm++", steps=steps, batch_size=batch, dtype=dtype, **settings
        )
        seeds = itertools.count()

        def once(model: LoRADiffusion = model, seeds: Any = seeds, batch: int = batch) -> float:
            start = time.perf_counter()
            model.generate([Request(seed=next(seeds), height=size, width=size) for _ in range(batch)])
            return time.perf_counter() - start

        for _ in range(1 if dry else 3):
            once()
        forget_peak()
        seconds = min(once() for _ in range(1 if dry else 5))
        yield {
            "row": "generation",
            **variant,
            "size": size,
            "steps": steps,
            "seconds_per_sample": seconds / batch,
        } | peak()
        del model, pipeline, lora, once
        torch.cuda.empty_cache()


def training(build: Callable[[], StableDiffusionPipeline], dry: bool) -> dict[str, Any]:
    """Steps of DreamBooth with c3Lier on cached latents, UNet and text encoder, with gradient checkpointing."""
    side, repeats, device = (8, 2, "cpu") if dry else (64, 20, "cuda")
    pipeline = build()
    unet, text = pipeline.unet.to(device), pipeline.text_encoder.to(device)
    tokens = pipeline.tokenizer([PROMPT] * TRAINING_BATCH, padding="max_length", return_tensors="pt").input_ids.to(
        device
    )
    for model, config in ((unet, c3lier_unet()), (text, c3lier_text())):
        model.requires_grad_(False).add_adapter(config, ADAPTER)
        model.train()
    unet.enable_gradient_checkpointing()
    trained = [parameter for model in (unet, text) for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)

    def step() -> float:
        noise = torch.randn(TRAINING_BATCH, 4, side, side, device=device)
        t = torch.randint(0, 1000, (TRAINING_BATCH,), device=device)
        with torch.autocast(device, torch.bfloat16):
            loss = F.mse_loss(unet(noise, t, text(tokens)[0]).sample.float(), noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    for _ in range(1 if dry else 3):
        step()
    forget_peak()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    rate = repeats / (time.perf_counter() - start)
    return {"row": "training", "batch": TRAINING_BATCH, "size": 8 * side, "steps_per_second": rate} | peak()


def forget_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict[str, float]:
    return {"peak_gib": torch.cuda.max_memory_allocated() / 2**30} if torch.cuda.is_available() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--dry-run", action="store_true", help="every row once, with tiny models")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    rows = [overhead(repeats=1) if arguments.dry_run else overhead()]
    if torch.cuda.is_available() or arguments.dry_run:
        build = tiny_stable_diffusion if arguments.dry_run else random_sd15
        rows += [*generation(build, arguments.dry_run), training(build, arguments.dry_run)]
    for row in rows:
        print(row)
    if arguments.out:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        about = {"machine": machine(), "gpu": gpu, "threads": torch.get_num_threads()}
        about["versions"] = versions(("torch", "diffusers", "transformers", "peft"))
        write_report(arguments.out, rows, **about)


if __name__ == "__main__":
    main()
