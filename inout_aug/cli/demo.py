"""`inout-aug demo`: does it help on these images? The same training with and without synthetic defects, in minutes."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Context, Option, echo

from inout_aug.cli._data import MATERIAL, Format, open_product
from inout_aug.cli._errors import one_line_errors

if TYPE_CHECKING:
    from rich.progress import Progress

    from inout_aug.cli._pictures import Pictures

_FEW = 5
_CACHED = 64  # in-distribution samples, for all seeds
# minutes either way: procedural defects are plain, but more ways to train are compared there
_STEPS, _STEPS_PROCEDURAL = 800, 300


def demo(
    context: Context,
    data: Annotated[Path | None, Option(help="Folder of your images; without it, procedural surfaces.")] = None,
    format: Annotated[Format | None, Option(help="How that folder is laid out.")] = None,  # noqa: A002
    category: Annotated[str | None, Option(help="Folder below DATA, for mvtec.")] = None,
    material: Annotated[str | None, Option(help="Of the procedural surfaces: metal (default), cast or fabric.")] = None,
    shots: Annotated[str | None, Option(help=f"Real defects to train with: 0, {_FEW} (default), ... or all.")] = None,
    generator: Annotated[
        list[str] | None,
        Option(help="memseg, cutpaste, nsa, stroke, defect-gen, or one of an installed package; may be repeated."),
    ] = None,
    textures: Annotated[Path | None, Option(help="Folder of texture pictures, for memseg.")] = None,
    checkpoint: Annotated[Path | None, Option(help="What inout-aug train defect-gen made, for defect-gen.")] = None,
    seeds: Annotated[int, Option(min=1, help="Trainings of each kind.")] = 3,
    steps: Annotated[
        int | None, Option(min=2, help=f"Batches of a training: {_STEPS} on DATA, else {_STEPS_PROCEDURAL}.")
    ] = None,
    pixels: Annotated[int, Option(min=1024, help="Most pixels of an image; a larger one is shrunk.")] = 128 * 128,
    out: Annotated[Path, Option(help="Folder for the report.")] = Path("inout-demo"),
    seed: Annotated[int, Option(min=0, help="First of the seeds.")] = 0,
) -> None:
    """Train a small network without synthetic defects, with real ones oversampled, and with synthetic ones.

    Prints how well each finds the defects of untouched test images, and writes a report with a chart and contact
    sheets.
    """
    began = time.perf_counter()
    with one_line_errors():
        _require("matplotlib", "torchmetrics")
        from rich.console import Console

        from inout_aug.cache import CachedSampler
        from inout_aug.cli._experiment import Protocol, make_arms, run, wrap
        from inout_aug.cli._members import about, create_members, fill
        from inout_aug.cli._pictures import Pictures, common_size, extent
        from inout_aug.cli._report import Findings, check_folder, reading, rich_table, write_report
        from inout_aug.plugin import Paster, SampleSource
        from inout_aug.sample import Sample
        from inout_aug.sheet import paste_sheet

        name, train_part, test_part = _open(data, format, category, material, seed)
        learned = checkpoint is not None or (data is None and material in (None, MATERIAL))
        chosen = generator or (["memseg", "defect-gen"] if learned else ["memseg"])
        members = create_members(chosen, {"textures": textures, "checkpoint": checkpoint})
        check_folder(out, list(members))
        with _progress() as progress:
            size = common_size(train_part, pixels)
            train = Pictures(train_part, size, _bar(progress, "reading training images", len(train_part)))
            test = Pictures(test_part, size, _bar(progress, "reading test images", len(test_part)))
            wanted = _shots(shots, train, test)
            steps = steps or (_STEPS_PROCEDURAL if data is None else _STEPS)
            protocol = Protocol(shots=wanted, seeds=range(seed, seed + seeds), steps=steps, size=extent(train, test))
        normals = [Sample(item["image"]) for item in train.items if not item["label"]]
        ready: dict[str, Paster | SampleSource] = {}
        notes = []
        for k, each in members.items():
            if isinstance(each, Paster | SampleSource):
                ready[k] = each
            else:
                ready[k] = CachedSampler(fill(each, None, _CACHED, hosts=normals, seed=seed), repeat=True)
                notes.append(f"*{k}*: {_CACHED} samples, cached once for all seeds. {about(each)}")
        with _progress() as progress:
            sheets = {k: paste_sheet(train, each, n=12, seed=seed, title=f"{k} on {name}") for k, each in ready.items()}
            arms = make_arms(ready)
            bars = {arm.name: _bar(progress, arm.name, seeds * protocol.steps) for arm in arms if arm.learns(wanted)}
            outcomes = run(arms, train, test, protocol, lambda arm: bars[arm.name]())
        summaries = {}
        for arm in arms[2:]:
            echo(f"Training set {arm.name}, seed {seed}:")
            summaries[arm.name] = wrap(train, arm.members, wanted, seed).summary()
            echo()
        findings = Findings(
            data=name,
            command=_command(context),
            train=train,
            test=test,
            protocol=protocol,
            outcomes=outcomes,
            summaries=summaries,
            notes=notes,
            sheets=sheets,
            seconds=time.perf_counter() - began,
        )
        page = write_report(out, findings)
        Console().print(rich_table(findings))
    for sentence in reading(findings):
        echo(f"- {sentence}")
    echo(f"Report: {page}")


def _require(*packages: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ImportError(f"the demo needs {' and '.join(missing)}: pip install 'inout-aug[demo]'")


def _open(
    data: Path | None, layout: Format | None, category: str | None, material: str | None, seed: int
) -> tuple[str, Any, Any]:
    """Return the name of the data, its training part and its test part."""
    train, test = (
        open_product(data, layout, part, category=category, material=material, seed=seed) for part in ("train", "test")
    )
    name = data.resolve().name if data else f"procedural {material or MATERIAL} surfaces"
    return f"{name}/{category}" if category else name, train, test


def _shots(text: str | None, train: Pictures, test: Pictures) -> int:
    """Return how many real defects to train with.

    Raises:
        ValueError: `text` is no such number, or a part lacks what training or scoring needs.
    """
    for name, part in (("training", train), ("test", test)):
        if part.positives == len(part):
            raise ValueError(f"all {len(part)} {name} images are defective: the demo needs normal ones too")
    if not test.positives:
        raise ValueError(f"none of the {len(test)} test images is defective: there is nothing to find")
    if text is None:
        return min(_FEW, train.positives)
    if text == "all":
        return train.positives
    if not text.isdecimal() or int(text) > train.positives:
        raise ValueError(
            f"--shots is a number from 0 to {train.positives}, the real defects there are, or all; got {text}"
        )
    return int(text)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    return Progress(
        *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    )


def _bar(progress: Progress, name: str, total: int) -> Callable[[], None]:
    """Add a bar, and return what moves it on by one."""
    task = progress.add_task(name, total=total)
    return lambda: progress.advance(task)


def _command(context: Context) -> str:
    """Return the command with the values of its options, given or default."""
    words = ["inout-aug", "demo"]
    for name, value in context.params.items():
        # what is not given is None, or nothing in a tuple where it may be repeated
        for each in value if isinstance(value, list | tuple) else [value]:
            words += [] if each is None else [f"--{name}", str(each)]
    return shlex.join(words)
