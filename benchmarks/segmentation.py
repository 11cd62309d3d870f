"""Do synthetic defects help to outline real ones? The protocols of Defect Spectrum and of DefectDiffu.

    python benchmarks/segmentation.py --data DIR --format mvtec --name magnetic_tile --preset cpu
    python benchmarks/segmentation.py --data DIR --format ksdd2 --name ksdd1 --preset gpu --minutes 9

Every score is stored as it is measured, in results/segmentation_NAME.json; the same command goes on where it was
stopped, and writes the tables and curves of what there is. A few real defects are trained with synthetic ones by ratio,
filled up to 150, with more normal images; or all of them with twice as many synthetic ones. What is trained on is what
`InOutAugment` makes, with its own `n_aug=`, `uniform=` and `normals=`. `--score validation` holds out a third of the
training part to choose by, and leaves the test part alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, commit, machine, versions
from evidence.images import Images
from evidence.leaks import refuse_leaks, refuse_other_product
from evidence.splits import read_parts
from rich.console import Console
from rich.progress import track
from segmenting.arms import Arm, Maker, Section, sections
from segmenting.networks import NETWORKS, build
from segmenting.report import draw_curves, key_of, page
from segmenting.scores import measure
from segmenting.training import Crop, Recipe, predict, train

from inout_aug import CopyPaste
from inout_aug.cache import CachedSampler
from inout_aug.cli._data import Format, open_product
from inout_aug.cli._members import create_members
from inout_aug.cli._pictures import common_size
from inout_aug.cli._record import Record
from inout_aug.plugin import Member, fingerprint_of

VERSIONS = ("inout-aug", "torch", "segmentation-models-pytorch", "numpy", "opencv-python-headless")
_COPY = "copy"
_STRIDE = 32  # of the deepest features: sides are multiples of it

PRESETS: dict[str, dict[str, Any]] = {
    # 24 trainings, some 15 minutes for each dataset on one quiet core that knows bfloat16
    "cpu": {
        **{"pixels": 128 * 160, "crop": 96, "width": 16, "steps": 400, "batch": 8, "workers": 0, "seeds": 4},
        **{"networks": ["unet"], "sections": ["ratio"]},
    },
    "gpu": {
        **{"pixels": 256 * 320, "crop": 224, "width": 32, "steps": 1500, "batch": 16, "workers": 8, "seeds": 4},
        **{"networks": list(NETWORKS), "sections": ["ratio", "uniform", "normals", "double"]},
    },
}


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    wanted = {name: section for name, section in sections(options.shots).items() if name in options.sections}
    size = _size(options)
    training, scored, leaks = read_parts(options.data, options.format, size, options.score)
    makers = _makers(options, training, scored)
    record = Record(
        options.out / f"segmentation_{options.name}.json",
        {
            "name": options.name,
            "score": options.score,
            "size": size,
            "width": options.width,
            "recipe": {name: getattr(options, name) for name in ("steps", "batch", "crop")},
            "learning_rates": NETWORKS,
            "generators": {name: fingerprint_of(make(training)) for name, make in makers.items()},
            "weights": {name: path.name for name, path in options.weights.items()},
            "data": {"training": training.digest(), "scored": scored.digest()},
            "counts": {
                "training": len(training),
                "training_defects": sum(training.targets),
                "scored": len(scored),
                "scored_defects": sum(scored.targets),
                "left_out": len(leaks),
            },
            "versions": versions(VERSIONS),
        },
    )
    began = time.monotonic()
    todo = list(_missing(record, wanted, options))
    for arm in {arm for _, arm, _ in todo}:
        arm.wrap(training, list(makers.values()), 0)  # told now, not after an hour
    print(f"{len(todo)} trainings to do, {len(record.rows)} done, on {options.device}")
    if options.dry_run:
        return
    longest = 0.0
    for network, arm, seed in track(todo, "training", console=Console(stderr=True)):
        spent = time.monotonic() - began
        if options.minutes is not None and spent + longest > 60 * options.minutes:
            break
        measured = run(network, arm, seed, training, scored, list(makers.values()), options)
        record.add(key_of(network, arm, seed), **measured, commit=commit(), machine=machine()["cpu"])
        longest = max(longest, time.monotonic() - began - spent)
    if record.rows:
        _report(record, wanted, options)


def run(
    network: str,
    arm: Arm,
    seed: int,
    training: Images,
    scored: Images,
    makers: list[Maker],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Train once and score."""
    began = time.perf_counter()
    torch.manual_seed(seed)
    recipe = Recipe(
        learning_rate=NETWORKS[network],
        **{name: getattr(options, name) for name in ("steps", "batch", "crop", "device", "workers")},
    )
    dataset = arm.wrap(training, makers, seed, Crop(recipe.crop))
    model = build(network, width=options.width, weights=options.weights.get(network))
    model = train(model, dataset, recipe, seed)
    masks = np.stack([item["mask"] for item in scored.items])
    measured = measure(predict(model, scored, recipe.device), masks, scored.kind, scored.kinds[0])
    positives = int(np.count_nonzero(dataset.targets[: dataset.n_real]))
    counts = {
        "real": positives,
        "synthetic": len(dataset) - dataset.n_real,
        "normal": dataset.n_real - positives,
    }
    return {**measured, "counts": counts, "seconds": round(time.perf_counter() - began, 1)}


def _missing(
    record: Record, wanted: Mapping[str, Section], options: argparse.Namespace
) -> Iterator[tuple[str, Arm, int]]:
    """Yield the trainings that were not done, all arms of a seed before the next one."""
    seen = set()
    for network in options.networks:
        for seed in range(options.seeds):
            for section in wanted.values():
                for arm in section.arms.values():
                    if (network, arm, seed) not in seen and key_of(network, arm, seed) not in record:
                        seen.add((network, arm, seed))
                        yield network, arm, seed


def _report(record: Record, wanted: Mapping[str, Section], options: argparse.Namespace) -> None:
    chart = options.out / f"segmentation_{options.name}.png"
    drawn = "ratio" in wanted and draw_curves(record, wanted["ratio"], chart)
    lines = page(record, sections(options.shots), chart.name if drawn else None)
    path = options.out / f"segmentation_{options.name}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _size(options: argparse.Namespace) -> tuple[int, int]:
    """Return the height and width of all images: of the median proportions, as many pixels as asked for."""
    height, width = common_size(open_product(options.data, options.format), options.pixels)
    return max(_STRIDE, round(height / _STRIDE) * _STRIDE), max(_STRIDE, round(width / _STRIDE) * _STRIDE)


def _makers(options: argparse.Namespace, training: Images, scored: Images) -> dict[str, Maker]:
    """Return what makes the synthetic defects; "copy" those of the training's own real ones.

    Raises:
        ValueError: The cache shows scored images, or another product.
    """
    named = [name for name in options.generators if name != _COPY]
    members = create_members(named, {"textures": options.textures})
    makers: dict[str, Maker] = {name: partial(_given, member) for name, member in members.items()}
    if _COPY in options.generators:
        makers[_COPY] = CopyPaste.from_dataset
    if options.cache is not None:
        cached = CachedSampler(options.cache, repeat=True, lossy=True)
        refuse_other_product(training, scored, cached.cache)
        refuse_leaks(scored, cached.cache)
        makers[cached.name] = partial(_given, cached)
    return makers


def _given(member: Member, _: Images) -> Member:
    return member


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data; without it, procedural surfaces")
    parser.add_argument("--format", type=Format, help="how it is laid out: ksdd2, mvtec or folder")
    parser.add_argument("--name", required=True, help="of the data, in the results' file names")
    parser.add_argument("--preset", choices=PRESETS, default="cpu", help="what the options below are by default")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--sections", nargs="+", choices=list(sections(1)))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--pixels", type=int, help="of an image, about")
    parser.add_argument("--crop", type=int)
    parser.add_argument("--width", type=int, help="features of the first level of the U-Net")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--shots", type=int, default=5, help="real defects where there are few")
    parser.add_argument("--score", choices=["test", "validation"], default="test")
    parser.add_argument("--generators", nargs="+", default=["memseg", _COPY], help="make the synthetic defects")
    parser.add_argument("--textures", type=Path, help="folder of texture pictures, for memseg")
    parser.add_argument("--cache", help="of in-distribution samples, for the other half of the synthetic defects")
    parser.add_argument("--weights", nargs="*", default=[], metavar="NETWORK=FILE", help="encoders' pretrained weights")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="begin no training that would end later than that")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    for name, value in PRESETS[options.preset].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.weights = {name: Path(file) for name, _, file in (given.partition("=") for given in options.weights)}
    if unknown := options.weights.keys() - (NETWORKS.keys() - {"unet"}):
        parser.error(f"--weights are of deeplabv3plus and mit_b0, as mit_b0=FILE; got {', '.join(unknown)}")
    return options


if __name__ == "__main__":
    main()
