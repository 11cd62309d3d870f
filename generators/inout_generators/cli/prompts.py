"""`inout-aug prompts`: find the words that make the defects you mean, with your own eyes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option, Typer, echo

from inout_aug.cli._data import Format
from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._features import open_features
from inout_aug.cli._normals import open_normals
from inout_aug.cli._options import parse_settings, parse_size

app = Typer(help="Find the words that make the defects you mean.", no_args_is_help=True)

_OUT = Path("prompts")


@app.command("try")
def try_(
    base: Annotated[str, Option(help="Stable Diffusion: a folder, file or hub id; or a folder that was trained.")],
    prompts: Annotated[Path, Option(help="TOML: a [[prompt]] with text, defect_class and weight for each.")],
    out: Annotated[Path, Option(help="Folder for samples, scores and the picture of all.")] = _OUT,
    lora: Annotated[Path | None, Option(help="File or folder of a LoRA.")] = None,
    alpha: Annotated[float | None, Option(help="Merge weight of the LoRA, 0 to 1.")] = None,
    setting: Annotated[
        list[str] | None, Option(help="Of the generator, as name=value, such as steps=30; may be repeated.")
    ] = None,
    n: Annotated[int, Option("-n", min=1, help="Samples of each prompt; all prompts have the same seeds.")] = 4,
    data: Annotated[Path | None, Option(help="Folder of normal images: to compare with, and to inpaint.")] = None,
    format: Annotated[Format | None, Option(help="How that folder is laid out.")] = None,  # noqa: A002
    category: Annotated[str | None, Option(help="Folder below DATA, for mvtec.")] = None,
    shrink: Annotated[float, Option(min=1, help="Shrink them by this factor first.")] = 1.0,
    inpaint: Annotated[bool, Option("--inpaint", help="Put the defects into these normal images.")] = False,
    size: Annotated[str | None, Option(help="Height x width of whole images; default: as the normal ones.")] = None,
    features: Annotated[
        str | None, Option(help="For scores: SqueezeNet weights, a timm model, or NAME=FILE.", metavar="NETWORK")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Of the samples.")] = 0,
    batch_size: Annotated[int, Option(min=1, help="Samples drawn at a time.")] = 4,
) -> None:
    """Draw a few samples of each prompt, score them, and put them side by side.

    Stop it and run it again at will, with other prompts too: what was drawn is not drawn again. Then look, and keep
    what is good with `inout-aug prompts accept`.
    """
    with one_line_errors():
        from inout_aug.cli._members import fill
        from inout_generators.cli._trials import SHEET, folder_of, score, write_trials
        from inout_generators.lora.prompts import as_prompts, classes_of

        tried = as_prompts(prompts)
        if len({prompt.text for prompt in tried}) < len(tried) or not tried:
            raise ValueError(f"{prompts} has no prompt, or one of them twice")
        network = None if features is None else open_features(features)
        normals = None if data is None and format is None else open_normals(data, format, category, shrink, seed)
        shape = (*parse_size(size), 3) if size else normals[0].image.shape if normals else None
        model = _generator(base, inpaint, lora=lora, alpha=alpha, **parse_settings(setting or []))
        caches = [
            fill(
                model,
                out / folder_of(prompt),
                n,
                hosts=normals,
                shape=None if inpaint else shape,
                classes=[classes_of(tried).index(prompt.defect_class) + 1],
                seed=seed,
                conditions=[{"prompt": prompt.text}],
                batch_size=batch_size,
            )
            for prompt in tried
        ]
        trials, usual = score(tried, caches, features=network, normals=normals)
        write_trials(out, trials, caches, usual)
    for number, trial in enumerate(trials, start=1):
        echo(f"{number}. {trial.text} ({trial.defect_class}){': ' if trial.scores else ''}{trial.scores}")
    if usual is not None:
        echo(f"Normal images are {usual:.3f} from the nearest other one.")
    echo(f"Look at {out / SHEET}. Keep the good ones by their numbers: inout-aug prompts accept 1 3 --out {out}")


@app.command()
def accept(
    numbers: Annotated[list[int] | None, Argument(help="Of the prompts, as in the picture; default: all.")] = None,
    out: Annotated[Path, Option(help="Folder where they were tried.")] = _OUT,
    max_distance: Annotated[float | None, Option(help="Keep those no farther from normal images.")] = None,
    min_diversity: Annotated[float | None, Option(help="Keep those whose samples differ at least so much.")] = None,
    to: Annotated[Path | None, Option(help="Prompt set to write; default: accepted.toml in OUT.")] = None,
) -> None:
    """Write the prompts that were good to a prompt set, which `cache fill` takes."""
    with one_line_errors():
        from inout_generators.cli._trials import choose, read_trials
        from inout_generators.lora.prompts import write_prompts

        kept = choose(read_trials(out), numbers or [], max_distance=max_distance, min_diversity=min_diversity)
        where = to or out / "accepted.toml"
        write_prompts(where, kept)
    echo(f"{where}: {len(kept)} prompts. Use them: inout-aug cache fill CACHE --setting prompts={where} ...")


def _generator(base: str, inpaint: bool, **settings: Any) -> Any:
    """Return a generator whose prompts come with the requests, so that its samples are the same for any set of them."""
    from inout_generators.lora.generator import LoRADiffusion
    from inout_generators.lora.inpaint import LoRAInpaint

    if "prompts" in settings:
        raise ValueError("prompts are given as --prompts")
    kind = LoRAInpaint if inpaint else LoRADiffusion
    given = {name: value for name, value in settings.items() if value is not None}
    return kind.from_pretrained(base, prompts=(), **given)
