"""The losses of a training: JSON lines, which are the record, and a picture of them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

_SMOOTHED = 100  # points of the smoothed curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One optimisation step.

    Attributes:
        step: Its number, from 0.
        loss: Before the update, mean over all processes.
        gradient: Norm of the gradient before clipping.
        learning_rate: Of the update.
    """

    step: int
    loss: float
    gradient: float
    learning_rate: float

    @property
    def finite(self) -> bool:
        """Whether the update could be made."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient)


class LossLog:
    """Losses as JSON lines, `{"step": 0, "loss": 0.7, "gradient": 3.1, "learning_rate": 0.0001}`.

    Args:
        path: File to append to.
        steps: Number of steps already taken; what the file has beyond is cut off, a line torn by a crash too.
    """

    def __init__(self, path: Path, steps: int) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [step for step in read_losses(path) if step.step < steps] if path.exists() else []
        whole = path.with_suffix(".new")
        whole.write_text("".join(_line(step) for step in kept), encoding="utf-8")
        os.replace(whole, path)

    def append(self, steps: Iterable[Step]) -> None:
        """Write steps to the disk."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(_line(step) for step in steps)
            file.flush()
            os.fsync(file.fileno())


def read_losses(path: Path) -> list[Step]:
    """Return the steps of a file up to the first line that was not written to its end."""
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            steps.append(Step(**json.loads(line)))
        except (TypeError, ValueError):
            break
    return steps


def plot_losses(path: Path, picture: Path) -> bool:
    """Draw the curve of a file of losses, each step and smoothed; return whether matplotlib was there to do it."""
    if find_spec("matplotlib") is None:
        return False
    # the object-oriented interface, which leaves the user's pyplot state and back end alone
    from matplotlib.figure import Figure

    steps = read_losses(path)
    losses = [step.loss for step in steps]
    window = max(1, len(losses) // _SMOOTHED)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(losses, linewidth=0.5, alpha=0.3)
    starts = range(0, len(losses), window)
    means = [sum(losses[start : start + window]) / len(losses[start : start + window]) for start in starts]
    axes.plot([start + window / 2 for start in starts], means)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(picture)
    return True


def _line(step: Step) -> str:
    return json.dumps(asdict(step)) + "\n"
