"""An evaluation as a page that says how far to believe it, with pictures, and as JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from inout_aug._panels import Canvas
from inout_aug.evaluate.charts import memorisation_chart, shapes_chart
from inout_aug.evaluate.evaluation import Evaluation
from inout_aug.evaluate.fidelity import Fidelity, Interval
from inout_aug.evaluate.pairs import draw_pairs
from inout_aug.sample import Mask, Sample

PAGE, DATA = "evaluation.md", "evaluation.json"
_OURS = "<!-- written by inout-aug evaluate -->"
_SHEET, _PAIRS, _MEMORY, _MASKS = "samples.png", "nearest.png", "memorisation.png", "masks.png"
_REAL_SHOWN, _MADE_SHOWN = 12, 24
_HONEST = 0.95


def check_folder(folder: Path) -> None:
    """Make the folder for the report; what is in it stays, but for an earlier report.

    Raises:
        FileExistsError: It holds files of the report's names, but not by its hand.
        NotADirectoryError: There is a file of its name.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"the report is written to a folder; {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    taken = [name for name in (PAGE, DATA, _SHEET, _PAIRS, _MEMORY, _MASKS) if (folder / name).exists()]
    page = folder / PAGE
    if taken and not (page.is_file() and page.read_text(encoding="utf-8", errors="replace").startswith(_OURS)):
        raise FileExistsError(f"{folder} has a {taken[0]} that inout-aug evaluate did not write. Choose another folder")


def write_report(
    folder: str | os.PathLike[str],
    evaluation: Evaluation,
    synthetic: Sequence[Sample],
    *,
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    title: str = "Synthetic defects",
    notes: Mapping[str, str] | None = None,
) -> Path:
    """Write `evaluation.md`, `evaluation.json` and pictures, and return the page's path.

    Args:
        folder: Made if need be; an earlier report in it is replaced.
        evaluation: Of these samples.
        synthetic: As given to `evaluate`, like the others.
        training: Likewise.
        held_out: Likewise.
        title: Heading.
        notes: What else to say about how it was done, such as the command.

    Raises:
        FileExistsError: The folder holds files of the report's names, but not by its hand.
        ImportError: matplotlib is not installed.
    """
    from inout_aug.sheet import contact_sheet

    out = Path(folder)
    check_folder(out)
    # first the page, by which a later report knows the others as its own
    (out / PAGE).write_text("\n".join(_lines(evaluation, title, notes or {})) + "\n", encoding="utf-8")
    data = {"title": title, "notes": dict(notes or {}), **evaluation.to_json()}
    (out / DATA).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    shown = [*_spaced(held_out, _REAL_SHOWN), *_spaced(synthetic, _MADE_SHOWN)]
    _write(out / _SHEET, contact_sheet(shown, closeup=True, tile=160, title=title))
    _write(out / _PAIRS, draw_pairs(evaluation, synthetic, training=training, held_out=held_out))
    memorisation_chart(evaluation.memorisation).savefig(out / _MEMORY, dpi=110)
    if evaluation.shapes:
        real, made = (_masks(part) for part in ([*training, *held_out], synthetic))
        shapes_chart(real, made).savefig(out / _MASKS, dpi=110)
    return out / PAGE


def reading(evaluation: Evaluation) -> list[str]:
    """Return what the figures say, and what they do not, a sentence or two each."""
    found, real, memory = evaluation.fidelity, evaluation.fidelity_training, evaluation.memorisation
    apart = "can be told from" if found.kid_interval[0] > 0 else "are so few that KID does not tell them from"
    said = [f"KID {found.kid:.3g}, with 95 % in {_interval(found.kid_interval)}: the samples {apart} real images."]
    if real is not None:
        said[0] += f" Real training images have {real.kid:.3g}, in {_interval(real.kid_interval)}."
    said.append(
        f"{memory.share:.1%} of the samples are not nearer to a training image than all but 5 % of "
        f"{len(memory.real)} held-out real images are, with 95 % in {_interval(memory.share_interval, percent=True)}; "
        + (
            "as of honest samples."
            if memory.share_interval[1] >= _HONEST
            else "of honest samples 95 % would be: look at the pairs."
        )
    )
    spread, spread_real = evaluation.diversity, evaluation.diversity_real
    said.append(
        f"Two samples are {spread.pairwise / spread_real.pairwise:.0%} as far apart as two held-out real images; they "
        f"resemble {len(spread.clusters)} different training images most, {max(spread.clusters.values())} samples the "
        "same one."
    )
    if off := [shape.name for shape in evaluation.shapes if shape.ks > shape.ks_limit]:
        said.append(f"Masks differ from real ones in {', '.join(off)}: see which way in the table below.")
    elif evaluation.shapes:
        said.append("No number of the masks differs more from real ones than by chance.")
    return said


def _lines(evaluation: Evaluation, title: str, notes: Mapping[str, str]) -> list[str]:
    """Return the page."""
    found, real, lpips = evaluation.fidelity, evaluation.fidelity_training, evaluation.lpips
    lines = [_OURS, f"# {title}: fidelity, diversity, memorisation", ""]
    lines += [*(f"- {sentence}" for sentence in reading(evaluation)), "", f"![samples]({_SHEET})", ""]
    lines += ["Green: held-out real images. Orange: synthetic ones. Both evenly spaced, not chosen.", ""]
    lines += ["## Fidelity", "", *_table(["against held-out real images", "KID ± SD", "95 % of KID", "FID", "images"])]
    lines += [_fidelity_row("synthetic", found)]
    lines += [_fidelity_row("real training images", real)] if real is not None else []
    lines += [
        "",
        "KID is unbiased: it can be compared between sets of different sizes, and be negative by chance. Its standard "
        f"deviation is that of {found.subset_size} images drawn 100 times, its interval that of all images. FID is "
        "biased upwards, the more the fewer images: compare it only at equal numbers of them. Both depend on the "
        "feature network: neither compares with figures of another network, of papers among them.",
        "",
        "## Diversity",
        "",
        *_table(["mean distance of two images", "synthetic", "held-out real"]),
    ]
    a, b = evaluation.diversity, evaluation.diversity_real
    any_two = (f"{part.pairwise:.3f} ({_interval(part.pairwise_interval)})" for part in (a, b))
    lines += [f"| any two | {' | '.join(any_two)} |"]
    lines += [f"| with the same nearest training image | {_number(a.within_clusters)} | {_number(b.within_clusters)} |"]
    lines += [f"| different nearest training images | {len(a.clusters)} | {len(b.clusters)} |"]
    if lpips is not None and evaluation.lpips_real is not None:
        c = evaluation.lpips_real
        lines += [f"| LPIPS ({lpips.network}), any two | {_number(lpips.pairwise)} | {_number(c.pairwise)} |"]
        lines += [
            f"| LPIPS, same nearest training image | {_number(lpips.within_clusters)} | {_number(c.within_clusters)} |"
        ]
    else:
        lines += ["", "LPIPS: not measured, no weights of its network on this machine."]
    lines += [
        "",
        "## Memorisation",
        "",
        *_memory(evaluation),
        "",
        f"![distances]({_MEMORY})",
        "",
        f"![nearest]({_PAIRS})",
    ]
    lines += ["", "## Masks", ""]
    if evaluation.shapes:
        lines += _table(["", "real: 5 %, median, 95 %", "synthetic", "Kolmogorov-Smirnov", "by chance below"])
        for shape in evaluation.shapes:
            ends = (", ".join(f"{value:.3g}" for value in part) for part in (shape.real, shape.synthetic))
            mark = " **differs**" if shape.ks > shape.ks_limit else ""
            lines += [f"| {shape.name} | {' | '.join(ends)} | {shape.ks:.2f}{mark} | {shape.ks_limit:.2f} |"]
        lines += ["", f"![masks]({_MASKS})"]
    else:
        lines += ["Not measured: there are samples without masks."]
    return [*lines, "", "## What was done", "", *_done(evaluation, notes)]


def _memory(evaluation: Evaluation) -> list[str]:
    rows = _table(["compared with", "5th percentile", "samples not nearer", "95 %"])
    for memory in (evaluation.memorisation, evaluation.memorisation_strict):
        if memory is not None:
            of = "held-out images" if memory.reference == "held-out" else "training images, each to the others"
            span = _interval(memory.share_interval, percent=True)
            rows.append(f"| {len(memory.real)} {of} | {memory.threshold:.3f} | {memory.share:.1%} | {span} |")
    said = (
        "Distances are between pictures' features in 3 × 3 parts, to the nearest training image in any mirroring"
        " (and quarter turn, for squares). Near-duplicates among the real images make their percentile low and the test"
        " lenient: look at the pairs."
    )
    return [*rows, "", said]


def _done(evaluation: Evaluation, notes: Mapping[str, str]) -> list[str]:
    lines = [f"- {name}: {text}" for name, text in notes.items()]
    for name, classes in evaluation.classes.items():
        each = ", ".join(f"{count} of class {label}" for label, count in classes.items())
        lines.append(f"- {name}: {sum(classes.values())} images with a defect ({each})")
    if evaluation.crop is None:
        lines.append("- whole images were compared")
    else:
        lines.append(
            f"- crops of {evaluation.crop} × {evaluation.crop} pixels around the largest defect were compared, at the "
            "images' own resolution, by the same rule for real and synthetic images: what is outside does not count"
        )
    return lines


def _fidelity_row(name: str, found: Fidelity) -> str:
    cells = [f"{found.kid:.4g} ± {found.kid_std:.2g}", _interval(found.kid_interval), f"{found.fid:.4g}"]
    return f"| {name} | {' | '.join(cells)} | {found.images[1]} against {found.images[0]} |"


def _table(header: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]


def _interval(interval: Interval, *, percent: bool = False) -> str:
    low, high = (f"{end:.0%}" if percent else f"{end:.3g}" for end in interval)
    return f"{low} to {high}"


def _number(value: float | None) -> str:
    return "none" if value is None or math.isnan(value) else f"{value:.3f}"


def _spaced(samples: Sequence[Sample], most: int) -> list[Sample]:
    rows = np.linspace(0, len(samples) - 1, min(most, len(samples))).round().astype(int)
    return [samples[row] for row in rows.tolist()]


def _masks(samples: Sequence[Sample]) -> list[Mask]:
    return [sample.mask for sample in samples if sample.mask is not None]


def _write(path: Path, picture: Canvas) -> None:
    path.write_bytes(cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
