"""Scores over the ratio of synthetic to real samples: which ratio is best, how sure that is, and a picture of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inout_aug.cli._intervals import Interval, interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

_BLUE, _ORANGE = "#4878a8", "#d07020"


@dataclass(frozen=True, slots=True)
class Curve:
    """What trainings at several ratios scored; higher is better.

    Attributes:
        scores: By ratio, then by seed; all ratios have the same seeds.
    """

    scores: Mapping[float, Mapping[int, float]]

    @property
    def ratios(self) -> list[float]:
        """In order."""
        return sorted(self.scores)

    @property
    def best(self) -> float:
        """The ratio with the highest mean; of equal ones, the smallest."""
        return max(self.ratios, key=lambda ratio: self.at(ratio).mean)

    def at(self, ratio: float) -> Interval:
        """Return the mean score at a ratio, with its 95 % interval over seeds."""
        return interval(list(self.scores[ratio].values()))

    def gain(self, ratio: float, other: float = 0.0) -> Interval:
        """Return how much more a ratio scores than another one, seed by seed."""
        return interval([score - self.scores[other][seed] for seed, score in self.scores[ratio].items()])

    @property
    def as_good(self) -> list[float]:
        """The ratios that the seeds do not tell apart from the best one, itself among them."""
        return [ratio for ratio in self.ratios if ratio == self.best or not self.gain(self.best, ratio).above_zero]

    def reading(self) -> list[str]:
        """Return what the figures say, a sentence each."""
        seeds = len(self.scores[self.best])
        said = [f"Best ratio: {self.best:g}, score {self.at(self.best)} (95 % interval of {seeds} seeds)."]
        if seeds == 1:
            return [*said, "One seed does not tell a difference from noise: run three, or more."]
        rest = [f"{ratio:g}" for ratio in self.as_good if ratio != self.best]
        if rest:
            said.append(f"The seeds do not tell it apart from {', '.join(rest)}.")
        if 0.0 in self.scores and self.best:
            gain = self.gain(self.best)
            surely = "more" if gain.above_zero else "not surely more"
            said.append(
                f"That is {gain} over no synthetic data, {surely}; the best of {len(self.scores)} is a favourable pick."
            )
        return said


def draw_curve(curve: Curve, path: Path, *, title: str, score: str) -> None:
    """Draw the curve into a file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    draw_band(axes, curve, color=_BLUE)
    axes.set_title(title, fontsize=11)
    axes.set_ylabel(score)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def draw_band(axes: Axes, curve: Curve, *, color: str, label: str | None = None) -> None:
    """Draw means with their 95 % intervals as a band, every seed, and the best ratio, over evenly spaced ratios."""
    places = list(range(len(curve.ratios)))
    found = [curve.at(ratio) for ratio in curve.ratios]
    axes.plot(places, [each.mean for each in found], color=color, marker="o", label=label, zorder=3)
    if len(curve.scores[curve.best]) > 1:
        low, high = [each.low for each in found], [each.high for each in found]
        axes.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    dots = [(place, score) for place in places for score in curve.scores[curve.ratios[place]].values()]
    axes.scatter([x for x, _ in dots], [y for _, y in dots], s=10, color=color, alpha=0.6, zorder=2)
    best = curve.ratios.index(curve.best)
    axes.scatter([best], [found[best].mean], s=110, facecolors="none", edgecolors=_ORANGE, linewidths=2, zorder=4)
    axes.set_xticks(places, [f"{ratio:g}" for ratio in curve.ratios])
    axes.set_xlabel("synthetic positives per real sample\nring: best; band: 95 % interval of the mean; dots: seeds")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e0e0e0", zorder=0)


def rich_table(curve: Curve, title: str) -> Table:
    """Return the figures for the terminal."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for position, heading in enumerate(table_rows(curve)[0]):
        table.add_column(heading, justify="right" if position < 3 else "left")
    for row in table_rows(curve)[1:]:
        table.add_row(*row)
    return table


def table_rows(curve: Curve) -> Sequence[Sequence[str]]:
    """Return a header, and a row for each ratio."""
    against = 0.0 in curve.scores
    rows = [["ratio", "score [95 %]", "gain over 0 [95 %]", "seeds"]]
    for ratio in curve.ratios:
        gain = str(curve.gain(ratio)) if against and ratio else ""
        each = ", ".join(f"{score:.3f}" for _, score in sorted(curve.scores[ratio].items()))
        rows.append([f"{ratio:g}", str(curve.at(ratio)), gain, each])
    return rows
