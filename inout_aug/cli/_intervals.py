"""How far a mean of few measurements can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_POINTS = 20_001


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its interval of confidence.

    Attributes:
        mean: Of the values.
        low: Lower end; -inf for a single value.
        high: Upper end; inf for a single value.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isinf(self.low):
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def above_zero(self) -> bool:
        """Whether all of it is."""
        return self.low > 0


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean of values with its Student interval.

    Args:
        values: At least one.
        confidence: In (0, 1).

    Example:
        >>> str(interval([1.0, 2.0, 3.0]))
        '2.000 [-0.484, 4.484]'
    """
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, -math.inf, math.inf)
    half = student(len(values) - 1, confidence) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def student(freedom: int, confidence: float) -> float:
    """Return how far to either side of 0 a Student t variable lies with this probability.

    With t = sqrt(freedom) tan(a), the density of a is proportional to cos(a) ** (freedom - 1).
    """
    angles = np.linspace(0, math.pi / 2, _POINTS)
    density = np.cos(angles) ** (freedom - 1)
    reached = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(float(np.interp(confidence, reached / reached[-1], angles)))
