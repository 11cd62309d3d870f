"""How good and how fast Defect-Gen's samples are: against MemSeg's, one plain large net, and the released procedure.

Everything is compared with real defects that no training saw, by the kernel distance (KID) of SqueezeNet features of
crops around the defects; `inout_aug.evaluate` says how. Train first, with the same options:

    inout-aug train defect-gen --data DIR --format mvtec --shrink 1.6 --shots 5 --size 64x64 --out CKPT
    python benchmarks/defect_gen.py --data DIR --format mvtec --shrink 1.6 --shots 25 --checkpoint CKPT \
        --plain PLAIN --features squeezenet.safetensors --name magnetic_tile

PLAIN is a checkpoint trained for as many steps in all with `switch_t = 0` and `timesteps = "all"`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch
from common import RESULTS, machine, versions, write_report

from inout_aug import MemSegPaste, Sample
from inout_aug.cache.features import Features
from inout_aug.cli._data import Format, open_data, shrunk
from inout_aug.datasets._items import ITEM_LAYOUT
from inout_aug.evaluate import evaluate, kid, kid_interval, looks, view
from inout_aug.plugin import Request
from inout_aug.sample import Image
from inout_aug.seeding import stream
from inout_aug.sheet import Entry, contact_sheet
from inout_generators.defect_gen.generator import DefectGen

VERSIONS = ("inout-aug", "torch", "diffusers", "numpy", "opencv-python-headless")

Row = dict[str, Any]

_OPTIONS = ("shrink", "shots", "seed", "crop")


class Data:
    """Real defects that were trained on, others that were not, and normal images to put new ones into.

    Args:
        arguments: Which.
        least: Height and width that a host has at least.
    """

    def __init__(self, arguments: argparse.Namespace, least: tuple[int, int]) -> None:
        def read(part: Any, shots: int | None) -> list[Sample]:
            dataset: Any = open_data(arguments.data, arguments.format, part, shots=shots, seed=arguments.seed)
            items = (dataset[index] for index in range(len(dataset)))
            return [shrunk(ITEM_LAYOUT.unpack(item), arguments.shrink) for item in items]

        train = read("train", arguments.shots)
        self.training = [sample for sample in train if sample.mask is not None and sample.mask.any()]
        self.held_out = [sample for sample in read("test", None) if sample.mask is not None and sample.mask.any()]
        self.hosts = [s.image for s in train if not s.label and all(a >= b for a, b in zip(s.size, least, strict=True))]
        # as many of each class as there are to compare with
        labels = stream(arguments.seed, 1).permutation([sample.label for sample in self.held_out]).tolist()
        self.classes = [labels[k % len(labels)] for k in range(arguments.samples)]

    def host(self, number: int) -> Image:
        """The host of a sample, the same for all contenders."""
        return self.hosts[number % len(self.hosts)]


def insertions(generator: DefectGen, data: Data) -> list[Sample]:
    """Defects put into the hosts."""
    requests = []
    for number, defect_class in enumerate(data.classes):
        host = data.host(number)
        height, width, channels = host.shape
        requests.append(
            Request(seed=number, height=height, width=width, channels=channels, defect_class=defect_class, host=host)
        )
    return generator.generate(requests)


def pastes(data: Data) -> list[Sample]:
    """MemSeg's defects in the same hosts."""
    paster, made = MemSegPaste(), []
    for number, defect_class in enumerate(data.classes):
        image, mask = paster.apply(data.host(number), paster.make_params(data.host(number), stream(number, 0)))
        made.append(Sample(image, mask, defect_class))
    return made


def measure_quality(arguments: argparse.Namespace, data: Data, features: Features) -> Iterator[Row]:
    """KID and memorisation of defects in hosts."""
    contenders: dict[str, Callable[[], Sequence[Sample]]] = {
        "DefectGen": lambda: insertions(DefectGen.from_pretrained(arguments.checkpoint), data),
        "MemSeg": lambda: pastes(data),
    }
    if arguments.plain is not None:
        contenders["one plain large net"] = lambda: insertions(DefectGen.from_pretrained(arguments.plain), data)
    for name, make in contenders.items():
        made = make()
        found = evaluate(
            made, training=data.training, held_out=data.held_out, features=features, crop=arguments.crop or "auto"
        )
        memory = found.memorisation_strict or found.memorisation
        yield {
            "section": "in hosts",
            "what": name,
            "images": len(made),
            "crop": found.crop,
            "kid": found.fidelity.kid,
            "kid_95": list(found.fidelity.kid_interval),
            "kid_real_training": found.fidelity_training.kid if found.fidelity_training else None,
            "diversity": found.diversity.pairwise,
            "diversity_real": found.diversity_real.pairwise,
            "not_nearer_than_5th_percentile": memory.share,
        }


def measure_speed(arguments: argparse.Namespace, data: Data, features: Features) -> Iterator[Row]:
    """Our sampling against the released procedure's 1000 steps, of whole crops, in turns."""
    contenders = {
        "ours": DefectGen.from_pretrained(arguments.checkpoint),
        "ours, 50 steps": DefectGen.from_pretrained(arguments.checkpoint, steps=50),
        "ours, DPM-Solver++": DefectGen.from_pretrained(arguments.checkpoint, sampler="dpm++"),
    }
    if not arguments.without_released:
        contenders["released procedure"] = DefectGen.from_pretrained(
            arguments.checkpoint, sampler="official", steps=1000, batch_size=4
        )
    if arguments.plain is not None:
        contenders["one plain large net"] = DefectGen.from_pretrained(arguments.plain)
    height, width = contenders["ours"].size
    channels = contenders["ours"].encoding.image_channels
    made: dict[str, list[Sample]] = {name: [] for name in contenders}
    seconds: dict[str, float] = dict.fromkeys(made, 0.0)
    for first in range(0, arguments.crops, 4):
        requests = [
            Request(seed=k, height=height, width=width, channels=channels, defect_class=data.classes[k])
            for k in range(first, first + 4)
        ]
        for name, generator in contenders.items():
            start = time.process_time()
            made[name] += generator.generate(requests)
            seconds[name] += time.process_time() - start
    write_grid(arguments.name, made["ours"][: arguments.grid])
    side = min(height, width)
    real = looks(features, [view(sample, side) for sample in data.held_out]).pooled
    pooled = {name: looks(features, [view(s, side) for s in samples]).pooled for name, samples in made.items()}
    for name, samples in made.items():
        mean, deviation = kid(real, pooled[name])
        yield {
            "section": "whole crops",
            "what": name,
            "images": len(samples),
            "cpu_s_per_sample": seconds[name] / len(samples),
            "times_faster_than_released": _ratio(seconds.get("released procedure"), seconds[name]),
            "kid": mean,
            "kid_std_of_subsets": deviation,
            "kid_95": list(kid_interval(real, pooled[name])),
        }


def _ratio(released: float | None, own: float) -> float | None:
    return None if released is None else released / own


def write_grid(name: str, samples: Sequence[Sample]) -> None:
    """Draw what the nets make of noise alone; no pixel of a real image is in it."""
    entries = [Entry(sample=sample, name="", details=f"class {sample.label}") for sample in samples]
    sheet = contact_sheet(entries, tile=110, columns=6, title=f"Defect-Gen trained on {name}: image and mask")
    path = RESULTS / f"defect_gen_{name}.jpg"
    cv2.imwrite(str(path), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--format", type=Format, required=True)
    parser.add_argument("--name", required=True, help="in the results' file names")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--plain", help="one large net for all timesteps, trained for as many steps")
    parser.add_argument("--features", required=True, help="SqueezeNet weights")
    parser.add_argument("--shrink", type=float, default=1.0)
    parser.add_argument("--shots", type=int, help="real defects trained on, of all classes; default: all")
    parser.add_argument("--crop", type=int, help="side of the crops that are compared; default: twice a usual defect")
    parser.add_argument("--samples", type=int, default=100, help="defects in hosts")
    parser.add_argument("--crops", type=int, default=32, help="whole crops of each contender, a multiple of 4")
    parser.add_argument("--without-released", action="store_true", help="spare its 10 s a crop, more where it misses")
    parser.add_argument("--grid", type=int, default=24, help="samples drawn as a picture")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = machine()
    generator = DefectGen.from_pretrained(arguments.checkpoint)
    features = Features.squeezenet(arguments.features)
    data = Data(arguments, generator.size)
    measured = []
    for section in (measure_quality, measure_speed):
        for row in section(arguments, data, features):
            measured.append(row)
            print({name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()})
    options = {name: str(value) for name, value in vars(arguments).items() if name in _OPTIONS}
    write_report(
        RESULTS / f"defect_gen_{arguments.name}.json",
        measured,
        machine=before,
        threads=1,
        versions=versions(VERSIONS),
        options=options,
        provenance=generator.provenance,
        counts={"training": len(data.training), "held_out": len(data.held_out), "hosts": len(data.hosts)},
    )


if __name__ == "__main__":
    main()
