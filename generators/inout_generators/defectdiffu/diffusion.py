"""Noise and a learned variance: what the net predicts, as steps backwards and as a bound on the likelihood.

Ho et al., "Denoising diffusion probabilistic models" (2020), with the learned range of variances of Nichol and
Dhariwal, "Improved DDPM" (2021), section 3.1, which DiT was trained with. Coefficients are float64.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from inout_generators.common.schedule import Schedule

Predicts: TypeAlias = Literal["noise", "velocity"]

# half the width of a grey level in [-1, 1]
_HALF_LEVEL = 1 / 255


def noise_told(schedule: Schedule, x: Tensor, said: Tensor, t: Tensor, predicts: Predicts) -> Tensor:
    """Return the noise in x_t that a net means, (B, C, H, W).

    Args:
        schedule: Which the net was trained with.
        x: x_t, (B, C, H, W).
        said: First channels of the net's output.
        t: Timesteps, int64 (B,).
        predicts: What they are: the noise, or the velocity, sqrt(ᾱ) noise - sqrt(1 - ᾱ) x0 (Salimans and Ho, 2022).
    """
    if predicts == "noise":
        return said
    image, rest = _coefficients(schedule, x, t)
    return image * said + rest * x


def clean(schedule: Schedule, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return the x0 that x_t is a noised image of, given its noise: (B, C, H, W), for t int64 (B,)."""
    image, rest = _coefficients(schedule, x, t)
    return (x - rest * noise) / image


def noise_in(schedule: Schedule, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """Return the noise in x_t, given x0: the inverse of `clean`."""
    image, rest = _coefficients(schedule, x, t)
    return (x - image * x0) / rest


def posterior(schedule: Schedule, x: Tensor, x0: Tensor, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and log variance of q(x_to | x_t, x0), DDPM's equations 6 and 7, for any `to` below t.

    Args:
        schedule: Which the net was trained with.
        x: x_t, (B, C, H, W).
        x0: Or a guess of it.
        t: Timesteps, int64 (B,).
        to: Lower ones; -1 for the clean image, whose variance, 0, counts as that of a step earlier.
    """
    left_t, left_to, beta = _shares(schedule, t, to)
    of_x0 = left_to.sqrt() * beta / (1 - left_t)
    of_x = (1 - left_to) * (1 - beta).sqrt() / (1 - left_t)
    mean = _like(of_x0, x) * x0 + _like(of_x, x) * x
    return mean, _like(_lowest(schedule, t, to), x).expand_as(x)


def learned_range(schedule: Schedule, x: Tensor, v: Tensor, t: Tensor, to: Tensor) -> Tensor:
    """Return the log variance that the net predicts as v, in about [-1, 1], between its bounds: Improved DDPM, eq. 15.

    Args:
        schedule: Which the net was trained with.
        x: For the shape and dtype.
        v: The net's other channels, (B, C, H, W).
        t: See `posterior`.
        to: See `posterior`.
    """
    _, _, beta = _shares(schedule, t, to)
    share = (v + 1) / 2
    return share * _like(beta.log(), x) + (1 - share) * _like(_lowest(schedule, t, to), x)


def ancestral_step(schedule: Schedule, x: Tensor, x0: Tensor, v: Tensor, t: int, to: int, noise: Tensor) -> Tensor:
    """Return x at timestep `to`, drawn with the learned variance; at -1 it is the mean, and `noise` is not used."""
    at, then = (torch.full((len(x),), time) for time in (t, to))
    mean, _ = posterior(schedule, x, x0, at, then)
    if to < 0:
        return mean
    return mean + (learned_range(schedule, x, v, at, then) / 2).exp() * noise


def variational_bound(schedule: Schedule, x0: Tensor, x: Tensor, t: Tensor, noise: Tensor, v: Tensor) -> Tensor:
    """Return one term of the variational bound, in bits per value, (B,): Improved DDPM, section 2.

    It teaches v alone: the predicted noise is held fixed, so that it is learned from its own, better behaved loss.

    Args:
        schedule: Which the net is trained with.
        x0: Clean latents, (B, C, H, W).
        x: Noised to `t`.
        t: Timesteps, int64 (B,), in [0, T).
        noise: As the net predicts it.
        v: As the net predicts it.
    """
    to = t - 1
    true_mean, true_log = posterior(schedule, x, x0, t, to)
    mean, _ = posterior(schedule, x, clean(schedule, x, noise.detach(), t), t, to)
    log_variance = learned_range(schedule, x, v, t, to)
    divergence = -1 + log_variance - true_log + (true_log - log_variance).exp()
    divergence = (divergence + (true_mean - mean) ** 2 * (-log_variance).exp()) / 2
    surprise = _surprise(x0, mean, log_variance / 2)
    first = (t == 0).reshape(-1, *[1] * (x.dim() - 1))
    return torch.where(first.to(x.device), surprise, divergence).flatten(1).mean(1) / math.log(2)


def _surprise(x0: Tensor, mean: Tensor, log_deviation: Tensor) -> Tensor:
    """Return -log of the probability that a normal distribution gives to the grey level around x0."""
    centred, scale = x0 - mean, (-log_deviation).exp()
    below, above = (torch.special.ndtr(scale * (centred + side * _HALF_LEVEL)) for side in (-1, 1))
    # black and white reach to infinity
    inside = torch.where(x0 < -0.999, above, torch.where(x0 > 0.999, 1 - below, above - below))
    return -inside.clamp(min=1e-12).log()


def _shares(schedule: Schedule, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the share of the image's variance left at t and at `to`, and the variance added between."""
    table = torch.cat([schedule.alphas_cumprod, torch.ones(1, dtype=torch.float64)])
    left_t, left_to = table[t.cpu()], table[to.cpu()]
    return left_t, left_to, 1 - left_t / left_to


def _lowest(schedule: Schedule, t: Tensor, to: Tensor) -> Tensor:
    """Return the log of the posterior's variance, which is the least that a step may have."""
    t, to = t.cpu(), to.cpu()
    # the last step has none: it takes that of the step before it
    last = to < 0
    left_t, left_to, beta = _shares(schedule, torch.where(last, t + 1, t), torch.where(last, t, to))
    return (beta * (1 - left_to) / (1 - left_t)).log()


def _coefficients(schedule: Schedule, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    image, rest = schedule.coefficients(t)
    return _like(image, x), _like(rest, x)


def _like(factor: Tensor, x: Tensor) -> Tensor:
    """Return factors (B,) in the dtype, on the device, and for the shape of x."""
    return factor.to(x.device, x.dtype).reshape(-1, *[1] * (x.dim() - 1))
