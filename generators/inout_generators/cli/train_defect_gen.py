"""`inout-aug train defect-gen`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option, echo

from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._options import parse_size
from inout_generators.cli._lessons import (
    Category,
    Classes,
    Crop,
    Data,
    Device,
    Layout,
    Material,
    Precision,
    Resume,
    Seed,
    Shrink,
    choose_lessons,
    given,
    parse_shots,
)

_SHOTS = 5
_GOOD = 100


def defect_gen(
    out: Annotated[Path, Option(help="Folder for the generator; DefectGen.from_pretrained reads it.")],
    data: Data = None,
    format: Layout = None,  # noqa: A002
    category: Category = None,
    classes: Classes = "",
    shots: Annotated[str, Option(help="Defective images per class to learn from: a number, or all.")] = str(_SHOTS),
    good: Annotated[int, Option(min=0, help="Good images to learn the background from, at most.")] = _GOOD,
    material: Material = None,
    shrink: Shrink = 1.0,
    size: Annotated[str, Option(help="Height x width of the pictures that the nets see.")] = "64x64",
    crop: Crop = True,
    recipe: Annotated[str, Option(help="paper, small, surfaces, tiny, or a TOML file of your own.")] = "tiny",
    steps: Annotated[int | None, Option(min=1, help="Of either net, instead of the recipe's.")] = None,
    batch: Annotated[int | None, Option(min=1, help="Pictures per step, instead of the recipe's.")] = None,
    learning_rate: Annotated[float | None, Option(help="Of either net, instead of the recipe's.")] = None,
    precision: Precision = None,
    switch_t: Annotated[int | None, Option(help="Where sampling changes nets, instead of the recipe's.")] = None,
    symmetry: Annotated[
        str | None, Option(help="Of the product: none, horizontal, vertical, flips, or turns; else the recipe's.")
    ] = None,
    seed: Seed = 0,
    resume: Resume = False,
    device: Device = None,
) -> None:
    """Train Defect-Gen, a diffusion model of image and mask, from scratch on a handful of defects.

    On several GPUs: accelerate launch $(which inout-aug) train defect-gen ...
    """
    with one_line_errors():
        from inout_generators.defect_gen.recipe import load_recipe
        from inout_generators.defect_gen.train import train_defect_gen

        chosen = load_recipe(
            recipe,
            given(switch_t=switch_t, symmetry=symmetry),
            given(steps=steps, batch=batch, learning_rate=learning_rate, precision=precision),
        )
        lessons = choose_lessons(
            data,
            format,
            category=category,
            material=material,
            classes=classes,
            shots=parse_shots(shots),
            seed=seed,
        )
        train_defect_gen(
            lessons.read(lessons.defective, shrink),
            lessons.classes,
            chosen,
            out,
            size=parse_size(size),
            crop=crop,
            normal=lessons.read(lessons.spread(good), shrink),
            seed=seed,
            resume=resume,
            device=device,
            log=echo,
        )
    echo(f"{out}: ready for DefectGen.from_pretrained, or --generator defect-gen")
