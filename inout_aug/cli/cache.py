"""`inout-aug cache`: look at caches of generated samples, check them, and get samples in and out."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, Typer, confirm, echo

from inout_aug.cli._errors import one_line_errors
from inout_aug.cli.fill import fill

if TYPE_CHECKING:
    from inout_aug.cache.review import Review
    from inout_aug.sheet import Entry

# shapes that are listed one by one
_SHAPES = 6

app = Typer(help="Caches of generated samples.", no_args_is_help=True)
app.command()(fill)

Where = Annotated[str, Argument(help="Folder or URL of the cache.", metavar="CACHE")]


class ExportFormat(StrEnum):
    """What a cache is written as."""

    MVTEC = "mvtec"
    COCO = "coco"
    YOLO = "yolo"
    YOLO_SEG = "yolo-seg"
    PNG = "png"


@app.command()
def info(
    where: Annotated[
        list[str] | None, Argument(help="Default: all in the user's cache folder.", metavar="[CACHE]...")
    ] = None,
) -> None:
    """Say what caches hold: samples, classes, scores, how many the gates and reviewers rejected."""
    with one_line_errors():
        from inout_aug.cache import caches_in, user_cache_dir
        from inout_aug.cache.review import Review

        caches = where or [str(path) for path in caches_in(user_cache_dir())]
        if not caches:
            echo(f"no caches in {user_cache_dir()}")
        for number, cache in enumerate(caches):
            lines = _describe(Review(cache))
            echo(("\n" if number else "") + "\n".join(lines))


@app.command()
def verify(where: Where) -> None:
    """Check every byte; leave with exit code 1 if a file is damaged or samples are missing."""
    with one_line_errors():
        from inout_aug.cache import verify_cache

        findings = verify_cache(where)
    for finding in findings:
        echo(finding)
    if any(finding.kind in ("damaged", "missing") for finding in findings):
        raise Exit(1)
    echo(f"{where}: every byte is as written")


@app.command()
def repair(where: Where) -> None:
    """Set damaged files aside, so that the next fill makes them again; nothing is deleted."""
    with one_line_errors():
        from inout_aug.cache import set_aside, verify_cache

        findings = verify_cache(where)
        moved = set_aside(where, findings)
    for finding in findings:
        echo(finding)
    for name in moved:
        echo(f"set aside as {name}")
    if any(finding.kind in ("damaged", "missing") for finding in findings):
        echo("run the fill or the import again, with the same settings: it makes what is missing")
    else:
        echo(f"{where}: nothing to repair")


@app.command()
def prune(
    where: Annotated[list[str], Argument(help="Folders of the caches.", metavar="CACHE...")],
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove caches. Review decisions, what was set aside and files of your own stay."""
    with one_line_errors():
        from inout_aug.cache.prune import cache_files, prune_cache

        # all of them are looked at before the first is removed
        sizes = {cache: sum(cache_files(cache).values()) for cache in where}
        for cache, size in sizes.items():
            echo(f"{_bytes(size):>10}  {cache}")
        if not yes:
            confirm(f"remove {'these' if len(sizes) > 1 else 'this'}?", abort=True)
        for cache in sizes:
            pruned = prune_cache(cache)
            kept = f", kept {', '.join(pruned.kept)}" if pruned.kept else ""
            echo(f"removed {cache}: {_bytes(pruned.bytes)}{kept}")


@app.command()
def export(
    where: Where,
    out: Annotated[Path, Argument(help="A folder that does not exist, or is empty.")],
    format: Annotated[ExportFormat, Option(help="What to write.")] = ExportFormat.MVTEC,  # noqa: A002
    classes: Annotated[str, Option(help="Names of the defect classes 1, 2, …, divided by commas.")] = "",
    min_pixels: Annotated[int, Option(min=1, help="Smaller parts get no annotation, in COCO and YOLO.")] = 1,
) -> None:
    """Write the accepted samples as files for other tools."""
    with one_line_errors():
        from inout_aug.cache.export import export_cache

        count = export_cache(where, out, format.value, classes=_names(classes), min_pixels=min_pixels)
    echo(f"{out}: {count} samples as {format.value}")


@app.command(name="import")
def import_(
    folder: Annotated[Path, Argument(help="Images and masks that some other tool made.")],
    out: Annotated[str | None, Option(help="Cache to fill; default: one in the user's cache folder.")] = None,
    masks: Annotated[Path | None, Option(help="Folder of the masks, if it is not FOLDER/masks.")] = None,
    mask_suffix: Annotated[str, Option(help="What masks' names have after the images', such as _mask.")] = "",
    missing_normal: Annotated[bool, Option("--missing-normal", help="Images without a mask are good.")] = False,
    classes: Annotated[str, Option(help="Names of the class ids in the masks, divided by commas.")] = "",
    channels: Annotated[int | None, Option(help="1 makes all images grey, 3 colour.")] = None,
) -> None:
    """Fill a cache from a folder: MVTec AD's layout, images/ and masks/, or images and masks side by side."""
    with one_line_errors():
        from inout_aug.cache.importer import import_folder

        cache = import_folder(
            folder,
            out,
            masks=masks,
            mask_suffix=mask_suffix,
            missing_mask="normal" if missing_normal else "refuse",
            classes=_names(classes),
            channels=channels,
        )
    echo(f"{cache.folder.url}: {len(cache)} samples")


@app.command()
def sheet(
    where: Where,
    out: Annotated[Path, Option(help="Picture to write: .png, .jpg or .webp.")] = Path("cache.png"),
    n: Annotated[int, Option("--n", "-n", min=1, help="Samples, at most; evenly spaced.")] = 24,
    sort: Annotated[str | None, Option(help="Name of a score: the samples where it is lowest come first.")] = None,
    columns: Annotated[int | None, Option(min=1, help="Samples side by side.")] = None,
    tile: Annotated[int, Option(min=32, help="Root of a picture's area in pixels.")] = 256,
    closeup: Annotated[bool, Option("--closeup", help="Add the largest defect, magnified twice.")] = False,
) -> None:
    """Draw samples with their masks, prompts, scores and what reviewers decided."""
    with one_line_errors():
        from inout_aug.cache.review import Review
        from inout_aug.cli._output import check_picture, write_picture
        from inout_aug.sheet import contact_sheet

        check_picture(out)
        review = Review(where)
        entries = [_entry(review, position) for position in _chosen(review, n, sort)]
        title = f"{review.cache.generator}, {len(review.cache)} samples"
        write_picture(out, contact_sheet(entries, columns=columns, tile=tile, closeup=closeup, title=title))
    echo(f"{out}: {len(entries)} of {len(review.cache)} samples")


def _describe(review: Review) -> list[str]:
    """Return what there is to say about a cache, a line each."""
    cache = review.cache
    rows = [
        ("generator", f"{cache.generator}, fingerprint {cache.manifest.fingerprint[:12]}, seed {cache.manifest.seed}"),
        ("samples", f"{len(cache)} of {len(cache) + cache.missing}"),
        ("size", _bytes(sum(group.layout.sample_bytes * len(positions) for group, positions in cache.groups))),
    ]
    for group, positions in cache.groups[:_SHAPES]:
        rows.append(("shape", f"{group.layout.name}, {len(positions)} samples"))
    if len(cache.groups) > _SHAPES:
        rows.append(("shape", f"and {len(cache.groups) - _SHAPES} more"))
    for label, count in sorted(Counter(review.labels.tolist()).items()):
        rows.append(("class", f"{label or 'normal'}, {count} samples"))
    for name, values in zip(cache.score_names, cache.scores.T, strict=True):
        if len(values):
            rows.append(("score", f"{name}, {values.min():.4g} to {values.max():.4g}"))
    for gate, count in cache.rejections.items():
        rows.append(("gate", f"{gate}, {count} rejected"))
    if cache.rejections:
        rows.append(("yield", f"{cache.acceptance:.1%}"))
    if review.history:
        rejected = len(cache) - int(review.accepted.sum())
        moved = int((review.labels != cache.labels).sum())
        rows.append(("review", f"{len(review.history)} decisions, {rejected} rejected, {moved} relabelled"))
    return [cache.folder.url, *(f"  {name:<10} {text}" for name, text in rows)]


def _chosen(review: Review, count: int, sort: str | None) -> list[int]:
    """Return which positions to show."""
    import numpy as np

    cache = review.cache
    if not len(cache):
        raise ValueError(f"{cache.folder.url} has no samples yet")
    if sort is None:
        spaced: list[int] = np.linspace(0, len(cache) - 1, min(count, len(cache))).round().astype(int).tolist()
        return spaced
    if sort not in cache.score_names:
        raise ValueError(f"there is no score {sort!r}; there are {', '.join(cache.score_names) or 'none'}")
    lowest: list[int] = np.argsort(cache.scores[:, cache.score_names.index(sort)], kind="stable")[:count].tolist()
    return lowest


def _entry(review: Review, position: int) -> Entry:
    """Return a sample with its caption."""
    from inout_aug.cache.review import relabelled
    from inout_aug.sheet import Entry

    cache, label = review.cache, int(review.labels[position])
    sample = cache[position]
    params = sample.origin.params
    details = [str(text) for text in (params.get("prompt"), params.get("params", {}).get("path")) if text]
    details += [f"{name} {value:.3g}" for name, value in zip(cache.score_names, cache.scores[position], strict=True)]
    decided = "" if review.accepted[position] else ", rejected"
    if label != sample.label:
        decided += f", relabelled from {sample.label}"
    name = f"sample {cache.indices[position]}, {f'class {label}' if label else 'normal'}{decided}"
    return Entry(sample=relabelled(sample, label), name=name, details=", ".join(details))


def _names(text: str) -> list[str] | None:
    return [name.strip() for name in text.split(",")] if text else None


def _bytes(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"
