"""Tables and curves of what was measured, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inout_aug.cli._curve import Curve, draw_band
from inout_aug.cli._intervals import interval
from inout_aug.cli._record import Record
from segmenting.arms import Arm, Section
from segmenting.scores import METRICS

Row = Mapping[str, Any]

_COLOURS = {"unet": "#4878a8", "deeplabv3plus": "#5a9a5a", "mit_b0": "#8a5aa0"}
_CURVES = ("miou", "ap")


def key_of(network: str, arm: Arm, seed: int) -> dict[str, Any]:
    """Return what a measurement is found by."""
    return {
        "network": network,
        "shots": arm.shots,
        "ratio": arm.ratio,
        "uniform": arm.uniform,
        "normals": arm.normals,
        "seed": seed,
    }


def rows_of(record: Record, network: str, arm: Arm) -> dict[int, Row]:
    """Return the measurements of an arm, by seed."""
    key = key_of(network, arm, 0)
    del key["seed"]
    return {row["seed"]: row for row in record.select(**key)}


def page(record: Record, sections: Mapping[str, Section], chart: str | None) -> list[str]:
    """Return the report as lines of markdown."""
    settings = record.settings
    counts, recipe = settings["counts"], settings["recipe"]
    lines = [
        f"# Does it help to outline defects? {settings['name']}",
        "",
        f"Training: {counts['training']} images, {counts['training_defects']} with defects. Scored: "
        f"{counts['scored']}, {counts['scored_defects']} with defects; "
        f"{counts['left_out']} more look like training images and were left "
        f"out. All are of {' × '.join(map(str, settings['size']))} pixels. Synthetic defects: "
        f"{', '.join(settings['generators'])}. Every training: {recipe['steps']} steps of {recipe['batch']} crops of "
        f"{recipe['crop']} pixels, AdamW, cross entropy and Dice.",
        "",
        "In percent. ±: half of the 95 % Student interval of the mean over seeds, which vary the real defects, the "
        "draws and the weights. Gain: over the first row, seed by seed, with its interval. mIoU: mean over the kinds "
        "of defects of the IoU on the images of a kind; the other scores are of the pixels of all images, normal ones "
        "too. Threshold: probability 0.5, unless said.",
    ]
    if chart is not None:
        lines += ["", f"![curves]({chart})"]
    for section in sections.values():
        for network in settings_networks(record):
            lines += _table(record, section, network)
    lines += ["", *_kinds(record, sections)]
    return lines


def settings_networks(record: Record) -> list[str]:
    """Return the networks that were trained, in the order of the first."""
    return list(dict.fromkeys(row["network"] for row in record.rows))


def draw_curves(record: Record, section: Section, path: Path) -> bool:
    """Draw scores over the ratio, a panel for each score and a band for each network; False if there is nothing yet."""
    curves = {
        (network, metric): curve
        for network in settings_networks(record)
        for metric in _CURVES
        if (curve := _curve(record, section, network, metric)) is not None
    }
    if not curves:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(_CURVES)), _CURVES, strict=True):
        for (network, name), curve in curves.items():
            if name == metric:
                draw_band(axes, curve, color=_COLOURS[network], label=network)
        axes.set_title(METRICS[metric])
        axes.legend(frameon=False)
    figure.suptitle(f"{record.settings['name']}: {section.title}")
    figure.savefig(path, dpi=120)
    return True


def _curve(record: Record, section: Section, network: str, metric: str) -> Curve | None:
    """Return the scores by ratio, of the seeds that all ratios have."""
    found = {arm.ratio: rows_of(record, network, arm) for arm in section.arms.values()}
    seeds = set.intersection(*(set(rows) for rows in found.values()))
    if not seeds:
        return None
    return Curve(
        {ratio: {seed: rows[seed]["scores"][metric] for seed in sorted(seeds)} for ratio, rows in found.items()}
    )


def _table(record: Record, section: Section, network: str) -> list[str]:
    found = {name: rows_of(record, network, arm) for name, arm in section.arms.items()}
    found = {name: rows for name, rows in found.items() if rows}
    if len(found) < 2:
        return []
    baseline = next(iter(found.values()))
    header = ["", *METRICS.values(), "mIoU gain", "AP gain", "real + synthetic + normal", "seeds"]
    lines = ["", f"## {section.title}: {network}", "", section.source + ".", ""]
    lines += [f"| {' | '.join(header)} |", f"| --- |{' ---: |' * (len(header) - 1)}"]
    for name, rows in found.items():
        cells = [name, *(_percent(rows, metric) for metric in METRICS)]
        cells += ["" if rows is baseline else _gain(rows, baseline, metric) for metric in ("miou", "ap")]
        counts = next(iter(rows.values()))["counts"]
        cells += [f"{counts['real']} + {counts['synthetic']} + {counts['normal']}", str(len(rows))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _kinds(record: Record, sections: Mapping[str, Section]) -> list[str]:
    """Return the IoU by kind of defect, where there are several kinds."""
    kinds = sorted({kind for row in record.rows for kind in row["kinds"]})
    if len(kinds) < 2:
        return []
    lines = ["## IoU by kind of defect", "", f"| network | training | {' | '.join(kinds)} |"]
    lines += [f"| --- | --- |{' ---: |' * len(kinds)}"]
    arms = {arm: arm.name for section in sections.values() for arm in section.arms.values() if arm.normals == 1.0}
    for network in settings_networks(record):
        for arm, name in arms.items():
            if rows := rows_of(record, network, arm):
                cells = [_share([row["kinds"][kind]["iou"] for row in rows.values()]) for kind in kinds]
                lines.append(f"| {network} | {name} | {' | '.join(cells)} |")
    return lines


def _percent(rows: Mapping[int, Row], metric: str) -> str:
    return _share([row["scores"][metric] for row in rows.values()])


def _share(values: Sequence[float]) -> str:
    found = interval([100 * value for value in values])
    return f"{found.mean:.1f}" if len(values) == 1 else f"{found.mean:.1f} ± {found.high - found.mean:.1f}"


def _gain(rows: Mapping[int, Row], baseline: Mapping[int, Row], metric: str) -> str:
    seeds = rows.keys() & baseline.keys()
    if not seeds:
        return ""
    found = interval([100 * (rows[seed]["scores"][metric] - baseline[seed]["scores"][metric]) for seed in seeds])
    return f"{found.mean:+.1f}" if len(seeds) == 1 else f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"
