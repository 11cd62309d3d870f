"""`inout-aug evaluate`: how good the samples of a cache are, by comparison with real defects."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Option, echo

from inout_aug.cli._data import Format, open_data
from inout_aug.cli._errors import one_line_errors
from inout_aug.cli._features import open_features
from inout_aug.cli.cache import Where
from inout_aug.sample import MIN_SIDE

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from inout_aug.cache.review import Review
    from inout_aug.datasets import Item
    from inout_aug.sample import Sample

_PARTS: tuple[Literal["train"], Literal["test"]] = ("train", "test")


def evaluate(
    where: Where,
    real: Annotated[Path | None, Option(help="Folder of real images; without it, procedural surfaces.")] = None,
    format: Annotated[Format | None, Option(help="How that folder is laid out.")] = None,  # noqa: A002
    category: Annotated[str | None, Option(help="Folder below REAL, for mvtec.")] = None,
    train_shots: Annotated[
        int | None, Option(min=1, help="Real defects in all that the generator learned from; default: all.")
    ] = None,
    seed: Annotated[int, Option(min=0, help="That chose these and the parts.")] = 0,
    features: Annotated[
        str | None, Option(help="SqueezeNet weights, a timm model, or both as NAME=FILE.", metavar="NETWORK")
    ] = None,
    crop: Annotated[
        str, Option(help="Compare whole images, or squares of N pixels around the defects.", metavar="auto|whole|N")
    ] = "auto",
    size: Annotated[str | None, Option(help="Resize all images first.", metavar="HxW")] = None,
    n: Annotated[int, Option("--n", "-n", min=4, help="Synthetic samples, at most; evenly spaced.")] = 500,
    out: Annotated[Path, Option(help="Folder for the report.")] = Path("evaluation"),
) -> None:
    """Measure fidelity, diversity, memorisation and masks; write a page with pictures, and JSON.

    The real defects of the training part are those that the generator learned from, the ones of the test part those
    that its samples should look like. Samples that were rejected in review do not count.
    """
    with one_line_errors():
        from inout_aug.cache.review import Review
        from inout_aug.evaluate import LPIPS, defective, write_report
        from inout_aug.evaluate import evaluate as measure
        from inout_aug.evaluate.report import check_folder, reading

        side, pixels, network = _crop(crop), _size(size), open_features(features)
        check_folder(out)
        review = Review(where)
        training, held_out = (
            defective(
                _real(open_data(real, format, part, category=category, shots=train_shots, seed=seed)), size=pixels
            )
            for part in _PARTS
        )
        drawn = _drawn(review, n)
        synthetic = defective(drawn, size=pixels)
        with _bar("looking", len(synthetic) + 2 * len(training) + len(held_out)) as tick:
            found = measure(
                synthetic,
                training=training,
                held_out=held_out,
                features=network,
                crop=side,
                lpips=LPIPS.available(),
                seed=seed,
                tick=tick,
            )
        data = real.resolve().name if real else "procedural surfaces"
        notes = {
            "cache": f"{review.cache.generator}, {len(review.cache)} samples, of which "
            f"{int((~review.accepted).sum())} were rejected in review; {len(drawn)} were read, of which "
            f"{len(drawn) - len(synthetic)} have an empty mask",
            "real images": f"{data}, parts by seed {seed}",
            "features": f"{Path(str(features)).name}, fingerprint {network.fingerprint[:12]}",
            "size": f"all resized to {size}" if size else "as they are",
        }
        page = write_report(
            out,
            found,
            synthetic,
            training=training,
            held_out=held_out,
            title=f"{review.cache.generator} against {data}",
            notes=notes,
        )
    for sentence in reading(found):
        echo(sentence)
    echo(page)


def _real(dataset: Dataset[Item]) -> list[Sample]:
    """Return the defective samples of a dataset."""
    import numpy as np

    from inout_aug.datasets._items import ITEM_LAYOUT
    from inout_aug.labels import read_labels

    labels = read_labels(dataset, ITEM_LAYOUT, None)
    return [ITEM_LAYOUT.unpack(dataset[index]) for index in np.flatnonzero(labels).tolist()]


def _drawn(review: Review, most: int) -> list[Sample]:
    """Return at most so many samples with a defect class that were not rejected, as decided."""
    import numpy as np

    from inout_aug.cache.review import relabelled

    fits = np.flatnonzero(review.accepted & (review.labels > 0))
    spaced = fits[np.linspace(0, len(fits) - 1, min(most, len(fits))).round().astype(int)]
    return [relabelled(review.cache[position], int(review.labels[position])) for position in spaced.tolist()]


def _crop(text: str) -> int | Literal["auto"] | None:
    if text == "auto":
        return "auto"
    if text == "whole":
        return None
    if not text.isdecimal() or int(text) < MIN_SIDE:
        raise ValueError(f"--crop is auto, whole, or a number of pixels, at least {MIN_SIDE}; got {text!r}")
    return int(text)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(map(int, found.groups())) < MIN_SIDE:
        raise ValueError(f"--size is HxW in pixels, such as 256x640, at least {MIN_SIDE} each; got {text!r}")
    return int(found[1]), int(found[2])


@contextmanager
def _bar(words: str, total: int) -> Iterator[Callable[[], object]]:
    """Draw a progress bar on stderr, and give what advances it."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(words, total=total)
        yield lambda: progress.advance(task)
