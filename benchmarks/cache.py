"""How fast a cache is filled, opened and read, beside a folder of PNGs, webdataset and Hugging Face datasets.

All take turns in one process, so that the machine's moods meet all alike; medians are compared. A peer that is not
installed is left out. Needs about 4 GB in the temporary folder, which must lie on the disk that is to be measured.

Loader workers hand over batches through /dev/shm, whose page faults can cost more than reading a cache does; the report
says whether it has huge pages (as root: mount -o remount,huge=always /dev/shm).

    python benchmarks/cache.py --only draw loader
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, machine, take_turns, versions, write_report
from PIL import Image as Pillow
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder

from inout_aug.cache import ProcessEngine, SampleCache, fill_cache
from inout_aug.datasets import Surfaces
from inout_aug.plugin import Request
from inout_aug.sample import Sample

SIZE = 512
SHAPE = (SIZE, SIZE, 3)
SMALL = (16, 16, 1)
MIB = 1 << 20
# what a sample of a costly generator takes
SECONDS = 0.02
VERSIONS = ("inout-aug", "torch", "torchvision", "numpy", "pillow", "safetensors", "webdataset", "datasets", "pyarrow")

Row = dict[str, Any]


class Ready:
    """A generator that costs nothing: it hands out samples that it has."""

    fingerprint = "ready"

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.asked = 0

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Hand out the next ones."""
        self.asked += len(requests)
        return [self.samples[(self.asked + number) % len(self.samples)] for number in range(len(requests))]


class Busy(Ready):
    """A generator that keeps one core busy, as a model on a CPU does."""

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Burn the time, then hand out the next ones."""
        until = time.thread_time() + SECONDS * len(requests)
        while time.thread_time() < until:
            pass
        return super().generate(requests)


class Waiting(Ready):
    """A generator that waits, as one does whose model is on a device of its own."""

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """Sleep, then hand out the next ones."""
        time.sleep(SECONDS * len(requests))
        return super().generate(requests)


def surfaces(count: int) -> list[Sample]:
    made = Surfaces(count, size=(SIZE, SIZE), defect_share=1.0)
    return [Sample(item["image"], item["mask"]) for item in (made[index] for index in range(count))]


def fill(path: Path, generator: Ready, n: int, **options: Any) -> SampleCache:
    return fill_cache(generator, path, n, **{"shape": SHAPE, "batch_size": 16, "progress": False, **options})


class Written:
    """The same samples in every form that is compared.

    Args:
        root: Where to write.
        count: Number of samples.
    """

    def __init__(self, root: Path, count: int) -> None:
        samples = surfaces(min(count, 64))
        self.samples = [samples[index % len(samples)] for index in range(count)]
        self.root, self.count = root, count
        self.cache = fill(root / "cache", Ready(samples), count)
        for kind, mode in (("images", "RGB"), ("masks", "L")):
            (root / kind / "defective").mkdir(parents=True)
            for index, sample in enumerate(self.samples):
                array = sample.image if kind == "images" else sample.mask
                Pillow.fromarray(array, mode).save(root / kind / "defective" / f"{index:06d}.png")
        with tarfile.open(root / "samples.tar", "w") as tar:
            for index in range(count):
                for kind, ending in (("images", "png"), ("masks", "mask.png")):
                    tar.add(root / kind / "defective" / f"{index:06d}.png", f"{index:06d}.{ending}")

    def png(self, kind: str, index: int) -> Any:
        """One decoded PNG."""
        return np.asarray(Pillow.open(self.root / kind / "defective" / f"{index:06d}.png"))

    def arrow(self, encoded: bool) -> Any:
        """A Hugging Face dataset: of PNGs as its Image feature has them, or of raw bytes."""
        with suppress(ModuleNotFoundError):
            import datasets

            datasets.disable_progress_bars()
            if encoded:
                columns = {
                    kind: [str(self.root / kind / "defective" / f"{index:06d}.png") for index in range(self.count)]
                    for kind in ("images", "masks")
                }
                made = datasets.Dataset.from_dict(columns)
                for kind in columns:
                    made = made.cast_column(kind, datasets.Image())
            else:
                made = datasets.Dataset.from_dict(
                    {
                        "images": [sample.image.tobytes() for sample in self.samples],
                        "masks": [sample.mask.tobytes() for sample in self.samples],
                    }
                )
            made.save_to_disk(self.root / f"arrow-{encoded}")
            return datasets.load_from_disk(self.root / f"arrow-{encoded}")
        return None

    def tar(self) -> Iterator[Any] | None:
        """A webdataset that goes round and round, decoding as it goes."""
        with suppress(ModuleNotFoundError):
            import webdataset

            made = webdataset.WebDataset(str(self.root / "samples.tar"), shardshuffle=False).decode("rgb8").repeat()
            return iter(made)
        return None


def measure_draws(arguments: argparse.Namespace, root: Path) -> Iterator[Row]:
    written = Written(root, arguments.samples)
    count, cache = written.count, written.cache
    images = np.stack([sample.image for sample in written.samples])
    masks = np.stack([sample.mask for sample in written.samples])
    encoded, raw, tar = written.arrow(True), written.arrow(False), written.tar()

    def raw_arrow(index: int) -> Any:
        row = raw[index]
        image = np.frombuffer(row["images"], np.uint8).reshape(SHAPE).copy()
        return image, np.frombuffer(row["masks"], np.uint8).reshape(SHAPE[:2]).copy()

    def any_of(draw: Callable[[int], Any]) -> Callable[[int], Any]:
        # the same for all, and never the same page twice in a row
        return lambda number: draw(number * 37 % count)

    contenders = {
        "ours": any_of(lambda index: cache[index]),
        "memcpy of image and mask": any_of(lambda index: (images[index].copy(), masks[index].copy())),
        "PNG, image and mask": any_of(lambda index: (written.png("images", index), written.png("masks", index))),
        "PNG, image alone": any_of(lambda index: written.png("images", index)),
    }
    if tar is not None:
        contenders["webdataset of PNGs, in order"] = lambda _: next(tar)
    if encoded is not None:
        contenders["datasets (arrow), PNG feature"] = any_of(
            lambda index: [np.asarray(x) for x in encoded[index].values()]
        )
        contenders["datasets (arrow), raw bytes"] = any_of(raw_arrow)
    # a round through all samples maps every page
    medians = take_turns(contenders, arguments.repeats, warm_up=count, block=16)
    yield from rows("draw", f"{SIZE}×{SIZE}×3 and mask", medians, "ours")


class Drawn(Dataset[Any]):
    """Image and mask from a cache, as a training loop takes them."""

    def __init__(self, cache: SampleCache) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Any:
        sample = self.cache[index]
        return sample.image, sample.mask


class InMemory(Dataset[Any]):
    """Image and mask that are there already: what the loader itself costs."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index].image, self.samples[index].mask


class Pairs(ImageFolder):
    """An ImageFolder of PNGs, with the masks that lie in a folder beside it."""

    def __getitem__(self, index: int) -> Any:
        image, _ = super().__getitem__(index)
        return image, np.array(Pillow.open(self.samples[index][0].replace("/images/", "/masks/")))


def measure_loaders(arguments: argparse.Namespace, root: Path) -> Iterator[Row]:
    written = Written(root, arguments.samples)
    datasets: dict[str, Any] = {
        "ours": Drawn(written.cache),
        "ImageFolder of PNGs and masks": Pairs(root / "images", np.array),
        "ImageFolder of PNGs, image alone": ImageFolder(root / "images", np.array),
        "arrays in memory, the loader alone": InMemory(written.samples),
    }
    for workers in (0, 2):
        settings: dict[str, Any] = {"batch_size": 32, "shuffle": True, "drop_last": True, "num_workers": workers}
        loaders = {
            name: DataLoader(each, persistent_workers=workers > 0, **settings) for name, each in datasets.items()
        }
        epochs = {name: lambda _, each=loader: sum(1 for _ in each) for name, loader in loaders.items()}
        medians = take_turns(epochs, arguments.epochs, warm_up=2)
        drawn = written.count // 32 * 32
        per_sample = {name: seconds / drawn for name, seconds in medians.items()}
        yield from rows("loader", f"{workers} workers, batch 32", per_sample, "ours")
        # workers of these loaders would sit beside those of the next
        del loaders, epochs


OPENING = """
import resource, sys, time
from inout_aug.cache import SampleCache
def used(): return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before, start = used(), time.perf_counter()
cache = SampleCache(sys.argv[1])
print(time.perf_counter() - start, used() - before, len(cache))
"""


def measure_opening(arguments: argparse.Namespace, root: Path) -> Iterator[Row]:
    rng = np.random.default_rng(arguments.seed)
    small = Sample(rng.integers(0, 256, SMALL, np.uint8), np.ones(SMALL[:2], np.uint8))
    caches = {}
    for count in (1_000, arguments.many):
        caches[count] = fill(root / str(count), Ready([small]), count, shape=SMALL, batch_size=1024)
        opened = []
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, "-c", OPENING, str(root / str(count))], capture_output=True, text=True, check=True
            )
            opened.append([float(word) for word in done.stdout.split()])
        seconds, size, length = (statistics.median(column) for column in zip(*opened, strict=True))
        yield {
            "section": "open",
            "case": f"{int(length):,} samples of 16×16",
            "what": "ours",
            "ms": seconds * 1e3,
            "mib": size / MIB,
        }
    positions = {count: rng.integers(0, count, 1 << 16) for count in caches}
    draws = {
        f"{count:,} samples": lambda number, count=count: caches[count][int(positions[count][number % (1 << 16)])]
        for count in caches
    }
    medians = take_turns(draws, 20_000, warm_up=20_000)
    yield from rows("draw", "16×16 at random", medians, "1,000 samples")


def measure_fill(arguments: argparse.Namespace, root: Path) -> Iterator[Row]:
    samples = surfaces(16)
    count = arguments.fill_samples
    blob = np.random.default_rng(arguments.seed).integers(0, 256, 64 * MIB, np.uint8)

    def plain(number: int) -> None:
        """Write as many bytes in files of the size of our shards, each flushed to the disk."""
        folder = root / f"plain {number}"
        folder.mkdir()
        for file in range(count // 64):
            with (folder / str(file)).open("wb", buffering=0) as out:
                out.write(blob)
                os.fsync(out.fileno())

    def ours(number: int) -> None:
        fill(root / f"ours {number}", Ready(samples), count, shard_size=64)

    times: dict[str, list[float]] = {"ours": [], "plain writes": []}
    for number in range(arguments.fill_rounds):
        for name, run in (("plain writes", plain), ("ours", ours)):
            # what is still on its way to the disk from before is not to be paid for now
            os.sync()
            start = time.perf_counter()
            run(number)
            times[name].append(time.perf_counter() - start)
        for folder in root.iterdir():
            shutil.rmtree(folder)
    rates = {name: [count * MIB / each / 1e6 for each in values] for name, values in times.items()}
    share = statistics.median(one / other for one, other in zip(rates["ours"], rates["plain writes"], strict=True))
    for name, values in rates.items():
        yield {
            "section": "fill",
            "case": f"{count} × {SIZE}×{SIZE}×3 and mask, free generator",
            "what": name,
            "ms": statistics.median(times[name]) * 1e3 / count,
            "mb_per_s": statistics.median(values),
            "rounds_mb_per_s": [round(value) for value in values],
            "share_of_plain": share if name == "ours" else 1.0,
        }


def measure_engines(arguments: argparse.Namespace, root: Path) -> Iterator[Row]:
    samples = surfaces(4)
    for generator in (Busy(samples), Waiting(samples)):
        name = type(generator).__name__.lower()
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for number in range(arguments.engine_rounds):
            for workers, each in seconds.items():
                path = root / f"{name} {number} {workers}"
                each.append(seconds_a_sample(path, generator, workers, arguments.engine_samples))
        medians = {f"{workers} workers": statistics.median(each) for workers, each in seconds.items()}
        yield from rows("engine", f"process, {name} {SECONDS * 1e3:g} ms a sample", medians, "2 workers")


def seconds_a_sample(path: Path, generator: Ready, workers: int, count: int) -> float:
    """Read off the shards' times how fast they appeared, once all workers were up and until the first had no more."""
    size = 8
    fill(path, generator, count, shard_size=size, engine=ProcessEngine(workers=workers))
    appeared = sorted(shard.stat().st_mtime_ns for shard in path.glob("*.safetensors"))[8:-2]
    return (appeared[-1] - appeared[0]) / 1e9 / (len(appeared) - 1) / size


def rows(section: str, case: str, medians: dict[str, float], ours: str) -> Iterator[Row]:
    """One row a contender, with its time as a multiple of ours."""
    for name, median in medians.items():
        yield {"section": section, "case": case, "what": name, "ms": median * 1e3, "ratio": median / medians[ours]}


SECTIONS = {
    "draw": measure_draws,
    "loader": measure_loaders,
    "open": measure_opening,
    "fill": measure_fill,
    "engine": measure_engines,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="what to measure")
    parser.add_argument("--samples", type=int, default=256, help="of 512×512, for draws and loaders")
    parser.add_argument("--repeats", type=int, default=400, help="draws of each kind")
    parser.add_argument("--epochs", type=int, default=7, help="of each loader")
    parser.add_argument("--many", type=int, default=1_000_000, help="small samples to open")
    parser.add_argument("--fill-samples", type=int, default=1024, help="a multiple of 64")
    parser.add_argument("--fill-rounds", type=int, default=7)
    parser.add_argument("--engine-samples", type=int, default=320, help="at least 160")
    parser.add_argument("--engine-rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; default: the temporary folder")
    parser.add_argument("--output", type=Path, default=RESULTS / "cache.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = {"machine": machine(), "versions": versions(VERSIONS)}
    measured = []
    for section in arguments.only:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
            for row in SECTIONS[section](arguments, Path(temporary)):
                measured.append(row)
                more = {name: value for name, value in row.items() if name not in ("section", "case", "what", "ms")}
                print(f"{row['section']:7} {row['case']:45} {row['what']:34} {row['ms']:9.4f} ms  {more}", flush=True)
    options = {name: value for name, value in vars(arguments).items() if name not in ("output", "folder")}
    write_report(arguments.output, measured, **about, options=options)


if __name__ == "__main__":
    main()
