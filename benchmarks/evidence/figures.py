"""Precision, recall and average precision against the number of synthetic samples, as In&Out's Figures 6 and 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evidence.findings import Findings, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {
    "none": "#8c8c8c",
    "oversample": "#404040",
    "standard": "#7a5195",
    "memseg": "#c85a00",
    "stroke": "#d4a017",
    "pastes": "#8b4513",
    "copy": "#56b4e9",
    "ddpm": "#0072b2",
    "inout": "#00825a",
    "mix": "#cc79a7",
}
_PANELS = {
    "precision_at_half": "precision at 0.5",
    "recall_at_half": "recall at 0.5",
    "ap": "average precision",
}


def draw(findings: Findings, shots: int | None) -> Figure:
    """Draw the arms of a scenario: real data alone as lines with their 95 % bands, the others as points with theirs."""
    from matplotlib.figure import Figure

    arms = findings.arms(shots)
    painted = [arm for arm in arms if arm.n_aug]
    amounts = sorted({arm.n_aug for arm in painted}) or [0]
    methods = sorted({arm.method for arm in painted}, key=[arm.method for arm in arms].index)
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, 3), _PANELS.items(), strict=True):
        for arm in arms:
            found, colour = findings.estimates[arm][metric], _COLOURS[arm.method]
            if not arm.n_aug:
                axes.axhline(found.mean, color=colour, linewidth=1.4, linestyle="--", label=arm.method)
                axes.axhspan(found.low, found.high, color=colour, alpha=0.10, linewidth=0)
                continue
            # side by side, so that no interval hides another
            place = amounts.index(arm.n_aug) + 0.12 * (methods.index(arm.method) - (len(methods) - 1) / 2)
            axes.vlines(place, found.low, found.high, color=colour, linewidth=2)
            label_once = arm.method if arm.n_aug == amounts[0] else None
            axes.plot(place, found.mean, "o", color=colour, markersize=7, label=label_once)
        if metric == "ap":
            axes.axhline(findings.chance, color="black", linewidth=0.8, linestyle=":", label="chance")
        axes.set(xticks=range(len(amounts)), xticklabels=amounts, xlabel="synthetic samples", title=label)
        axes.set(ylim=(-0.02, 1.02), xlim=(-0.6, len(amounts) - 0.4))
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    figure.suptitle(
        f"{findings.settings['data']}. {title(shots)}; bars and bands: 95 % over seeds and images", fontsize=11
    )
    return figure
