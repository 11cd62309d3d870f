"""`inout-aug cache fill`: let a generator make its samples, once."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from inout_aug.cli._data import Format
from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._normals import open_normals
from inout_aug.cli._options import parse_settings, parse_size


def fill(
    where: Annotated[str, Argument(help="Folder or URL of the cache.", metavar="CACHE")],
    generator: Annotated[str, Option(help="defect-gen, or one of an installed package.")],
    n: Annotated[int, Option("-n", min=1, help="Samples wanted, with those that are there already.")],
    source: Annotated[
        str | None, Option("--from", help="Where the generator is loaded from: a folder, or a name on a hub.")
    ] = None,
    setting: Annotated[
        list[str] | None, Option(help="Of the generator, as name=value, such as steps=50; may be repeated.")
    ] = None,
    data: Annotated[Path | None, Option(help="Folder of normal images, for a generator that changes them.")] = None,
    format: Annotated[Format | None, Option(help="How that folder is laid out.")] = None,  # noqa: A002
    category: Annotated[str | None, Option(help="Folder below DATA, for mvtec.")] = None,
    shrink: Annotated[float, Option(min=1, help="Shrink them by this factor first, as in the training.")] = 1.0,
    size: Annotated[str | None, Option(help="Height x width, for a generator of whole images.")] = None,
    channels: Annotated[int | None, Option(help="1 or 3; default: what the generator learned.")] = None,
    classes: Annotated[str, Option(help="Defect classes to ask for, as 1,3; default: all.")] = "",
    strength: Annotated[
        list[float] | None, Option(help="Of the defects; 1 is as learned. Several are asked for in turn.")
    ] = None,
    prompt: Annotated[
        list[str] | None,
        Option(help="For a generator that takes one: a text, or for defectdiffu a product. Several are taken in turn."),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Of the samples.")] = 0,
    batch_size: Annotated[int, Option(min=1, help="Requests handed to the generator at a time.")] = 8,
    engine: Annotated[str, Option(help="local, process, or ray.")] = "local",
) -> None:
    """Fill a cache, or what is missing of it. Stop it and run it again at will: it goes on where it was."""
    with one_line_errors():
        from inout_aug.cli._members import fill as fill_with
        from inout_aug.plugin import Generator, create

        member = create(generator, *([source] if source else []), **parse_settings(setting or []))
        if not isinstance(member, Generator):
            raise ValueError(f"{generator} needs no cache: it paints on the fly. Give it to InOutAugment as it is")
        shape = None
        if size is not None:
            shape = *parse_size(size), channels or int(getattr(member, "channels", 3))
        numbers = classes.split(",") if classes else []
        if not all(number.strip().isdecimal() for number in numbers):
            raise ValueError(f"--classes are numbers from 1, divided by commas; got {classes!r}")
        cache = fill_with(
            member,
            where,
            n,
            hosts=None if data is None and format is None else open_normals(data, format, category, shrink, seed),
            shape=shape,
            classes=[int(number) for number in numbers],
            seed=seed,
            conditions=[
                {"prompt": each, "strength": strong} for each, strong in product(prompt or (None,), strength or (1.0,))
            ],
            batch_size=batch_size,
            engine=engine,
        )
    echo(f"{where}: {len(cache)} samples of {cache.generator}. In training: CachedSampler({where!r})")
