"""`inout-aug train`: make a generator out of your own defects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option, Typer, echo

from inout_aug.cli._data import Format, open_product, shrunk
from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._options import parse_names, parse_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inout_aug.datasets import Item
    from inout_aug.sample import Sample

app = Typer(help="Train a generator of defects.", no_args_is_help=True)

_SHOTS = 5
_GOOD = 100


@app.callback()
def train() -> None:
    """Train a generator of defects."""


@app.command()
def defect_gen(
    out: Annotated[Path, Option(help="Folder for the generator; DefectGen.from_pretrained reads it.")],
    data: Annotated[Path | None, Option(help="Folder of your images; without it, procedural surfaces.")] = None,
    format: Annotated[Format | None, Option(help="How that folder is laid out.")] = None,  # noqa: A002
    category: Annotated[str | None, Option(help="Folder below DATA, for mvtec.")] = None,
    classes: Annotated[str, Option(help="Learn these defect classes only, divided by commas.")] = "",
    shots: Annotated[str, Option(help="Defective images per class to learn from: a number, or all.")] = str(_SHOTS),
    good: Annotated[int, Option(min=0, help="Good images to learn the background from, at most.")] = _GOOD,
    material: Annotated[str | None, Option(help="Of the procedural surfaces: metal (default), cast or fabric.")] = None,
    shrink: Annotated[float, Option(min=1, help="Shrink all images by this factor first.")] = 1.0,
    size: Annotated[str, Option(help="Height x width of the pictures that the nets see.")] = "64x64",
    crop: Annotated[
        bool, Option("--crop/--whole", help="Crops of the images as they are, or whole images made smaller.")
    ] = True,
    recipe: Annotated[str, Option(help="paper, small, surfaces, tiny, or a TOML file of your own.")] = "tiny",
    steps: Annotated[int | None, Option(min=1, help="Of either net, instead of the recipe's.")] = None,
    batch: Annotated[int | None, Option(min=1, help="Pictures per step, instead of the recipe's.")] = None,
    learning_rate: Annotated[float | None, Option(help="Of either net, instead of the recipe's.")] = None,
    precision: Annotated[str | None, Option(help="fp32, or bf16 for chips that know it; else the recipe's.")] = None,
    switch_t: Annotated[int | None, Option(help="Where sampling changes nets, instead of the recipe's.")] = None,
    symmetry: Annotated[
        str | None, Option(help="Of the product: none, horizontal, vertical, flips, or turns; else the recipe's.")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Of everything random.")] = 0,
    resume: Annotated[bool, Option("--resume", help="Go on where an earlier run into OUT stopped.")] = False,
    device: Annotated[str | None, Option(help="cpu keeps off the GPU.")] = None,
) -> None:
    """Train Defect-Gen, a diffusion model of image and mask, from scratch on a handful of defects.

    On several GPUs: accelerate launch $(which inout-aug) train defect-gen ...
    """
    with one_line_errors():
        from inout_generators.defect_gen.recipe import load_recipe
        from inout_generators.defect_gen.train import train_defect_gen

        chosen = load_recipe(
            recipe,
            _given(switch_t=switch_t, symmetry=symmetry),
            _given(steps=steps, batch=batch, learning_rate=learning_rate, precision=precision),
        )
        samples, names, normal = _read(
            open_product(data, format, category=category, material=material, seed=seed),
            parse_names(classes) if classes else (),
            _shots(shots),
            good,
            shrink,
            seed,
        )
        train_defect_gen(
            samples,
            names,
            chosen,
            out,
            size=parse_size(size),
            crop=crop,
            normal=normal,
            seed=seed,
            resume=resume,
            device=device,
            log=echo,
        )
    echo(f"{out}: ready for DefectGen.from_pretrained, or --generator defect-gen")


def _read(
    dataset: Any, wanted: Sequence[str], shots: int | None, good: int, shrink: float, seed: int
) -> tuple[list[Sample], Sequence[str], list[Sample]]:
    """Read what to learn from: defective samples, the names of their classes, and good samples.

    The shots are those that other commands draw when they are given as many in total.
    """
    import numpy as np

    from inout_aug.datasets import few_shot
    from inout_aug.datasets._items import ITEM_LAYOUT
    from inout_aug.labels import class_names, read_labels

    known = [name for name, label in class_names(dataset, ITEM_LAYOUT).items() if label]
    names = wanted or known
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"--classes: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    # class ids as the dataset has them -> the place in `names`; other classes are left out
    ids = np.zeros(256, np.uint8)
    for k, name in enumerate(names, start=1):
        ids[known.index(name) + 1] = k
    labels = read_labels(dataset, ITEM_LAYOUT, None)
    positions = np.flatnonzero((labels == 0) | (ids[labels] > 0))
    counts = np.bincount(labels[positions])[1:]
    total = int(counts.sum() if shots is None else np.minimum(counts, shots).sum())
    kept = positions[few_shot(labels[positions].tolist(), total, seed=seed)]
    defective, normal = kept[labels[kept] > 0], kept[labels[kept] == 0]
    spread = np.linspace(0, len(normal) - 1, min(good, len(normal))).astype(int)
    return (
        [_sample(dataset[index], ids, shrink) for index in defective.tolist()],
        names,
        [_sample(dataset[index], ids, shrink) for index in normal[spread].tolist()],
    )


def _sample(item: Item, ids: NDArray[np.uint8], shrink: float) -> Sample:
    from inout_aug.sample import Sample

    return shrunk(Sample(item["image"], ids[item["mask"]], item["label"]), shrink)


def _shots(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or not int(text):
        raise ValueError(f"--shots is a number from 1, or all; got {text!r}")
    return int(text)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
