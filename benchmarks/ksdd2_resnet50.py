"""Does it help? A classifier trained with and without synthetic defects, by the protocol of In&Out (section 4).

One command makes the runs, in as many calls as it takes; each goes on where the one before stopped:

    python benchmarks/ksdd2_resnet50.py run --data KSDD2 --preset gpu --weights imagenet --cache CACHE --out RUNS

and one makes the tables and figures of what is there:

    python benchmarks/ksdd2_resnet50.py report RUNS --out benchmarks/results/ksdd2

Whatever is chosen by looking at scores is chosen with `--score validation`, which leaves the test part unread.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from common import commit
from evidence import rehearsal
from evidence.images import Images
from evidence.metrics import measure
from evidence.networks import NETWORKS
from evidence.presets import PRESETS
from evidence.protocol import METHODS, PAPER, Recipe, grid, parse_shots
from evidence.report import write_report
from evidence.runs import Runs
from evidence.splits import read_parts
from evidence.trials import Setup, Trials, run_all, scored_images

from inout_aug.cli._data import Format


def settings_of(
    arguments: argparse.Namespace, recipe: Recipe, training: Images, scored: Images, leaks: int
) -> dict[str, Any]:
    """Return all that decides the figures but the cells, and nothing that hangs on the machine."""
    weights = Path(arguments.weights or "")
    return {
        "data": arguments.data.resolve().name if arguments.data else "procedural surfaces",
        "score": arguments.score,
        "size": list(arguments.size),
        "protocol": arguments.protocol,
        "recipe": asdict(recipe),
        "model": arguments.model,
        "weights": weights.name or None,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else None,
        "cache": Path(arguments.cache).name if arguments.cache else None,
        "textures": Path(arguments.textures).name if arguments.textures else None,
        "training": {"normal": training.targets.count(0), "defective": sum(training.targets)},
        "training_digest": training.digest(),
        "scored_digest": scored.digest(),
        "not_scored": leaks,
        "scored": [list(image) for image in scored_images(scored)],
    }


def fill_in(arguments: argparse.Namespace) -> Recipe:
    """Set what was not given to what the preset says, and return its recipe."""
    preset = PRESETS[arguments.preset]
    arguments.model = arguments.model or preset.model
    arguments.size = tuple(arguments.size or preset.size)
    arguments.n_aug = arguments.n_aug or preset.n_aug
    arguments.seeds = arguments.seeds or preset.seeds
    arguments.at_once = arguments.at_once or preset.at_once or os.cpu_count() or 1
    arguments.minutes = preset.minutes if arguments.minutes is None else arguments.minutes
    return PAPER if arguments.protocol == "paper" else replace(preset.strong, real=arguments.real)


def run(arguments: argparse.Namespace) -> None:
    began = time.perf_counter()
    recipe = fill_in(arguments)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    training, scored, leaks = read_parts(arguments.data, arguments.format, arguments.size, arguments.score)
    print(f"{len(leaks)} images are not scored, for they show what is trained with", *leaks[:3], sep="\n  ")
    if arguments.dry_run:
        training, scored, recipe = rehearsal.few(training), rehearsal.few(scored), rehearsal.shortened(recipe)
        arguments.cache = arguments.cache or rehearsal.stand_in(training, arguments.out / "cache")
        arguments.shots, arguments.n_aug, arguments.seeds = rehearsal.SHOTS, [rehearsal.N_AUG], 1
    setup = Setup(
        recipe=recipe,
        model=arguments.model,
        weights=arguments.weights,
        cache=arguments.cache,
        textures=arguments.textures,
        device=device,
    )
    trials = Trials(training, scored, setup)
    runs = Runs(arguments.out, settings_of(arguments, recipe, training, scored, len(leaks)))
    methods, seeds = arguments.methods or METHODS, range(arguments.seeds)
    cells = list(grid(arguments.shots, methods, arguments.n_aug, seeds, recipe, cache=bool(arguments.cache)))
    left = runs.missing(cells, trials.made_by)
    print(f"{len(cells)} trainings, {len(left)} left, on {device}, {arguments.at_once} at once", flush=True)
    about = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "commit": commit()}
    seconds = 60 * arguments.minutes - (time.perf_counter() - began)
    for number, done in enumerate(run_all(left, trials, at_once=arguments.at_once, seconds=seconds), 1):
        runs.add(done, **about)
        found = measure(done.logits, scored.targets)["ap"].item()
        print(
            f"{done.cell.name}: AP {found:.3f}, {done.seconds:.0f} s, {done.cpu_seconds:.0f} s computing; "
            f"{len(left) - number} left",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("run", help="train and score what is not there yet")
    make.add_argument("--data", type=Path, help="folder of the data; without it, procedural surfaces")
    make.add_argument("--format", type=Format, help="how it is laid out: ksdd2, mvtec or folder")
    make.add_argument("--out", type=Path, required=True, help="folder of the runs, of one setting each")
    make.add_argument("--preset", choices=PRESETS, default="cpu")
    make.add_argument("--protocol", choices=("paper", "strong"), default="strong")
    make.add_argument("--model", choices=NETWORKS)
    make.add_argument("--weights", help="safetensors file, or imagenet for the hub; without it, from scratch")
    make.add_argument(
        "--cache",
        help="of in-distribution samples, for ddpm and inout (else of copies); may hold {scenario} and {seed}",
    )
    make.add_argument("--textures", help="folder of pictures, for MemSeg")
    make.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    make.add_argument("--score", choices=("test", "validation"), default="test")
    make.add_argument("--shots", nargs="+", type=parse_shots, default=[0, 5, None], help="0, 1, 2, ... or full")
    make.add_argument("--methods", nargs="+", choices=METHODS, help="default: all that can be")
    make.add_argument(
        "--real", type=float, help="share of real positives in the strong protocol; default: the sampler's"
    )
    make.add_argument("--n-aug", nargs="+", type=int)
    make.add_argument("--seeds", type=int, help="how many")
    make.add_argument("--at-once", type=int, help="trainings side by side")
    make.add_argument("--minutes", type=float, help="begin no training that would end later")
    make.add_argument("--dry-run", action="store_true", help="all methods in a few steps on a few images")
    make.set_defaults(call=run)
    tell = commands.add_parser("report", help="tables, figures and markdown of a folder of runs")
    tell.add_argument("runs", type=Path)
    tell.add_argument("--out", type=Path, required=True, help="file names begin so")
    tell.set_defaults(call=lambda arguments: write_report(Runs(arguments.runs, None), arguments.out))
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
