"""How fast a whole batch is painted, beside anomalib's batch mode, a bare copy, and a training step.

Half of the images are painted, by all alike. Ours and theirs run in one process, in turns; medians of the wall clock.
The rows that need a GPU run only where there is one; `--dry-run` goes through them at tiny sizes on the CPU, to see
that they would run.

    python benchmarks/batch.py --threads 2
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from common import RESULTS, machine, take_turns, versions, write_report
from torch import Tensor, nn
from torchvision.models import resnet50

from inout_aug import BatchPaste

SHARE = 0.5
PERLIN_PEER = "anomalib.data.utils.generators.perlin"
PACKAGES = ("inout-aug", "torch", "torchvision", "numpy", "anomalib")

Row = dict[str, Any]
Call = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Shapes that are measured."""

    batch: tuple[int, int, int, int]
    flood: tuple[int, int, int, int]
    step: tuple[int, int, int, int]
    bank: int
    repeats: int
    peer_repeats: int


FULL = Sizes(
    batch=(256, 3, 512, 512), flood=(256, 3, 256, 256), step=(256, 3, 224, 224), bank=256, repeats=50, peer_repeats=3
)
DRY = Sizes(batch=(4, 3, 64, 64), flood=(4, 3, 32, 32), step=(2, 3, 64, 64), bank=4, repeats=2, peer_repeats=1)


def rows(section: str, shape: tuple[int, ...], medians: Mapping[str, float], ours: str) -> Iterator[Row]:
    """One row for each contender, with its time as a multiple of ours."""
    for name, seconds in medians.items():
        yield {
            "section": section,
            "case": "×".join(map(str, shape)),
            "what": name,
            "ms": seconds * 1e3,
            "images_per_s": shape[0] / seconds,
            "ratio": seconds / medians[ours],
        }


def measure_cpu(arguments: argparse.Namespace) -> Iterator[Row]:
    shape = tuple(arguments.shape)
    images, labels = torch.rand(shape), torch.zeros(shape[0], dtype=torch.long)
    masks = torch.zeros(shape[0], 1, *shape[2:])
    plain, copied = paster(None), paster(textures(64))
    contenders: dict[str, Call] = {
        "ours": lambda _: plain(images, labels, masks),
        "ours, textures": lambda _: copied(images, labels, masks),
        "ours, uint8": uint8(plain, images, labels, masks),
        "ours, in place": inplace(images, labels, masks),
        "bare copy": lambda _: images.clone(),
    }
    if (theirs := peer("cpu")) is not None:
        contenders["anomalib"] = lambda _: theirs(images)
    yield from rows("cpu", shape, take_turns(contenders, arguments.repeats, warm_up=1), "ours")


def measure_device(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    for name, shape, source in (
        ("batch", sizes.batch, None),
        ("batch, textures", sizes.batch, textures(sizes.bank)),
        ("images/s", sizes.flood, None),
    ):
        images, labels = torch.rand(shape, device=device), torch.zeros(shape[0], dtype=torch.long, device=device)
        paste = paster(source).to(device)
        contenders: dict[str, Call] = {
            "ours": lambda _, p=paste, i=images, t=labels: p(i, t),
            "ours, one graph": replayed(paste, images, labels),
            "ours, compiled": compiled(paste, images, labels),
            "bare copy": lambda _, i=images: i.clone(),
        }
        medians = take_turns(synchronised(contenders, device), sizes.repeats, warm_up=3)
        if source is None and (theirs := peer(device.type)) is not None:
            slow: dict[str, Call] = {"anomalib": lambda _, i=images, t=theirs: t(i)}
            medians |= take_turns(synchronised(slow, device), sizes.peer_repeats, warm_up=1)
        yield from rows(name, shape, medians, "ours")
    yield from measure_step(device, sizes)


def measure_step(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """A training step of ResNet-50 in bfloat16, with and without the paste."""
    images = torch.rand(sizes.step, device=device).to(memory_format=torch.channels_last)
    labels = torch.zeros(sizes.step[0], dtype=torch.long, device=device)
    network = resnet50(num_classes=2).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    paste = paster(None).to(device)
    fast = compiled(paste, images, labels)

    def step(batch: Tensor, targets: Tensor) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = F.cross_entropy(network(batch), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    contenders: dict[str, Call] = {
        "without": lambda _: step(images, labels),
        "with ours": lambda _: step(*paste(images, labels)),
        "with ours, compiled": lambda number: step(*fast(number)),
    }
    medians = take_turns(synchronised(contenders, device), sizes.repeats, warm_up=5)
    yield from rows("step of ResNet-50", sizes.step, medians, "without")


def paster(source: list[np.ndarray[Any, Any]] | None) -> BatchPaste:
    return BatchPaste(source, share=SHARE, exact=True)


def textures(count: int) -> list[np.ndarray[Any, Any]]:
    """Noise: how fast textures are does not depend on what they show."""
    return list(np.random.default_rng(0).integers(0, 256, (count, 256, 256, 3), np.uint8))


def uint8(paste: BatchPaste, images: Tensor, labels: Tensor, masks: Tensor) -> Call:
    whole = (images * 255).to(torch.uint8)
    return lambda _: paste(whole, labels, masks)


def inplace(images: Tensor, labels: Tensor, masks: Tensor) -> Call:
    paste = BatchPaste(share=SHARE, exact=True, inplace=True)
    owned, empty = images.clone(), masks.clone()
    return lambda _: paste(owned, torch.zeros_like(labels), empty)


def compiled(paste: BatchPaste, images: Tensor, labels: Tensor) -> Call:
    on_gpu = images.is_cuda
    fast = torch.compile(paste, fullgraph=True, backend="inductor" if on_gpu else "eager")
    return lambda _: fast(images, labels, draws=paste.draw(images).to(images.device))


def replayed(paste: BatchPaste, images: Tensor, labels: Tensor) -> Call:
    """Capture a CUDA graph once, and replay it with new draws; on the CPU, call with draws copied in likewise."""
    static = paste.draw(images).to(images.device)
    graph = None
    if images.is_cuda:
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                paste(images, labels, draws=static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            paste(images, labels, draws=static)

    def call(_: int) -> None:
        for old, new in zip(static, paste.draw(images).to(images.device), strict=True):
            old.copy_(new)
        if graph is None:
            paste(images, labels, draws=static)
        else:
            graph.replay()

    return call


def synchronised(contenders: Mapping[str, Call], device: torch.device) -> dict[str, Call]:
    """Let each call wait until the device is done."""

    def waiting(call: Call) -> Call:
        def timed(number: int) -> None:
            call(number)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return timed

    return {name: waiting(call) for name, call in contenders.items()}


def peer(device: str) -> nn.Module | None:
    """The generator of anomalib, or None with a note where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = importlib.import_module(PERLIN_PEER).PerlinAnomalyGenerator(probability=SHARE)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed, so it is not measured", file=sys.stderr)
        return None
    return made.to(device)


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    if arguments.dry_run:
        yield from measure_device(torch.device("cpu"), DRY)
        return
    if "cpu" in arguments.only:
        yield from measure_cpu(arguments)
    if "gpu" in arguments.only and torch.cuda.is_available():
        yield from measure_device(torch.device("cuda"), FULL)
    elif "gpu" in arguments.only:
        print("no CUDA device is here, so the rows of a GPU are not measured", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=("cpu", "gpu"), default=["cpu", "gpu"], help="what to measure")
    parser.add_argument("--shape", nargs=4, type=int, default=[64, 3, 256, 256], help="of the batch on the CPU")
    parser.add_argument("--repeats", type=int, default=9, help="on the CPU")
    parser.add_argument("--threads", type=int, default=2, help="on the CPU")
    parser.add_argument("--seed", type=int, default=0, help="of the peer, which draws from global streams")
    parser.add_argument(
        "--dry-run", action="store_true", help="the GPU's rows at tiny sizes on the CPU; writes nothing"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "batch.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)
    before, measured = machine(), []
    for row in measure(arguments):
        measured.append(row)
        print(
            f"{row['section']:18} {row['case']:14} {row['what']:20} {row['ms']:10.3f} ms {row['images_per_s']:12.0f}/s"
            f"  × {row['ratio']:.2f}"
        )
    if arguments.dry_run:
        return
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    write_report(
        arguments.output,
        measured,
        machine=before | {"gpu": gpu},
        threads=arguments.threads,
        versions=versions(PACKAGES),
        options={"share": SHARE, "repeats": arguments.repeats, "seed": arguments.seed},
    )


if __name__ == "__main__":
    main()
