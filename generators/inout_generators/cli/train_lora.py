"""`inout-aug train lora`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option, echo

from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._options import parse_size
from inout_generators.cli._lessons import (
    Category,
    Classes,
    Data,
    Device,
    Layout,
    Lessons,
    Material,
    Precision,
    Resume,
    Seed,
    choose_lessons,
    given,
    parse_shots,
)

if TYPE_CHECKING:
    from inout_generators.lora.data import Instance

_NORMALS = 1  # beside the seed, in the key of their draw


def lora(
    base: Annotated[str, Option(help="Stable Diffusion: a folder, a .safetensors file, or owner/name on the Hub.")],
    out: Annotated[Path, Option(help="Folder for the generator; LoRADiffusion.from_pretrained reads it.")],
    scenario: Annotated[str, Option(help="zero, few, full, or a TOML file of your own.")] = "few",
    data: Data = None,
    format: Layout = None,  # noqa: A002
    category: Category = None,
    material: Material = None,
    classes: Classes = "",
    shots: Annotated[
        str | None, Option(help="Defective images per class, a number or all, instead of the scenario's.")
    ] = None,
    normals: Annotated[int | None, Option(min=0, help="Normal images, instead of the scenario's.")] = None,
    caption: Annotated[
        list[str] | None,
        Option(help="Of all images, or of a class as crack=TEXT, normal ones being good=TEXT; may be repeated."),
    ] = None,
    captions_beside: Annotated[
        bool, Option("--captions-beside", help="Captions are in text files beside the images, 7.txt beside 7.png.")
    ] = False,
    prompts: Annotated[
        Path | None, Option(help="Prompt set to draw with; default: the scenario's, else the defects' captions.")
    ] = None,
    size: Annotated[
        str | None, Option(help="Height x width to train and draw at; default: by the images' proportions.")
    ] = None,
    prior: Annotated[Path | None, Option(help="Folder of prior images; default: the base draws them first.")] = None,
    prior_images: Annotated[int | None, Option(min=0, help="How many it draws, instead of the scenario's.")] = None,
    epochs: Annotated[int | None, Option(min=1, help="Instead of the scenario's.")] = None,
    batch: Annotated[int | None, Option(min=1, help="Images per step, instead of the scenario's.")] = None,
    learning_rate: Annotated[float | None, Option(help="Instead of the scenario's.")] = None,
    precision: Precision = None,
    alpha: Annotated[float | None, Option(help="Merge weight afterwards, instead of the scenario's.")] = None,
    revision: Annotated[str | None, Option(help="Of a base on the Hub.")] = None,
    variant: Annotated[str | None, Option(help="Of the base's files, such as fp16.")] = None,
    config: Annotated[str | None, Option(help="Settings and tokenizer of a base in a single file: a folder.")] = None,
    seed: Seed = 0,
    resume: Resume = False,
    device: Device = None,
) -> None:
    """Teach Stable Diffusion your product: DreamBooth with LoRA-c3Lier, as In&Out does.

    On several GPUs: accelerate launch $(which inout-aug) train lora ...
    """
    with one_line_errors():
        from inout_generators.lora.recipe import load_recipe
        from inout_generators.lora.train import train_lora

        replaced = given(epochs=epochs, batch=batch, alpha=alpha, prior_images=prior_images, normals=normals)
        if shots is not None:
            replaced["positives"] = parse_shots(shots)
        recipe = load_recipe(scenario, replaced, given(learning_rate=learning_rate, precision=precision))
        lessons = choose_lessons(
            data,
            format,
            category=category,
            material=material,
            classes=classes,
            shots=recipe.positives,
            seed=seed,
        )
        train_lora(
            _instances(lessons, recipe.normals, caption or [recipe.caption], captions_beside, seed),
            recipe,
            base,
            out,
            prompts=prompts,
            size=None if size is None else parse_size(size),
            prior=prior,
            revision=revision,
            variant=variant,
            config=config,
            seed=seed,
            resume=resume,
            device=device,
            log=echo,
        )
    echo(f"{out}: ready for LoRADiffusion.from_pretrained, or --generator lora")


def _instances(lessons: Lessons, normals: int, caption: list[str], beside: bool, seed: int) -> Sequence[Instance]:
    """Read the images to learn from, and their captions."""
    import numpy as np

    from inout_aug.seeding import stream
    from inout_generators.lora.captions import captions_beside, captions_by_class
    from inout_generators.lora.data import Instance

    drawn = stream(seed, _NORMALS).permutation(lessons.normal)[:normals]
    positions = np.concatenate([lessons.defective, np.sort(drawn)])
    samples = lessons.read(positions)
    names = [lessons.classes[sample.label - 1] if sample.label else None for sample in samples]
    if beside:
        captions = captions_beside([Path(lessons.dataset[index]["path"]) for index in positions.tolist()])
    else:
        captions = captions_by_class(_captions(caption, lessons.classes), names)
    return [Instance(*each) for each in zip((sample.image for sample in samples), captions, names, strict=True)]


def _captions(texts: list[str], classes: Sequence[str]) -> str | dict[str, str]:
    """Read captions: one for all, or one for each class."""
    from inout_generators.lora.captions import NORMAL

    if len(texts) == 1 and texts[0].partition("=")[0] not in (*classes, NORMAL):
        return texts[0]
    named = {}
    for text in texts:
        name, sign, words = text.partition("=")
        if not sign or name not in (*classes, NORMAL):
            raise ValueError(f"--caption is TEXT once, or CLASS=TEXT for {', '.join((*classes, NORMAL))}; got {text!r}")
        named[name] = words
    return named
