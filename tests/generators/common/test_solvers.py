"""Steps from one noise level to the next, against their closed forms and diffusers' schedulers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from inout_generators.common.schedule import CosineSchedule, LinearSchedule, Schedule
from inout_generators.common.solvers import ddim_step, multistep_solver, timesteps

LINEAR = LinearSchedule()
SCHEDULES = (LINEAR, CosineSchedule(1000))


def log_ratio(schedule: Schedule, t: int) -> float:
    left = float(schedule.alphas_cumprod[t])
    return math.log(left / (1 - left)) / 2


@given(st.sampled_from(SCHEDULES), st.integers(0, 999), st.integers(1, 60), st.sampled_from(["t", "snr"]))
def test_timesteps_fall_from_the_start_to_zero(schedule: Schedule, start: int, steps: int, spacing: str) -> None:
    times = timesteps(schedule, start, steps, spacing=spacing)  # type: ignore[arg-type]
    assert times[0] == start
    assert times[-1] == (0 if steps > 1 else start)
    assert all(t > to for t, to in itertools.pairwise(times))
    assert len(times) <= steps


def test_spacing_is_even_in_what_it_says() -> None:
    assert set(np.diff(timesteps(LINEAR, 999, 112))) == {-9}
    ratios = [log_ratio(LINEAR, t) for t in timesteps(LINEAR, 999, 20, spacing="snr")]
    # whole timesteps are farther apart than that where there is hardly any noise
    np.testing.assert_allclose(np.diff(ratios)[2:12], np.diff(ratios)[2:12].mean(), rtol=0.1)


@pytest.mark.parametrize(("start", "steps"), [(1000, 5), (-1, 5), (999, 0)])
def test_impossible_timesteps_are_refused(start: int, steps: int) -> None:
    with pytest.raises(ValueError, match="at least 1 step"):
        timesteps(LINEAR, start, steps)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_ddim_step_is_that_of_diffusers(eta: float) -> None:
    theirs = DDIMScheduler(1000, trained_betas=LINEAR.betas.numpy(), prediction_type="sample", clip_sample=False)
    theirs.set_timesteps(50)
    x, x0, noise = torch.randn(3, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0)).double()
    expected = theirs.step(x0, 480, x, eta=eta, variance_noise=noise).prev_sample
    got = ddim_step(LINEAR, x, x0, 480, 460, eta=eta, noise=noise)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_a_ddim_step_to_the_clean_image_is_the_guess() -> None:
    x, x0 = torch.randn(2, 1, 3, 4, 4)
    torch.testing.assert_close(ddim_step(LINEAR, x, x0, 0, -1), x0)


def carried(x: Tensor, times: Sequence[int], step: Callable[[Tensor, Tensor, int, int], Tensor]) -> Tensor:
    """Return where steps carry noise if the data are normal with mean 0.3 and spread 0.1."""
    for t, to in itertools.pairwise([*times, -1]):
        image, rest = (float(factor) for factor in LINEAR.coefficients(torch.tensor([t])))
        x0 = 0.3 + image * 0.01 * (x - image * 0.3) / (image**2 * 0.01 + rest**2)
        x = step(x, x0, t, to)
    return x


def test_the_multistep_solver_comes_nearer_to_the_flow_than_ddim() -> None:
    start = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    image, rest = (float(factor) for factor in LINEAR.coefficients(torch.tensor([999])))
    flow = 0.3 + 0.1 * (start - image * 0.3) / math.sqrt(image**2 * 0.01 + rest**2)
    times = timesteps(LINEAR, 999, 20, spacing="snr")
    solver = multistep_solver(LINEAR, times)
    second = carried(start, times, lambda x, x0, t, _: solver.step(x0, t, x, return_dict=False)[0])
    first = carried(start, times, lambda x, x0, t, to: ddim_step(LINEAR, x, x0, t, to))
    errors = [float((found - flow).abs().max()) for found in (second, first)]
    assert errors[0] < 0.01
    assert errors[0] < errors[1] / 3
