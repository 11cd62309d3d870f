"""`inout-aug strengths`: pictures of what a DefectDiffu has learned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from inout_aug.cli._options import parse_names

_SHOWN = 12


def strengths(
    checkpoint: Annotated[Path, Argument(help="Folder that `inout-aug train defectdiffu` made.")],
    out: Annotated[Path, Option(help="Folder for the pictures.")],
    products: Annotated[str, Option(help="Show these products only, divided by commas.")] = "",
    strength: Annotated[float, Option(min=0, help="Of the defects on products that were never seen with them.")] = 1.5,
    seed: Annotated[int, Option(min=0, help="Of the noise.")] = 0,
    tile: Annotated[int, Option(min=32, help="Side of a picture in pixels.")] = 96,
    device: Annotated[str | None, Option(help="cpu keeps off the GPU.")] = None,
) -> None:
    """Draw each product with each defect at strengths from 0 to 2.5, transfer to other products, and attention."""
    # at the top it would be a circle: inout_aug.cli loads this module when it is imported
    from inout_aug.cli._errors import one_line_errors

    with one_line_errors():
        from inout_generators.defectdiffu.generator import DefectDiffu
        from inout_generators.defectdiffu.names import check_known
        from inout_generators.defectdiffu.reports import attention_grid, strength_grid, write_picture, zero_shot_grid

        generator = DefectDiffu.from_pretrained(checkpoint, device=device)
        shown = [check_known(name, generator.products, "product") for name in parse_names(products)] if products else []
        seen = [
            (product, defect)
            for product, defects in generator.products.items()
            if not shown or product in shown
            for defect in defects
        ]
        pictures = {}
        if seen:
            pictures["strength"] = strength_grid(generator, pairs=seen, seed=seed, tile=tile)
            pictures["attention"] = attention_grid(generator, pairs=seen[:_SHOWN], seed=seed, tile=tile)
        if any(
            set(generator.defects) - set(defects)
            for product, defects in generator.products.items()
            if not shown or product in shown
        ):
            pictures["zero_shot"] = zero_shot_grid(
                generator, products=shown or None, strength=strength, seeds=range(seed, seed + 3), tile=tile
            )
        for name, picture in pictures.items():
            write_picture(out / f"{name}.png", picture)
    echo(f"{out}: {', '.join(f'{name}.png' for name in pictures)}")
