"""Means over seeds with bootstrap intervals, and differences between arms that share seeds and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evidence.metrics import METRICS, Floats, measure
from inout_aug.seeding import stream

_RESAMPLES = 1000
_TAILS = (2.5, 97.5)

# the logits of every scored image, by seed
Scored: TypeAlias = Mapping[int, Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds, or of differences over seeds.

    Attributes:
        mean: Of the seeds' values on all images.
        deviation: Of these values (of the sample); NaN for a single seed.
        low: Of the 95 % interval.
        high: Likewise.
        p: Of a paired t-test of differences over seeds; NaN for a single seed, and for what is no difference.
    """

    mean: float
    deviation: float
    low: float
    high: float
    p: float = float("nan")


class Bootstrap:
    """Resamples of the scored images and of seeds, the same ones for all arms, so that differences are paired.

    Seeds vary the shots, the draws and the weights; images are what there happened to be to score. Both are drawn with
    replacement, images within their kind. Of very few seeds a bootstrap is too narrow, which is why differences have a
    t-test beside it.

    Args:
        labels: Of the scored images, 0 or 1.
        kinds: Of the scored images; default: the labels.
    """

    def __init__(self, labels: ArrayLike, kinds: Sequence[str] | None = None) -> None:
        self.labels = np.asarray(labels)
        groups = np.asarray(self.labels if kinds is None else kinds)
        self._weights = np.zeros((_RESAMPLES, len(groups)))
        for number, group in enumerate(np.unique(groups)):
            members = np.flatnonzero(groups == group)
            drawn = stream(0, number).multinomial(len(members), np.full(len(members), 1 / len(members)), _RESAMPLES)
            self._weights[:, members] = drawn

    def estimates(self, arm: Scored, *, baseline: Scored | None = None) -> dict[str, Estimate]:
        """Return every metric of an arm; with a baseline, the differences to it over the seeds that both have.

        Raises:
            ValueError: There are no such seeds.
        """
        seeds = sorted(arm.keys() & (arm if baseline is None else baseline).keys())
        if not seeds:
            raise ValueError("there are no seeds that both arms have")
        here, there = self._of(arm, seeds), None if baseline is None else self._of(baseline, seeds)
        picks = stream(1).integers(len(seeds), size=(_RESAMPLES, len(seeds)))
        found = {}
        for name in METRICS:
            exact, drawn = here[name]
            if there is not None:
                exact, drawn = exact - there[name][0], drawn - there[name][1]
            resampled = np.take_along_axis(drawn, picks.T, axis=0).mean(axis=0)
            low, high = np.percentile(resampled, _TAILS)
            found[name] = Estimate(
                mean=float(exact.mean()),
                deviation=float(exact.std(ddof=1)) if len(seeds) > 1 else float("nan"),
                low=float(low),
                high=float(high),
                p=float("nan") if there is None else _t_test(exact),
            )
        return found

    def _of(self, arm: Scored, seeds: Sequence[int]) -> dict[str, tuple[Floats, Floats]]:
        """Return of each metric the seeds' values, (seeds,), and those of the resamples, (seeds, resamples)."""
        exact = [measure(arm[seed], self.labels) for seed in seeds]
        drawn = [measure(arm[seed], self.labels, self._weights) for seed in seeds]
        return {
            name: (np.concatenate([one[name] for one in exact]), np.stack([one[name] for one in drawn]))
            for name in METRICS
        }


def _t_test(differences: Floats) -> float:
    """Return the two-sided p of the differences having mean zero."""
    from scipy.stats import ttest_1samp

    if len(differences) < 2:
        return float("nan")
    if not np.ptp(differences):  # where the statistic is not defined
        return 0.0 if differences[0] else 1.0
    return float(ttest_1samp(differences, 0.0).pvalue)
