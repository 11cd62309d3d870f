"""`inout-aug train defectdiffu`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option, echo

from inout_aug.cli._data import Format
from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._options import parse_names, parse_size
from inout_generators.cli._lessons import (
    Crop,
    Data,
    Device,
    Layout,
    Precision,
    Resume,
    Seed,
    Shrink,
    choose_lessons,
    given,
    parse_shots,
)

if TYPE_CHECKING:
    from inout_generators.defectdiffu.data import Named
    from inout_generators.defectdiffu.names import DefectNames

_GOOD = 200
_SURFACES = ("metal", "fabric", "cast")


def defectdiffu(
    out: Annotated[Path, Option(help="Folder for the generator; DefectDiffu.from_pretrained reads it.")],
    data: Data = None,
    format: Layout = None,  # noqa: A002
    manifest: Annotated[
        Path | None, Option(help="CSV file instead of DATA: image, mask, product and defect; good ones need no mask.")
    ] = None,
    products: Annotated[
        str,
        Option(help="Folders below DATA, for mvtec (default: all), or procedural surfaces; divided by commas."),
    ] = "",
    good_only: Annotated[
        str, Option(help="Of these products learn good images only, divided by commas: defects of others transfer.")
    ] = "",
    names: Annotated[
        str | None,
        Option(help="One name for the same defect of several products: uni_defect (MVTec AD's), or a CSV file."),
    ] = None,
    shots: Annotated[str, Option(help="Defective images per product and class: a number, or all.")] = "all",
    good: Annotated[int, Option(min=1, help="Good images of each product, at most.")] = _GOOD,
    shrink: Shrink = 1.0,
    size: Annotated[str, Option(help="Height x width of the pictures that the net sees.")] = "64x64",
    crop: Crop = False,
    recipe: Annotated[str, Option(help="paper, small, tiny, or a TOML file of your own.")] = "tiny",
    init: Annotated[
        Path | None, Option(help="DiT's weights to start from, non-commercial: the official .pt, or diffusers' folder.")
    ] = None,
    steps: Annotated[int | None, Option(min=1, help="Instead of the recipe's.")] = None,
    batch: Annotated[int | None, Option(min=1, help="Pictures per step, instead of the recipe's.")] = None,
    learning_rate: Annotated[float | None, Option(help="Instead of the recipe's.")] = None,
    precision: Precision = None,
    symmetry: Annotated[
        str | None, Option(help="Of all products: none, horizontal, vertical, flips, or turns; else the recipe's.")
    ] = None,
    seed: Seed = 0,
    resume: Resume = False,
    device: Device = None,
) -> None:
    """Train DefectDiffu, one text-guided diffusion transformer, on several products at once.

    On several GPUs: accelerate launch $(which inout-aug) train defectdiffu ...
    """
    with one_line_errors():
        from inout_generators.defectdiffu.names import DefectNames
        from inout_generators.defectdiffu.recipe import load_recipe
        from inout_generators.defectdiffu.train import train_defectdiffu

        chosen = load_recipe(
            recipe,
            given(batch=batch, symmetry=symmetry),
            given(steps=steps, learning_rate=learning_rate, precision=precision),
        )
        table = DefectNames() if names is None else DefectNames.read(names)
        if manifest is not None:
            if data is not None or format is not None or products:
                raise ValueError("--manifest names all images; --data, --format and --products are for folders")
            named = _from_manifest(manifest, table, parse_names(good_only) if good_only else ())
        else:
            named = _from_folders(
                data,
                format,
                parse_names(products) if products else _all_products(data, format),
                parse_names(good_only) if good_only else (),
                table,
                shots=parse_shots(shots),
                good=good,
                shrink=shrink,
                seed=seed,
            )
        train_defectdiffu(
            named,
            chosen,
            out,
            size=parse_size(size),
            crop=crop,
            init=init,
            seed=seed,
            resume=resume,
            device=device,
            log=echo,
        )
    echo(f"{out}: ready for DefectDiffu.from_pretrained, or --generator defectdiffu")


def _all_products(data: Path | None, layout: Format | None) -> Sequence[str]:
    """Return the names of the products that there are; a folder that is not mvtec's is one product."""
    if data is None:
        return _SURFACES
    if layout != Format.MVTEC or (data / "train").is_dir():
        return (data.resolve().name,)
    found = sorted(folder.parent.parent.name for folder in data.glob("*/train/good"))
    if not found:
        raise FileNotFoundError(f"{data} has no <product>/train/good: for mvtec, DATA has a folder for each product")
    return found


def _from_manifest(manifest: Path, table: DefectNames, good_only: Sequence[str]) -> Iterator[Named]:
    from inout_generators.defectdiffu.data import read_manifest
    from inout_generators.defectdiffu.names import GOOD

    for named in read_manifest(manifest, table):
        if named.product not in good_only or named.defect == GOOD:
            yield named


def _from_folders(
    data: Path | None,
    layout: Format | None,
    products: Sequence[str],
    good_only: Sequence[str],
    table: DefectNames,
    *,
    shots: int | None,
    good: int,
    shrink: float,
    seed: int,
) -> Iterator[Named]:
    """Yield the samples of each product, as other commands would choose them of it alone."""
    from inout_generators.defectdiffu.data import name_samples
    from inout_generators.defectdiffu.names import check_known

    for product in good_only:
        check_known(product, products, "product")
    for product in products:
        lessons = choose_lessons(
            data,
            layout,
            category=product if data is not None and (data / product).is_dir() else None,
            material=product if data is None else None,
            classes="",
            shots=shots,
            seed=seed,
        )
        positions = [lessons.spread(good)] if product in good_only else [lessons.spread(good), lessons.defective]
        for chosen in positions:
            yield from name_samples(product, lessons.read(chosen, shrink), lessons.classes, table)
