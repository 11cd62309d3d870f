"""DefectDiffu: seconds per sample, ours against the released procedure's way, on the same device.

    python benchmarks/defectdiffu_speed.py --out benchmarks/results/defectdiffu_speed.json

Speed needs no trained weights. The released procedure's way, from its description: float32, attention that is not
fused, 50 ancestral steps, one product at a time, and everything that timestep and texts decide computed again in each
evaluation. Guidance is that of equation 4 in both. A CPU takes the net "small" at 64×64 pixels; a CUDA device takes
XL/2 on latents of 512×512 images, without an autoencoder, which costs both the same. `--dry-run` runs each once,
small.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from common import machine, take_turns, versions, write_report
from torch import Tensor
from torch.nn import functional as F

from inout_generators.common.schedule import LinearSchedule
from inout_generators.defectdiffu.diffusion import ancestral_step, clean
from inout_generators.defectdiffu.drawing import Drawing, Task
from inout_generators.defectdiffu.guidance import Asked, combined, evaluations
from inout_generators.defectdiffu.model import DefectDiffuTransformer, preset
from inout_generators.defectdiffu.names import NULL_PRODUCT, prompts
from inout_generators.defectdiffu.sampling import visited
from inout_generators.defectdiffu.spaces import PixelSpace
from inout_generators.defectdiffu.text import NamedEmbedding

DEFECT = "crack"
PUBLISHED_STEPS = 50
SCHEDULE = LinearSchedule()


class Latents(PixelSpace):
    """Latents taken for images: only the net is timed."""

    def __init__(self, channels: int) -> None:
        self.channels = self.image_channels = channels

    def values(self, latents: Tensor) -> Tensor:
        """Return the first three channels."""
        return latents[:, :3].float()

    def clamp(self, latents: Tensor) -> Tensor:
        """Return latents as they are."""
        return latents


def random_net(name: str, *, device: str, **config: Any) -> DefectDiffuTransformer:
    """A net in which every layer does something."""
    net = preset(name, text_dim=1024, **config).to(device).eval().requires_grad_(False)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return net


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Write the attention matrix out, as the released code does."""

    def attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: None = None) -> Tensor:
        return (query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(-1) @ value

    fused = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        F.scaled_dot_product_attention = fused


@torch.inference_mode()
def published_way(
    net: DefectDiffuTransformer, text: NamedEmbedding, products: Sequence[str], size: tuple[int, int], per_product: int
) -> Tensor:
    """Draw `per_product` samples of each product, one product after the other."""
    channels, device = net.config["channels"], net.y_embedders.weight.device
    times = visited(SCHEDULE, PUBLISHED_STEPS, "ancestral")
    drawn = []
    with unfused_attention():
        for product in products:
            told = evaluations("eq4", DEFECT, product)
            weights = torch.ones(per_product, device=device)
            x, masks = torch.randn(per_product, channels, *size, device=device), []
            for t, to in zip(times, [*times[1:], -1], strict=True):
                rows = [prompts(*each) for each in told for _ in range(per_product)]
                texts = [text.encode([row[part] for row in rows]).to(device) for part in range(3)]
                said = net(x.repeat(len(told), 1, 1, 1), torch.full((len(rows),), t, device=device), *texts)
                noise, variance = said.out.reshape(len(told), per_product, *said.out.shape[1:]).chunk(2, 2)
                x0 = clean(SCHEDULE, x, combined("eq4", noise, weights, weights), torch.full((per_product,), t))
                x = ancestral_step(SCHEDULE, x, x0, variance[-1], t, to, torch.randn_like(x))
                if t < 100:
                    masks.append(said.mask_latent[-per_product:])
            drawn.append(torch.cat([x, torch.stack(masks).mean(0)], 1))
    return torch.cat(drawn).cpu()


def our_way(
    net: DefectDiffuTransformer,
    text: NamedEmbedding,
    products: Sequence[str],
    size: tuple[int, int],
    per_product: int,
    steps: int,
    batch: int,
) -> int:
    """Draw the same number of samples as `DefectDiffu` does."""
    drawing = Drawing(
        net,
        text,
        Latents(net.config["channels"]),
        schedule=SCHEDULE,
        sampler="dpm++",
        steps=steps,
        mode="eq4",
        null_product=NULL_PRODUCT,
        min_area=1,
        batch_size=batch,
    )
    asked = [Asked(product, DEFECT) for product in products for _ in range(per_product)]
    return len(drawing.draw([Task(asked=each, key=(k,), size=size) for k, each in enumerate(asked)]))


def measure(device: str, *, dry_run: bool, products: int, steps: int, repeats: int) -> dict[str, Any]:
    """Return what a sample costs in both ways."""
    gpu = device == "cuda" and not dry_run
    name, size, per_product, batch = ("xl2", (64, 64), 4, 16) if gpu else ("small", (64, 64), 1, 4)
    if dry_run:
        name, size = "tiny", (16, 16)
    patch = 2 if gpu else 4
    published = random_net(name, channels=4, patch=patch, device=device)
    # the pixel recipes' heads keep to their neighbours, which costs a little
    own: dict[str, Any] = {"channels": 4, "patch": patch, "locality": 0.0 if gpu else 2.0, "device": device}
    net, quick = random_net(name, **own), random_net(name, **own).to(torch.bfloat16)
    names = [f"product {k}" for k in range(products)]
    text = NamedEmbedding(products=names, defects=[DEFECT], dim=1024).to(device).eval()
    count = products * per_product
    torch.backends.cuda.matmul.allow_tf32 = False
    contenders = {
        "published": lambda _: published_way(published, text, names, size, per_product),
        "ours": lambda _: our_way(quick, text, names, size, per_product, steps, batch),
        "ours_fp32": lambda _: our_way(net, text, names, size, per_product, steps, batch),
    }
    seconds = {key: value / count for key, value in take_turns(contenders, repeats, warm_up=int(repeats > 1)).items()}
    return {
        "net": name,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "latents": [net.config["channels"], *size],
        "tokens": size[0] * size[1] // patch**2,
        "published_steps": PUBLISHED_STEPS,
        "our_steps": steps,
        "batch": batch,
        "products": products,
        "samples": count,
        "repeats": repeats,
        "seconds_per_sample": {key: round(value, 4) for key, value in seconds.items()},
        "times_faster": round(seconds["published"] / seconds["ours"], 2),
        "times_faster_fp32": round(seconds["published"] / seconds["ours_fp32"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=20, help="of ours, with DPM-Solver++; 20 is DefectDiffu's default")
    parser.add_argument("--products", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dry-run", action="store_true", help="a tiny net, once, on any device")
    given = parser.parse_args()
    before = machine()
    devices = ["cuda"] if torch.cuda.is_available() else ["cpu"]
    repeats = 1 if given.dry_run else given.repeats
    rows = [
        measure(device, dry_run=given.dry_run, products=given.products, steps=given.steps, repeats=repeats)
        for device in devices
    ]
    for row in rows:
        print(row)
    if given.out:
        write_report(given.out, rows, machine=before, versions=versions(("inout-aug", "torch", "diffusers")))


if __name__ == "__main__":
    main()
