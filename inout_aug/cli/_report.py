"""What the demo found, as a table, a chart, and a page that says how far to believe it."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from inout_aug._panels import Canvas
from inout_aug.cli._experiment import BATCH, Outcome, Protocol, apart, spread
from inout_aug.cli._pictures import Pictures
from inout_aug.injector import Summary

if TYPE_CHECKING:
    from rich.table import Table

PAGE, CHART = "report.md", "average_precision.png"
_OURS = "<!-- written by inout-aug demo -->"
_PACKAGES = ("inout-aug", "torch", "numpy", "opencv-python-headless", "torchmetrics", "matplotlib")
_GREY, _BLUE, _ORANGE = "#b0b0b0", "#4878a8", "#d07020"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All that goes into the report.

    Attributes:
        data: Name of the dataset.
        command: What gives the same figures again.
        train: Training images.
        test: Test images.
        protocol: What the arms have in common.
        outcomes: Of the arms, those of the plain training and of the control first.
        summaries: Of the wrapped training sets of the first seed, by arm.
        notes: What is to be known of the generators, a sentence each.
        sheets: Contact sheets, by generator.
        seconds: How long it took.
    """

    data: str
    command: str
    train: Pictures
    test: Pictures
    protocol: Protocol
    outcomes: Sequence[Outcome]
    summaries: Mapping[str, Summary]
    notes: Sequence[str]
    sheets: Mapping[str, Canvas]
    seconds: float

    @property
    def chance(self) -> float:
        """The average precision of a coin: the share of defective test images."""
        return self.test.positives / len(self.test)

    @property
    def scenario(self) -> str:
        """Zero-, few- or full-shot, and what that means here."""
        shots, available = self.protocol.shots, self.train.positives
        if not shots:
            return "zero-shot: no real defect in training"
        if shots == available:
            return f"full-shot: all {shots} real defects in training"
        return f"few-shot: {shots} of {available} real defects in training"


def sheet_name(generator: str) -> str:
    """Return the file name of a generator's contact sheet."""
    return f"sheet-{generator}.png"


def check_folder(folder: Path, generators: Sequence[str]) -> None:
    """Make the folder for the report; what is in it stays, but for an earlier report.

    Raises:
        FileExistsError: It holds files of the report's names that the demo did not write.
        NotADirectoryError: There is a file of its name.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"--out is a folder; {folder} is a file")
    folder.mkdir(parents=True, exist_ok=True)
    names = (PAGE, CHART, *map(sheet_name, generators))
    taken = [name for name in names if (folder / name).exists()]
    page = folder / PAGE
    if taken and not (page.is_file() and page.read_text(encoding="utf-8", errors="replace").startswith(_OURS)):
        raise FileExistsError(f"{folder} has a {taken[0]} that inout-aug demo did not write. Choose another --out")


def write_report(folder: Path, findings: Findings) -> Path:
    """Write the page, the chart and the contact sheets, and return the page's path."""
    page = folder / PAGE
    # first the page, by which a later demo knows the others as its own
    page.write_text("\n".join(_lines(findings)) + "\n", encoding="utf-8")
    draw_chart(findings, folder / CHART)
    for name, sheet in findings.sheets.items():
        (folder / sheet_name(name)).write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
    return page


def draw_chart(findings: Findings, path: Path) -> None:
    """Draw the average precision of each arm: mean, standard deviation and every seed, over the level of chance."""
    from matplotlib.figure import Figure

    outcomes = findings.outcomes
    figure = Figure(figsize=(2.2 + 1.5 * len(outcomes), 4.4), layout="constrained")
    axes = figure.add_subplot()
    for position, outcome in enumerate(outcomes):
        mean, deviation = spread(outcome.average_precision)
        colour = _ORANGE if outcome.arm.synthetic else _BLUE if outcome.trained else _GREY
        axes.bar(position, mean, width=0.62, color=colour, alpha=0.85 if outcome.trained else 0.5, zorder=2)
        top = mean
        if outcome.trained:
            values = outcome.average_precision
            top = max(*values, mean + (0 if math.isnan(deviation) else deviation))
            offsets = [0.34 * ((k + 0.5) / len(values) - 0.5) for k in range(len(values))]
            places = [position + offset for offset in offsets]
            axes.scatter(places, values, s=22, color="white", edgecolors="black", linewidths=0.9, zorder=4)
            if not math.isnan(deviation):
                axes.errorbar(position, mean, deviation, color="black", capsize=6, linewidth=1.3, zorder=3)
        text = f"{mean:.2f}" if outcome.trained else "chance:\nnothing to\ntrain on"
        axes.text(position, top + 0.025, text, ha="center", va="bottom", fontsize=10)
    axes.axhline(findings.chance, color="black", linestyle="--", linewidth=1, zorder=1)
    right = len(outcomes) - 0.5
    axes.text(right, findings.chance, f" chance {findings.chance:.2f}", va="center", ha="left", fontsize=9)
    axes.set_xlim(-0.5, right)
    axes.set_ylim(0, 1.08)
    axes.set_xticks(range(len(outcomes)), [o.arm.name.replace(" ", "\n", 1) for o in outcomes])
    axes.set_ylabel("average precision on the test images")
    seeds = len(findings.protocol.seeds)
    note = f"bar: mean of {seeds} seeds; line: ± 1 standard deviation; dots: seeds" if seeds > 1 else "one seed"
    axes.set_title(f"{findings.data}\n{findings.scenario}", fontsize=11)
    axes.set_xlabel(note, fontsize=8.5, color="#505050", labelpad=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e0e0e0", zorder=0)
    figure.savefig(path, dpi=130)


def rich_table(findings: Findings) -> Table:
    """Return the table for the terminal."""
    from rich.table import Table

    header, *rows = _rows(findings)
    table = Table(title=f"{findings.data}, {findings.scenario}", title_justify="left")
    for position, cell in enumerate(header):
        table.add_column(cell, justify="right" if position else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def reading(findings: Findings) -> list[str]:
    """Return what the figures say, and what they do not, a sentence or two each."""
    plain, control, *others = findings.outcomes
    if control.trained:
        said = [f"Oversampling alone: {_compared(control, plain)}"]
    else:
        said = [
            "This is zero-shot: without a real defect there are only synthetic ones to train on. The other arms stand "
            f"at chance, {findings.chance:.3f}, the share of defective images in the test part."
        ]
    # to be of use, a generator has to beat the better way without one
    rival = max(plain, control, key=lambda outcome: spread(outcome.average_precision)[0])
    said += [f"{other.arm.name[0].upper()}{other.arm.name[1:]}: {_compared(other, rival)}" for other in others]
    return [
        *said,
        f"Seeds show the noise of training, not that of having {findings.test.positives} defective test images. And a "
        "small network trained from scratch on small images shows a direction, not what yours will reach.",
    ]


def _compared(one: Outcome, other: Outcome) -> str:
    mean, mean2 = spread(one.average_precision)[0], spread(other.average_precision)[0]
    rival = f"{other.arm.name!r}" if other.trained else "chance"
    difference = f"AP {mean:.3f} against {mean2:.3f} of {rival} ({mean - mean2:+.3f})"
    seeds = len(one.scores)
    if seeds == 1:
        return f"{difference}. One seed does not tell a difference from noise: run three."
    if apart(one.average_precision, other.average_precision):
        return f"{difference}; the intervals of {seeds} seeds do not overlap."
    return f"{difference}: within noise, the intervals of {seeds} seeds overlap."


def _rows(findings: Findings) -> list[list[str]]:
    """Return the table: a header, and a row for each arm."""
    rows = [["training", "AP", "AUROC", f"AP of seed {', '.join(map(str, findings.protocol.seeds))}"]]
    for outcome in findings.outcomes:
        if outcome.trained:
            each = ", ".join(f"{value:.3f}" for value in outcome.average_precision)
            rows.append([outcome.arm.name, _pm(outcome.average_precision), _pm(outcome.auroc), each])
        else:
            rows.append([outcome.arm.name, f"{findings.chance:.3f}", "0.500", "chance"])
    return rows


def _pm(values: Sequence[float]) -> str:
    mean, deviation = spread(values)
    return f"{mean:.3f}" if math.isnan(deviation) else f"{mean:.3f} ± {deviation:.3f}"


def _lines(findings: Findings) -> list[str]:
    """Return the page."""
    protocol = findings.protocol
    header, *rows = _rows(findings)
    height, width = protocol.size
    normals = len(findings.train) - findings.train.positives
    seeds = ", ".join(map(str, protocol.seeds))
    lines = [
        _OURS,
        f"# Does it help? {findings.data}, {findings.scenario}",
        "",
        f"`{findings.command}`",
        "",
        f"![average precision]({CHART})",
        "",
        f"| {' | '.join(header)} |",
        f"| --- |{' ---: |' * (len(header) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
        f"AP: average precision on the test images; mean ± standard deviation over seeds {seeds}.",
        "",
        "## Reading",
        "",
        *(f"- {sentence}" for sentence in reading(findings)),
        "",
        "## What was done",
        "",
        f"- Training: {normals} normal images and {protocol.shots} of {findings.train.positives} defective ones, "
        f"chosen by seed. Test: {len(findings.test)} images, {findings.chance:.1%} of them defective, never trained on "
        "and never painted on.",
        f"- Images of at most {height} × {width} pixels, shrunk where they were larger, their proportions kept.",
        f"- The same small convolutional network in every arm, from scratch: {protocol.steps} steps of {BATCH} "
        "images, AdamW, random flips; the same settings for every dataset.",
        "- *No synthetic data*: the real images as they come. *Oversampled real*: half of every epoch are real "
        "defects, again and again (the control). *With* a generator: that half is real and synthetic, in the shares of "
        "`train.sampler(positives=0.5)`. *In&Out*: of all generators, half in- and half out-of-distribution.",
        *(f"- {note}" for note in findings.notes),
    ]
    for name, summary in findings.summaries.items():
        lines += ["", f"## Training set {name}", "", "```", str(summary), "```"]
    for name in findings.sheets:
        lines += ["", f"## {name}", "", f"![{name}]({sheet_name(name)})"]
    installed = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPU cores"
    return [*lines, "", f"{installed}; {machine}; {findings.seconds:.0f} s."]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed as a package)"
