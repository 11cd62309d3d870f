"""`inout-aug sweep`: how much synthetic data helps your own training, ratio by ratio and seed by seed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, echo

from inout_aug.cli._errors import one_line_errors

if TYPE_CHECKING:
    from inout_aug.cli._curve import Curve
    from inout_aug.cli._record import Record
    from inout_aug.cli._training import Training

RECORD, CHART = "sweep.json", "sweep.png"


def sweep(
    train: Annotated[str, Argument(help="Your function, module:name: train(dataset) or train(loader) -> score.")],
    dataset: Annotated[str, Option(help="Your dataset, module:name; or a function that returns it.")],
    ratios: Annotated[str, Option(help="Synthetic positives per real sample, divided by commas.")] = "0,0.2,0.5,1,2,3",
    seeds: Annotated[int, Option(min=1, help="Trainings at each ratio.")] = 3,
    generator: Annotated[
        list[str] | None,
        Option(help="memseg (default), cutpaste, nsa, stroke, or one of an installed package; may be repeated."),
    ] = None,
    textures: Annotated[Path | None, Option(help="Folder of texture pictures, for memseg.")] = None,
    checkpoint: Annotated[Path | None, Option(help="What inout-aug train defect-gen made, for defect-gen.")] = None,
    batch: Annotated[int | None, Option(min=1, help="Hand over a DataLoader of batches of so many samples.")] = None,
    draws: Annotated[int | None, Option(min=1, help="Samples in an epoch of that loader, at any ratio.")] = None,
    out: Annotated[Path, Option(help="Folder for the measurements and the chart.")] = Path("inout-sweep"),
    seed: Annotated[int, Option(min=0, help="First of the seeds.")] = 0,
) -> None:
    """Train at several ratios of synthetic to real samples, and draw the scores: which ratio is best, and how sure.

    A score is one number, higher being better; score on images that are not in the dataset. Your functions are given
    `seed=` if they take it; global random states are seeded anyway. Train for as many steps at any ratio, or more
    synthetic data will also mean more training: the loader of --batch has as many samples in an epoch at any ratio, by
    default as many as there are real ones. Each score is stored; the same command again goes on where it was stopped.
    """
    with one_line_errors():
        from rich.console import Console

        from inout_aug.cli._curve import draw_curve, rich_table
        from inout_aug.cli._members import create_members
        from inout_aug.cli._record import Record
        from inout_aug.cli._training import Training

        wanted, numbers = _ratios(ratios), range(seed, seed + seeds)
        if draws is not None and batch is None:
            raise ValueError("--draws is for the loader of --batch")
        members = create_members(generator or ["memseg"], {"textures": textures, "checkpoint": checkpoint})
        training = Training.load(train, dataset, members, batch=batch, draws=draws)
        record = Record(out / RECORD, training.settings)
    curve = _measure(training, record, wanted, numbers)
    with one_line_errors():
        draw_curve(curve, out / CHART, title=f"{train}, synthetic: {', '.join(members)}", score=f"score of {train}")
        Console().print(rich_table(curve, train))
    for sentence in curve.reading():
        echo(f"- {sentence}")
    echo(f"Chart: {out / CHART}; measurements: {out / RECORD}")


def _measure(training: Training, record: Record, ratios: list[float], seeds: range) -> Curve:
    """Train what was not trained before; an error of the user's own code keeps its traceback."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from inout_aug.cli._curve import Curve

    columns: list[Any] = [*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("training", total=len(ratios) * len(seeds))
        for seed in seeds:
            for ratio in ratios:
                key = {"ratio": ratio, "seed": seed}
                if key not in record:
                    record.add(key, **training.run(ratio, seed))
                progress.advance(bar)
    return Curve(
        {ratio: {seed: record.select(ratio=ratio, seed=seed)[0]["score"] for seed in seeds} for ratio in ratios}
    )


def _ratios(text: str) -> list[float]:
    try:
        values = sorted({float(part) for part in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError(f"--ratios are numbers >= 0 divided by commas, such as 0,0.5,1; got {text!r}")
    return values
