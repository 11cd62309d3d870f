"""Learned variances against diffusers' scheduler, and the bound against torch's and scipy's distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from inout_generators.common.schedule import LinearSchedule
from inout_generators.common.solvers import timesteps
from inout_generators.defectdiffu.diffusion import (
    ancestral_step,
    clean,
    learned_range,
    noise_in,
    noise_told,
    posterior,
    variational_bound,
)

T1000 = LinearSchedule()
SHAPE = (2, 3, 4, 5)


def drawn(seed: int) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def test_the_schedule_is_that_of_diffusers() -> None:
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    torch.testing.assert_close(T1000.betas.float(), theirs.betas, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="do not fall"):
        LinearSchedule(first=0.02, last=1e-4)


@pytest.mark.parametrize("steps", [50, 1000])
def test_a_step_is_that_of_diffusers(steps: int) -> None:
    theirs = DDPMScheduler(variance_type="learned_range", clip_sample=False)
    times = timesteps(T1000, 999, steps)
    theirs.set_timesteps(timesteps=times)
    for k in (0, len(times) // 2, len(times) - 2, len(times) - 1):
        t, to = times[k], [*times, -1][k + 1]
        x, predicted, v = drawn(0), drawn(1), drawn(2).clamp(-1, 1)
        noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
        output = torch.cat([predicted, v], 1)
        expected = theirs.step(output, t, x, generator=torch.Generator().manual_seed(3)).prev_sample
        x0 = clean(T1000, x, predicted, torch.full((2,), t))
        ours = ancestral_step(T1000, x, x0, v, t, to, noise)
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_noise_and_image_say_the_same() -> None:
    x, x0, t = drawn(0), drawn(1), torch.tensor([10, 900])
    torch.testing.assert_close(clean(T1000, x, noise_in(T1000, x, x0, t), t), x0, rtol=1e-3, atol=1e-3)


def test_a_velocity_tells_the_noise() -> None:
    x0, noise, t = torch.randn(4, 3, 5, 6), torch.randn(4, 3, 5, 6), torch.tensor([0, 10, 500, 999])
    x = T1000.add_noise(x0, noise, t)
    image, rest = (factor.float().reshape(-1, 1, 1, 1) for factor in T1000.coefficients(t))
    torch.testing.assert_close(noise_told(T1000, x, image * noise - rest * x0, t, "velocity"), noise)
    assert noise_told(T1000, x, noise, t, "noise") is noise


def test_v_moves_the_variance_between_its_bounds() -> None:
    x, t, to = drawn(0), torch.tensor([1, 500]), torch.tensor([0, 499])
    low, high = (learned_range(T1000, x, torch.full(SHAPE, v), t, to) for v in (-1.0, 1.0))
    _, true = posterior(T1000, x, drawn(1), t, to)
    torch.testing.assert_close(low, true)
    torch.testing.assert_close(high[:, 0, 0, 0], T1000.betas[t].log().float())


def test_the_bound_is_the_divergence_of_two_normal_distributions() -> None:
    x0, noise, predicted, v = drawn(0), drawn(1), drawn(2), drawn(3).clamp(-1, 1)
    t = torch.tensor([3, 700])
    x = T1000.add_noise(x0, noise, t)
    true_mean, true_log = posterior(T1000, x, x0, t, t - 1)
    mean, _ = posterior(T1000, x, clean(T1000, x, predicted, t), t, t - 1)
    log = learned_range(T1000, x, v, t, t - 1)
    pairs = Normal(true_mean.double(), (true_log.double() / 2).exp()), Normal(mean.double(), (log.double() / 2).exp())
    expected = kl_divergence(*pairs).flatten(1).mean(1) / math.log(2)
    found = variational_bound(T1000, x0, x, t, predicted, v)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


def test_the_last_term_is_the_probability_of_the_grey_levels() -> None:
    # black, grey and white; close enough to the mean for a probability that is not 0
    x0 = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1)
    t, v = torch.tensor([0]), torch.zeros(1, 3, 1, 1)
    noise = torch.full_like(x0, 0.3)
    x = T1000.add_noise(x0, noise, t)
    predicted = noise + 0.2
    mean, _ = posterior(T1000, x, clean(T1000, x, predicted, t), t, t - 1)
    deviation = (learned_range(T1000, x, v, t, t - 1) / 2).exp().numpy().ravel()
    here = mean.numpy().ravel()
    below, above = (norm.cdf((x0.numpy().ravel() + side / 255 - here) / deviation) for side in (-1, 1))
    chance = np.array([above[0], above[1] - below[1], 1 - below[2]])
    expected = -np.log2(chance).mean()
    assert float(variational_bound(T1000, x0, x, t, predicted, v)) == pytest.approx(expected, rel=1e-3)


def test_the_bound_teaches_the_variance_alone() -> None:
    x0, predicted, v = drawn(0), drawn(1).requires_grad_(), torch.zeros(SHAPE, requires_grad=True)
    t = torch.tensor([0, 300])
    variational_bound(T1000, x0, T1000.add_noise(x0, drawn(2), t), t, predicted, v).sum().backward()
    assert predicted.grad is None
    assert v.grad is not None
    assert v.grad.isfinite().all()
    assert v.grad[1].any()
