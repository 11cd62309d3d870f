"""From a guess of x0 to the next timestep, and which timesteps there are: what samplers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from inout_generators.common.schedule import Schedule

# log(signal / noise) below which an image is not worth more than one step
_LOWEST_LOG_SNR = -4.0


def timesteps(schedule: Schedule, start: int, steps: int, *, spacing: Literal["t", "snr"] = "t") -> list[int]:
    """Return `steps` timesteps, or a few less, falling from `start` to 0, both included.

    Args:
        schedule: Which the nets were trained with.
        start: The first one.
        steps: Of more than there are, all are taken.
        spacing: Even in t; or in log(signal / noise), which a multistep solver needs far fewer steps for.

    Raises:
        ValueError: `start` is none of the schedule's timesteps, or there are no steps.

    Example:
        >>> from inout_generators.common.schedule import CosineSchedule
        >>> timesteps(CosineSchedule(), 999, 5)
        [999, 749, 500, 250, 0]
        >>> timesteps(CosineSchedule(), 999, 8, spacing="snr")
        [999, 987, 946, 769, 334, 75, 11, 0]
    """
    if steps < 1 or not 0 <= start < schedule.steps:
        raise ValueError(f"sampling takes at least 1 step, from t in [0, {schedule.steps}); got {steps} from {start}")
    even = np.linspace(start, 0, min(steps, start + 1))
    if spacing == "t" or steps > start or steps < 3:
        return [int(t) for t in even.round()]
    left = schedule.alphas_cumprod.numpy()[: start + 1]
    ratio = np.log(left / (1 - left)) / 2
    # the first steps of all change nothing but the ratio
    wanted = np.linspace(ratio[0], max(ratio[-1], _LOWEST_LOG_SNR), steps - 1)
    found = np.interp(wanted, ratio[::-1], np.arange(start, -1, -1)).round()
    return sorted({start, *(int(t) for t in found)}, reverse=True)


def ddim_step(
    schedule: Schedule, x: Tensor, x0: Tensor, t: int, to: int, *, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """Return x at timestep `to`: DDIM, equation 12 (Song et al., 2021). `eta=1` is DDPM's ancestral step.

    The noise in `x` is what `x0`, clamped, does not explain of it.
    """
    (image_t, noise_t), (image_to, noise_to) = _factors(schedule, t), _factors(schedule, to)
    rest = (x - image_t * x0) / noise_t
    fresh = eta * (noise_to / noise_t) * max(0.0, 1 - (image_t / image_to) ** 2) ** 0.5
    x = image_to * x0 + max(0.0, noise_to**2 - fresh**2) ** 0.5 * rest
    return x if noise is None else x + fresh * noise


def multistep_solver(schedule: Schedule, times: Sequence[int]) -> Any:
    """Return diffusers' second-order DPM-Solver++ (Lu et al., 2022) for x0, for one pass through some timesteps."""
    from diffusers import DPMSolverMultistepScheduler

    kind: Any = DPMSolverMultistepScheduler  # untyped
    solver = kind(
        num_train_timesteps=schedule.steps,
        trained_betas=schedule.betas.numpy(),
        prediction_type="sample",
        algorithm_type="dpmsolver++",
        solver_order=2,
    )
    # in float64, which it would not keep, and as numpy's, since it hands its own tensor to np.array against a warning
    solver.alphas_cumprod = schedule.alphas_cumprod.numpy()
    solver.set_timesteps(timesteps=list(times))
    return solver


def _factors(schedule: Schedule, t: int) -> tuple[float, float]:
    image, noise = schedule.coefficients(torch.tensor([t]))
    return float(image), float(noise)
