"""Constructor options that the pasters share: checks, draws from ranges, and how they are shown."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_range(name: str, value: float | Sequence[float], *, low: float, high: float) -> tuple[float, float]:
    """Return a number as (value, value) and a pair as it is.

    Raises:
        ValueError: Not one or two numbers in ascending order in [low, high].

    Example:
        >>> as_range("opacity", 0.5, low=0, high=1)
        (0.5, 0.5)
    """
    pair = (value, value) if isinstance(value, int | float | np.number) else tuple(value)
    if len(pair) != 2 or not all(math.isfinite(end) for end in pair) or not low <= pair[0] <= pair[1] <= high:
        raise ValueError(f"{name} is a number, or (smallest, largest), in [{low:g}, {high:g}]; got {value!r}")
    return float(pair[0]), float(pair[1])


def as_number(name: str, value: float, *, low: float, high: float) -> float:
    """Return a number within bounds.

    Raises:
        ValueError: Not a number in [low, high].
    """
    if not isinstance(value, int | float | np.number) or not low <= value <= high:
        raise ValueError(f"{name} is a number in [{low:g}, {high:g}]; got {value!r}")
    return float(value)


def as_names(name: str, value: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return a selection of known names as a tuple.

    Raises:
        ValueError: It is empty, repeats a name, or has one that is not known.

    Example:
        >>> as_names("kinds", ["spot"], ("crack", "spot"))
        ('spot',)
    """
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or len(set(names)) < len(names) or not set(names) <= set(known):
        raise ValueError(f"{name} is a selection of {tuple(known)}, each at most once; got {value!r}")
    return names


def as_defect_class(value: int) -> int:
    """Return a mask value of foreground.

    Raises:
        ValueError: Not an integer in [1, 255].
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 255:
        raise ValueError(f"defect_class is the mask's value inside the defect, an integer in [1, 255]; got {value!r}")
    return value


def log_uniform(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Draw from a range of positive numbers, as likely below its geometric mean as above."""
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """Return what tells arrays from others in a repr, by which pasters are fingerprinted."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.shape}{array.dtype}".encode() + array.tobytes())
    return f"sha256 {content.hexdigest()[:16]}"


def settings(paster: object) -> str:
    """Return the repr of an object whose public attributes are its constructor's options."""
    shown = ", ".join(f"{name}={value!r}" for name, value in vars(paster).items() if not name.startswith("_"))
    return f"{type(paster).__name__}({shown})"
