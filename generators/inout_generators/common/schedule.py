"""How much of an image is left after t steps of noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# the last step of the closed form would leave nothing at all of the image
_GREATEST_BETA = 0.999


class Schedule(ABC):
    """A noise schedule. The tables are float64: in float32 the first steps are off by 0.1 %."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """Number of timesteps T; t runs from 0 (nearly clean) to T - 1 (nearly pure noise)."""

    @property
    @abstractmethod
    def betas(self) -> Tensor:
        """Variance of the noise that step t adds: float64, (T,)."""

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        """Share of the image's variance that is left at t: float64, (T,), falling."""
        return torch.cumprod(1 - self.betas, 0)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors of image and noise at t, in [0, 1]: float64, of the shape of `t`.

        At t = -1, before the first step, the image is clean: 1 and 0.
        """
        table = torch.cat([self.alphas_cumprod, torch.ones(1, dtype=torch.float64)])
        left = table[t.cpu()]
        return left.sqrt(), (1 - left).sqrt()

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t = sqrt(alphas_cumprod[t]) x0 + sqrt(1 - alphas_cumprod[t]) noise.

        Args:
            x0: (B, ...).
            noise: Standard normal, as `x0`.
            t: Timesteps in [0, T), int64 (B,); or -1, which leaves `x0` as it is.

        Raises:
            ValueError: A timestep is out of range.
        """
        if bool(((t < -1) | (t >= self.steps)).any()):
            raise ValueError(f"timesteps lie in [0, {self.steps}); got {t.tolist()}")
        image, rest = (
            factor.to(x0.device, x0.dtype).reshape(-1, *[1] * (x0.dim() - 1)) for factor in self.coefficients(t)
        )
        return image * x0 + rest * noise


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """The cosine schedule of Nichol and Dhariwal, "Improved DDPM" (2021), equation 17, in the form that code uses.

    Args:
        steps: Number of timesteps T; t runs from 0 (nearly clean) to T - 1 (nearly pure noise).
        s: Offset that keeps the first steps from being too small.

    Raises:
        ValueError: `steps` is below 1, or `s` is negative.

    Example:
        >>> schedule = CosineSchedule()
        >>> round(float(schedule.alphas_cumprod[500]), 4)
        0.4923
    """

    steps: int = 1000
    s: float = 0.008

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.s >= 0:
            raise ValueError(f"a schedule has at least 1 step and an offset s >= 0; got {self.steps} and {self.s}")

    @cached_property
    def betas(self) -> Tensor:
        """Variance of the noise that step t adds: float64, (T,)."""
        left = [math.cos((k / self.steps + self.s) / (1 + self.s) * math.pi / 2) ** 2 for k in range(self.steps + 1)]
        betas = [min(1 - left[t + 1] / left[t], _GREATEST_BETA) for t in range(self.steps)]
        return torch.tensor(betas, dtype=torch.float64)


@dataclass(frozen=True)
class LinearSchedule(Schedule):
    """The linear schedule of Ho et al., "Denoising diffusion probabilistic models" (2020), which DiT was trained with.

    Args:
        steps: Number of timesteps T.
        first: Variance that the first step adds.
        last: Variance that the last step adds.

    Raises:
        ValueError: `steps` is below 1, or the variances are not in (0, 1), the first one first.

    Example:
        >>> schedule = LinearSchedule()
        >>> round(float(schedule.alphas_cumprod[500]), 4)
        0.0778
    """

    steps: int = 1000
    first: float = 1e-4
    last: float = 0.02

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.first <= self.last < 1:
            raise ValueError(
                "a schedule has at least 1 step, and variances that do not fall, in (0, 1); got "
                f"{self.steps}, {self.first} and {self.last}"
            )

    @cached_property
    def betas(self) -> Tensor:
        """Variance of the noise that step t adds: float64, (T,)."""
        return torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)


def spread_timesteps(count: int, timesteps: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw timesteps evenly, one from each of `count` equal stretches: the loss is then less noisy.

    Each alone is uniform; together they are those of Kingma et al., "Variational diffusion models" (2021), appendix
    I.1.

    Args:
        count: At least 1.
        timesteps: The first one, and the one after the last.
        rng: The only source of randomness.

    Returns:
        int64, (count,).
    """
    start, stop = timesteps
    places = (rng.random() + np.arange(count) / count) % 1
    return start + (places * (stop - start)).astype(np.int64)
