"""From noise to latents of an image and of its mask: ancestral steps, DDIM, or DPM-Solver++."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from inout_aug.seeding import stream
from inout_generators.common.schedule import Schedule
from inout_generators.common.solvers import ddim_step, multistep_solver, timesteps
from inout_generators.defectdiffu.diffusion import ancestral_step, clean
from inout_generators.defectdiffu.guidance import Guided

Sampler: TypeAlias = Literal["ancestral", "ddim", "dpm++"]
# (x_t, x0, v, t, the timestep to go to) -> x at that timestep
Rule: TypeAlias = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]

# masks are the mean over the timesteps below: the paper's last 100
MASK_T = 100


class Latents(NamedTuple):
    """What was drawn.

    Attributes:
        image: (B, C, H, W), float32.
        mask: Mean over the visited timesteps below `MASK_T`, (B, C, H, W), float32.
    """

    image: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of the samples before they are drawn.

    Attributes:
        x0: Latents of the hosts, (B, C, H, W).
        held: Where `x0` stays as it is: bool, broadcastable to it.
    """

    x0: Tensor
    held: Tensor


def sample(
    net: Guided,
    schedule: Schedule,
    times: Sequence[int],
    *,
    clamp: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int],
    seeds: Sequence[Sequence[int]],
    sampler: Sampler = "ancestral",
    known: Known | None = None,
) -> Latents:
    """Draw samples, each from its own seed.

    What is known is held by putting it into every guess of x0: its noise is then the same at all timesteps, and the net
    sees it at the noise level that it expects (RePaint, Lugmayr et al., 2022, for solvers of any order).

    Args:
        net: Under guidance, at `times`.
        schedule: Which the net was trained with.
        times: Timesteps visited; see `visited`. The first is that to which `known` is noised.
        clamp: The space's: takes out of a guess of x0 what no image has.
        shape: Of one latent, (C, H, W).
        seeds: Of each sample: a key of integers in [0, 2**64).
        sampler: "ancestral" with the learned variance, as published; "ddim" (Song et al., 2021), without randomness
            after the first noise; or "dpm++", a second-order solver (Lu et al., 2022), which wants far fewer steps.
        known: Start from it instead of from pure noise, and hold parts of it.

    Raises:
        ValueError: There is no such sampler.
    """
    streams = [stream(*seed) for seed in seeds]

    def noise() -> Tensor:
        return torch.from_numpy(np.stack([rng.standard_normal(shape, np.float32) for rng in streams])).to(net.device)

    rule = _rule(sampler, schedule, times, noise)
    with torch.inference_mode():
        x = noise()
        if known is not None:
            x0, held = known.x0.to(net.device), known.held.to(net.device)
            x = schedule.add_noise(x0, x, torch.full((len(x),), times[0]))
        masks = []
        for step, (t, to) in enumerate(zip(times, [*times[1:], -1], strict=True)):
            predicted, variance, mask = net(x, step)
            guess = clamp(clean(schedule, x, predicted, torch.full((len(x),), t)))
            if known is not None:
                guess = torch.where(held, x0, guess)
            # a single step visits none of the last timesteps
            if t < MASK_T or to < 0:
                masks.append(mask)
            x = rule(x, guess, variance, t, to)
        return Latents(x, torch.stack(masks).mean(0))


def visited(schedule: Schedule, steps: int, sampler: Sampler, *, strength: float = 1.0) -> list[int]:
    """Return the timesteps that a sampler visits, falling to 0.

    Args:
        schedule: Which the net was trained with.
        steps: Their number, at most.
        sampler: "dpm++" spaces them evenly in log(signal / noise), the others in t.
        strength: Share of the noise to start from, in (0, 1].

    Example:
        >>> from inout_generators.common.schedule import LinearSchedule
        >>> [t for t in visited(LinearSchedule(), 50, "ancestral") if t < 100]
        [82, 61, 41, 20, 0]
    """
    start = max(0, round(strength * schedule.steps) - 1)
    return timesteps(schedule, start, steps, spacing="snr" if sampler == "dpm++" else "t")


def _rule(sampler: Sampler, schedule: Schedule, times: Sequence[int], noise: Callable[[], Tensor]) -> Rule:
    """Return how a step is taken; for one pass through `times`."""
    if sampler == "ancestral":
        return lambda x, x0, v, t, to: ancestral_step(schedule, x, x0, v, t, to, noise())
    if sampler == "ddim":
        return lambda x, x0, v, t, to: ddim_step(schedule, x, x0, t, to)
    if sampler == "dpm++":
        solver = multistep_solver(schedule, times)
        return lambda x, x0, v, t, to: solver.step(x0, t, x, return_dict=False)[0]
    raise ValueError(f"sampler is one of {', '.join(get_args(Sampler))}; got {sampler!r}")
