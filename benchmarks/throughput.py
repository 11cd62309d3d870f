"""How fast the pasting is, beside public peers: noise fields, whole pastes, import, and a wrapped loader.

Ours and theirs run in one process, on one thread, in turns, so that the machine's moods meet all alike; medians of the
thread's own processor time are compared. Loaders are measured in several processes, see `loaders.py`. A peer that is
not installed is reported as absent.

    python benchmarks/throughput.py --only paste --repeats 400
"""

from __future__ import annotations

import os

# before any library that reads them is imported
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # no network while importing

import argparse
import importlib
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import loaders
import numpy as np
import torch
from common import RESULTS, machine, take_turns, versions, write_report

from inout_aug import MemSegPaste, Paster
from inout_aug.datasets import Surfaces
from inout_aug.paste import Perlin, Simplex
from inout_aug.paste.perlin import Field
from inout_aug.sample import Image
from inout_aug.seeding import stream

FIELD_SIZE = (512, 512)
PASTE_SIZES = ((256, 256), (512, 512), (640, 232), (1408, 512))
# Calls in one turn: enough for a contender to fill the processor's caches, whoever was before it.
BLOCK = 40
PERLIN_PEER = "anomalib.data.utils.generators.perlin"
PACKAGES = (
    "inout-aug",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "anomalib",
    "noise",
    "albumentations",
)

Row = dict[str, Any]
Call = Callable[[int], object]


def compared(section: str, case: str, medians: Mapping[str, float], ours: str) -> Iterator[Row]:
    """One row for each contender, with its time as a multiple of one's, usually ours."""
    for name, median in medians.items():
        yield {"section": section, "case": case, "what": name, "ms": median * 1e3, "ratio": median / medians[ours]}


def measure_fields(arguments: argparse.Namespace) -> Iterator[Row]:
    contenders = {"ours, Perlin": draw_field(Perlin()), "ours, Perlin, upright": draw_field(Perlin(), upright=True)}
    if noise := peer("noise"):
        contenders["ours, Simplex"] = draw_field(Simplex())
        contenders["noise, upright, per pixel"] = lambda number: draw_per_pixel(noise, number)
    if anomalib := peer(PERLIN_PEER):
        cpu = torch.device("cpu")
        contenders["anomalib, upright"] = lambda _: anomalib.generate_perlin_noise(*FIELD_SIZE, device=cpu)
    medians = take_turns(contenders, arguments.repeats, warm_up=20, block=BLOCK, clock=time.thread_time)
    yield from compared("field", "×".join(map(str, FIELD_SIZE)), medians, "ours, Perlin")


def random_cells(number: int) -> tuple[int, int]:
    rows, columns = 1 << stream(number).integers(0, 6, 2)
    return int(rows), int(columns)


def draw_field(field: Field, *, upright: bool = False) -> Call:
    def call(number: int) -> object:
        angle = 0.0 if upright else stream(number, 1).uniform(-90, 90)
        return field(*FIELD_SIZE, cells=random_cells(number), angle=angle, seed=number)

    return call


def draw_per_pixel(noise: Any, number: int) -> list[list[float]]:
    (height, width), (rows, columns) = FIELD_SIZE, random_cells(number)
    x = [j * columns / width for j in range(width)]
    return [[noise.pnoise2(b, a) for b in x] for a in (i * rows / height for i in range(height))]


def measure_pastes(arguments: argparse.Namespace) -> Iterator[Row]:
    with texture_folder(arguments) as folder:
        pairs: list[tuple[str, Paster, str, Any]] = [("structure", MemSegPaste(), "noise", None)]
        pairs.append(("texture folder", MemSegPaste(folder, p_texture=1.0), "texture folder", folder))
        anomalib = peer(PERLIN_PEER)
        for height, width in PASTE_SIZES:
            surfaces = Surfaces(8, size=(height, width), defect_share=0)
            hosts = [surfaces[index]["image"] for index in range(8)]
            for name, paster, their_name, their_folder in pairs:
                contenders = {f"ours, {name}": paste(paster, hosts)}
                if anomalib:
                    theirs = anomalib.PerlinAnomalyGenerator(their_folder, probability=1.0)
                    contenders[f"anomalib, {their_name}"] = paste_with(theirs, hosts)
                # the warm-up fills our cache of textures, as the first epoch of a training does
                medians = take_turns(contenders, arguments.repeats, warm_up=200)
                yield from compared("paste", f"{height}×{width}", medians, f"ours, {name}")


def paste(paster: Paster, hosts: Sequence[Image]) -> Call:
    def call(number: int) -> object:
        host = hosts[number % len(hosts)]
        return paster.apply(host, paster.make_params(host, stream(number)))

    return call


def paste_with(generator: Callable[[torch.Tensor], object], hosts: Sequence[Image]) -> Call:
    tensors = [torch.from_numpy(host).permute(2, 0, 1).float().contiguous() / 255 for host in hosts]
    return lambda number: generator(tensors[number % len(tensors)])


def measure_imports(arguments: argparse.Namespace) -> Iterator[Row]:
    code = "import time, torch, torchvision; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
    times: dict[str, list[float]] = {}
    for _ in range(arguments.import_repeats + 1):
        for module in ("inout_aug", "albumentations"):
            done = subprocess.run([sys.executable, "-c", code.format(module)], capture_output=True, text=True)
            if done.returncode == 0:
                times.setdefault(module, []).append(float(done.stdout))
            elif module == "inout_aug":
                sys.exit(done.stderr)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}  # the first reads the disk
    yield from compared("import", "beyond torch and torchvision", medians, "inout_aug")


def measure_loaders(arguments: argparse.Namespace) -> Iterator[Row]:
    with texture_folder(arguments) as textures:
        options = arguments.seed, arguments.loader_repeats, arguments.loader_processes
        for case, seconds in loaders.measure(textures, *options):
            for what, each in seconds.items():
                ratios = sorted(mine / plain for mine, plain in zip(each, seconds["unwrapped"], strict=True))
                row = {"section": "loader", "case": case, "what": what, "ms": statistics.median(each) * 1e3}
                yield row | {"ratio": statistics.median(ratios), "ratios": ratios}


@contextmanager
def texture_folder(arguments: argparse.Namespace) -> Iterator[Path]:
    """The folder given, else one of procedural surfaces."""
    if arguments.textures is not None:
        yield arguments.textures
        return
    with tempfile.TemporaryDirectory() as temporary:
        loaders.write_surfaces(Path(temporary), 24, (300, 300), "jpg")
        yield Path(temporary)


def peer(module: str) -> Any:
    """A peer's module, or None with a note where it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed, so it is not measured", file=sys.stderr)
        return None


SECTIONS = {"field": measure_fields, "paste": measure_pastes, "import": measure_imports, "loader": measure_loaders}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="what to measure")
    parser.add_argument("--repeats", type=int, default=200, help="fields, and pastes of each kind and size")
    parser.add_argument("--import-repeats", type=int, default=7)
    parser.add_argument("--loader-repeats", type=int, default=2, help="epochs of each loader in each process")
    parser.add_argument("--loader-processes", type=int, default=7, help="in which a loader is measured")
    parser.add_argument("--textures", type=Path, help="folder of textures; default: procedural ones")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the peers and the loaders; our pastes are seeded by number"
    )
    parser.add_argument("--output", type=Path, default=RESULTS / "throughput.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(arguments.seed)  # the peers draw from global streams
    np.random.seed(arguments.seed)
    before, measured = machine(), []
    for section in arguments.only:
        for row in SECTIONS[section](arguments):
            measured.append(row)
            print(f"{row['section']:7} {row['case']:36} {row['what']:26} {row['ms']:9.3f} ms  × {row['ratio']:.2f}")
    options = {name: value for name, value in vars(arguments).items() if name not in ("output", "textures")}
    write_report(
        arguments.output,
        measured,
        machine=before,
        threads=1,
        versions=versions(PACKAGES),
        options=options | {"textures": "procedural" if arguments.textures is None else "a given folder"},
    )


if __name__ == "__main__":
    main()
