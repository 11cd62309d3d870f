"""Does it help? A classifier trained with and without synthetic defects, by the protocol of In&Out (section 4).

python benchmarks/ksdd2_resnet50.py run --data KSDD2 --preset gpu --out RUNS
python benchmarks/ksdd2_resnet50.py report RUNS --out benchmarks/results/ksdd2
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from evidence.arms import draws, members, wrap
from evidence.feed import Feed, stacked
from evidence.images import Images, read_parts
from evidence.leaks import without_leaks
from evidence.metrics import measure
from evidence.networks import NETWORKS, build
from evidence.protocol import METHODS, RECIPES, Cell, Recipe, grid, parse_shots
from evidence.runs import Run, Runs
from evidence.training import predict, train

from inout_aug.cli._data import Format


def run_cell(cell: Cell, recipe: Recipe, training: Images, test: torch.Tensor, arguments: argparse.Namespace) -> Run:
    start = time.perf_counter()
    real = training.shots(cell.shots, cell.seed)
    dataset = wrap(real, cell, recipe, members(cell, arguments.cache, arguments.textures))
    sampler = draws(dataset, real, cell, recipe)
    feed = Feed(dataset, real, sampler, rounds=recipe.epochs, batch=recipe.batch, device=torch.device("cpu"))
    network = build(arguments.model, arguments.weights, cell.seed)
    rate = recipe.fine_tuning_rate if arguments.weights else recipe.learning_rate
    scored = train(network, feed, len(feed), recipe, highest_rate=rate, seed=cell.seed)
    logits = predict(scored, test, bf16=recipe.bf16)
    return Run(cell, logits, time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--format", type=Format, default=Format.KSDD2)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", choices=RECIPES, default="strong")
    parser.add_argument("--model", choices=NETWORKS, default="resnet18")
    parser.add_argument("--weights")
    parser.add_argument("--cache")
    parser.add_argument("--textures")
    parser.add_argument("--size", type=int, nargs=2, default=(300, 100), metavar=("H", "W"))
    parser.add_argument("--score", choices=("test", "validation"), default="test")
    parser.add_argument("--shots", nargs="+", type=parse_shots, default=[0, 5, None])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--n-aug", nargs="+", type=int, default=[100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = RECIPES[arguments.recipe]
    training, held = read_parts(arguments.data, arguments.format, tuple(arguments.size), arguments.score)
    training, leaks = without_leaks(training, held)
    print(f"{len(leaks)} leaks")
    test = stacked([item["image"] for item in held.items])
    runs = Runs(arguments.out, {"model": arguments.model, "labels": held.targets})
    for cell in grid(arguments.shots, arguments.methods, arguments.n_aug, arguments.seeds, recipe):
        if cell in runs:
            continue
        run = run_cell(cell, recipe, training, test, arguments)
        runs.add(run)
        print(f"{cell.name} {run.seconds:.0f} s, AP {measure(run.logits, held.targets)['ap'].item():.3f}", flush=True)


if __name__ == "__main__":
    main()
