"""`inout-aug sheet`: see what a generator paints on your images, before you train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option, echo

from inout_aug.cli._data import Format, open_data
from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._output import check_picture, write_picture


def sheet(
    data: Annotated[Path | None, Option(help="Folder of your images; without it, procedural surfaces.")] = None,
    format: Annotated[Format | None, Option(help="How that folder is laid out.")] = None,  # noqa: A002
    category: Annotated[str | None, Option(help="Folder below DATA, for mvtec.")] = None,
    generator: Annotated[str, Option(help="memseg, cutpaste, nsa, stroke, or one of an installed package.")] = "memseg",
    textures: Annotated[Path | None, Option(help="Folder of texture pictures, for memseg.")] = None,
    n: Annotated[int, Option("--n", "-n", min=1, help="Synthetic samples.")] = 16,
    real: Annotated[int, Option(min=0, help="Real defects, at most.")] = 4,
    seed: Annotated[int, Option(min=0, help="Of the synthetic samples.")] = 0,
    columns: Annotated[int | None, Option(min=1, help="Samples side by side.")] = None,
    tile: Annotated[int, Option(min=32, help="Root of a picture's area in pixels.")] = 256,
    closeup: Annotated[bool, Option("--closeup", help="Add the largest defect, magnified twice.")] = False,
    out: Annotated[Path, Option(help="Picture to write: .png, .jpg or .webp.")] = Path("sheet.png"),
) -> None:
    """Draw real defects, then synthetic ones: host, image, outline of the mask, and what was drawn."""
    with one_line_errors():
        check_picture(out)
        if textures is not None and generator != "memseg":
            raise ValueError("--textures is for --generator memseg")
        from inout_aug.plugin import Paster, create, name_of
        from inout_aug.sheet import paste_sheet

        dataset = open_data(data, format, category=category, seed=seed)
        paster = create(generator, **({} if textures is None else {"textures": textures}))
        if not isinstance(paster, Paster):
            raise ValueError(
                f"{generator} does not paint on hosts; sheet draws memseg, cutpaste, nsa, stroke and the like"
            )
        title = f"{name_of(paster)} on {data.resolve().name if data else 'procedural surfaces'}"
        picture = paste_sheet(
            dataset, paster, n=n, real=real, seed=seed, columns=columns, tile=tile, closeup=closeup, title=title
        )
        write_picture(out, picture)
    echo(f"{out}: {title}, {n} samples")
