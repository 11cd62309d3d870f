"""The cosine schedule against its closed form and against diffusers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from inout_generators.common.schedule import CosineSchedule


def test_what_is_left_follows_the_closed_form() -> None:
    left = CosineSchedule().alphas_cumprod.numpy()
    k = np.arange(1, 1000)
    closed = np.cos((k / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert left.dtype == np.float64
    # the last beta is clipped, so the last entry is not the closed form's
    np.testing.assert_allclose(left[:-1], closed, rtol=1e-12)
    assert left[-1] == pytest.approx(closed[-1] * 0.001, rel=1e-9)


def test_the_tables_are_those_of_diffusers_squaredcos() -> None:
    theirs = DDPMScheduler(num_train_timesteps=50, beta_schedule="squaredcos_cap_v2")
    torch.testing.assert_close(CosineSchedule(50).betas.float(), theirs.betas, rtol=1e-4, atol=1e-7)


def test_noise_is_added_per_sample() -> None:
    schedule = CosineSchedule(50)
    x0, noise = torch.ones(3, 2, 4, 5), torch.full((3, 2, 4, 5), 2.0)
    noisy = schedule.add_noise(x0, noise, torch.tensor([0, 20, -1]))
    assert noisy.dtype == torch.float32
    for row, left in enumerate([float(schedule.alphas_cumprod[0]), float(schedule.alphas_cumprod[20]), 1.0]):
        expected = math.sqrt(left) + 2 * math.sqrt(1 - left)
        torch.testing.assert_close(noisy[row], torch.full((2, 4, 5), expected))


@pytest.mark.parametrize("t", [-2, 50])
def test_timesteps_out_of_range_are_refused(t: int) -> None:
    with pytest.raises(ValueError, match=r"\[0, 50\)"):
        CosineSchedule(50).add_noise(torch.zeros(1, 1), torch.zeros(1, 1), torch.tensor([t]))


@pytest.mark.parametrize(("steps", "s"), [(0, 0.008), (10, -1.0), (10, math.nan)])
def test_impossible_schedules_are_refused(steps: int, s: float) -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        CosineSchedule(steps, s)
