"""What a folder of runs says: the estimates of every arm, and what each gains over those without synthetic data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from evidence.intervals import Bootstrap, Estimate, Scored
from evidence.protocol import METHODS, Method, scenario
from evidence.runs import Run, Runs

Estimates: TypeAlias = dict[str, Estimate]


@dataclass(frozen=True, slots=True, order=True)
class Arm:
    """Runs that differ by their seed alone.

    Attributes:
        shots: Real defects; None for all.
        method: What the positives are.
        n_aug: Synthetic samples.
    """

    shots: int | None
    method: Method
    n_aug: int

    @property
    def name(self) -> str:
        """Short."""
        return f"{self.method} {self.n_aug}" if self.n_aug else self.method


class Findings:
    """Estimates of all arms of a folder, computed when asked for.

    Args:
        runs: The folder.

    Raises:
        FileNotFoundError: It holds no runs.
    """

    def __init__(self, runs: Runs) -> None:
        self.settings = runs.settings
        self.runs: list[Run] = list(runs)
        if not self.runs:
            raise FileNotFoundError(f"{runs.folder} holds no runs yet: make some with `run --out {runs.folder}`")
        self.kinds = [kind for _, kind, _ in self.settings["scored"]]
        self.labels = [label for _, _, label in self.settings["scored"]]
        self._scored: dict[Arm, dict[int, Sequence[float]]] = {}
        for run in self.runs:
            arm = Arm(run.cell.shots, run.cell.method, run.cell.n_aug)
            self._scored.setdefault(arm, {})[run.cell.seed] = run.logits

    @property
    def chance(self) -> float:
        """Average precision of scores that know nothing."""
        return statistics.fmean(self.labels)

    @property
    def shots(self) -> list[int | None]:
        """The scenarios, from zero to all shots."""
        return sorted({arm.shots for arm in self._scored}, key=lambda shots: math.inf if shots is None else shots)

    def arms(self, shots: int | None) -> list[Arm]:
        """Return the arms of a scenario in a fixed order."""
        found = [arm for arm in self._scored if arm.shots == shots]
        return sorted(found, key=lambda arm: (METHODS.index(arm.method), arm.n_aug))

    def seeds(self, arm: Arm) -> list[int]:
        """Return the seeds of an arm."""
        return sorted(self._scored[arm])

    @cached_property
    def estimates(self) -> dict[Arm, Estimates]:
        """Every metric of every arm."""
        return {arm: self._bootstrap.estimates(scored) for arm, scored in self._scored.items()}

    def gain(self, arm: Arm, baseline: Method) -> Estimates | None:
        """Return the differences to an arm without synthetic data; None if it was not run, or with no seed of these."""
        if arm.method == baseline:
            return None
        others = [Arm(arm.shots, baseline, arm.n_aug), Arm(arm.shots, baseline, 0)]
        there = next((self._scored[other] for other in others if other in self._scored), None)
        if there is None or not there.keys() & self._scored[arm].keys():
            return None
        return self._bootstrap.estimates(self._scored[arm], baseline=there)

    @cached_property
    def defects(self) -> list[str]:
        """Kinds of defects that were scored."""
        return sorted({kind for kind, label in zip(self.kinds, self.labels, strict=True) if label})

    def of_kind(self, arm: Arm, kind: str) -> Estimate:
        """Return the average precision of an arm where this kind is the only one to be found."""
        kept = [i for i, label in enumerate(self.labels) if not label or self.kinds[i] == kind]
        bootstrap = Bootstrap([self.labels[i] for i in kept])
        scored: Scored = {seed: [logits[i] for i in kept] for seed, logits in self._scored[arm].items()}
        return bootstrap.estimates(scored)["ap"]

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return Bootstrap(self.labels, self.kinds)


def title(shots: int | None) -> str:
    """Return a scenario in words."""
    words = {"zero": "Zero-shot: no real defects", "few1": "One real defect", "full": "All real defects"}
    return words.get(scenario(shots), f"{shots} real defects")
