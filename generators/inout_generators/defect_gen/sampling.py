"""From noise to image and mask in a few steps: the large net in the coarse phase, the local one below `switch_t`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from inout_aug.seeding import stream
from inout_generators.common.schedule import CosineSchedule
from inout_generators.common.solvers import ddim_step, multistep_solver, timesteps
from inout_generators.defect_gen.encoding import Encoding

Sampler: TypeAlias = Literal["dpm++", "ddim", "ddpm", "official"]
# (x_t, the net's raw guess of x0, that guess clamped, t, the timestep to go to) -> x at that timestep
Rule: TypeAlias = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]

SWITCH_T = 950


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What is known of the samples before they are drawn.

    Attributes:
        x0: The host, encoded, with the mask that is wanted: (B, C, H, W).
        held: Where `x0` stays as it is: bool, broadcastable to `x0`.
        t: Timestep to which `x0` is noised at the start.
    """

    x0: Tensor
    held: Tensor
    t: int


def sample(
    large: nn.Module,
    local: nn.Module,
    encoding: Encoding,
    *,
    size: tuple[int, int],
    seeds: Sequence[Sequence[int]],
    steps: int,
    sampler: Sampler = "ddim",
    switch_t: int = SWITCH_T,
    schedule: CosineSchedule | None = None,
    defect_class: Sequence[int] | None = None,
    known: Known | None = None,
) -> Tensor:
    """Draw samples: Defect Spectrum (Yang et al., 2024), section 4.2, with the switch where the paper's text has it.

    One list of timesteps falls from T - 1 to 0; the large net serves those of at least `switch_t`, the local one the
    rest. The paper counts the large net's steps, u = T - `switch_t`; its u = 50 is `switch_t=950`. (The released code
    hands a finished, clean image to the second net.)

    All noise of a sample comes from its own seed. What is known is held by putting it into every guess of x0: its noise
    is then the same at all timesteps, and the nets see it at the noise level that they expect (RePaint, Lugmayr et al.,
    2022, for solvers of any order).

    Args:
        large: `net(x_t, t) -> x0`, or `net(x_t, t, defect_class)` where classes are asked for.
        local: Likewise.
        encoding: Of images and masks.
        size: (H, W).
        seeds: Of each sample: a key of integers in [0, 2**64).
        steps: Timesteps visited of T: see `timesteps`. The multistep solver spaces them evenly in log(signal / noise).
        sampler: "ddim", deterministic (Song et al., 2021), whose samples came nearest to real ones in 20 steps
            (`benchmarks/defect_gen.py`); "dpm++", a second-order multistep solver (Lu et al., 2022), exact in fewer
            steps; "ddpm", DDIM's ancestral form (Ho et al., 2020); or "official", the released code's rule.
        switch_t: In [0, T]; 0 for the large net alone, T for the local one alone.
        schedule: Which the nets were trained with; by default T = 1000.
        defect_class: Class wanted of each sample.
        known: Start from it instead of from pure noise, and hold parts of it.

    Returns:
        x0, (B, C, H, W), float32, in the encoding's range.

    Raises:
        ValueError: A setting is out of range.
    """
    schedule = schedule or CosineSchedule()
    start = schedule.steps - 1 if known is None else known.t
    times = timesteps(schedule, start, steps, spacing="snr" if sampler == "dpm++" else "t")
    if not 0 <= switch_t <= schedule.steps:
        raise ValueError(f"switch_t lies in [0, {schedule.steps}], the schedule's timesteps; got {switch_t}")
    streams = [stream(*seed) for seed in seeds]
    like = next(large.parameters(), torch.empty(0))
    device, dtype = like.device, like.dtype
    classes = None if defect_class is None else torch.tensor(defect_class, device=device)

    def noise() -> Tensor:
        drawn = [rng.standard_normal((encoding.channels, *size), np.float32) for rng in streams]
        return torch.from_numpy(np.stack(drawn)).to(device, memory_format=torch.channels_last)

    rule = _rule(sampler, schedule, times, noise)
    with torch.inference_mode():
        x = noise()
        if known is not None:
            x0, held = known.x0.to(device), known.held.to(device)
            x = schedule.add_noise(x0, x, torch.full((len(x),), start))
        for t, to in zip(times, [*times[1:], -1], strict=True):
            net = large if t >= switch_t else local
            condition = () if classes is None else (classes,)
            guess = net(x.to(dtype), torch.full((len(x),), t, device=device), *condition).float()
            if known is not None:
                guess = torch.where(held, x0, guess)
            x = rule(x, guess, encoding.clamp(guess), t, to)
    return encoding.clamp(x).cpu()


def cold_step(
    schedule: CosineSchedule, x: Tensor, guess: Tensor, x0: Tensor, t: int, to: int, *, official: bool = False
) -> Tensor:
    """Return x at timestep `to` by the released code's rule: x - D(x0, t) + D(x0, to), D adding the noise found in x.

    That noise is what the unclamped guess does not explain (Bansal et al., "Cold diffusion", 2022, algorithm 2). It is
    DDIM where nothing is clamped. Tables are float32, as theirs: near t = 0 they show.

    Args:
        schedule: Which the nets were trained with.
        x: x_t.
        guess: The net's x0 as it is.
        x0: The same, clamped.
        t: Timestep of `x`.
        to: The next lower one; -1 for the clean sample.
        official: Do at t = 1 what the released code does: there D(x0, t) is x0 itself, which leaves noise of standard
            deviation 0.009.
    """
    left = schedule.alphas_cumprod[t].float()
    rest = ((1 / left).sqrt() * x - guess) / (1 / left - 1).sqrt()

    def noised(at: int) -> Tensor:
        if at < 0:
            return x0
        share = schedule.alphas_cumprod[at].float()
        return share.sqrt() * x0 + (1 - share).sqrt() * rest

    return x - (x0 if official and t == 1 else noised(t)) + noised(to)


def _rule(sampler: Sampler, schedule: CosineSchedule, times: Sequence[int], noise: Callable[[], Tensor]) -> Rule:
    """Return how a step is taken; for one pass through `times`."""
    if sampler == "dpm++":
        solver = multistep_solver(schedule, times)
        return lambda x, guess, x0, t, to: solver.step(x0, t, x, return_dict=False)[0]
    if sampler == "ddim":
        return lambda x, guess, x0, t, to: ddim_step(schedule, x, x0, t, to)
    if sampler == "ddpm":
        return lambda x, guess, x0, t, to: ddim_step(schedule, x, x0, t, to, eta=1.0, noise=noise())
    if sampler == "official":
        return lambda x, guess, x0, t, to: cold_step(schedule, x, guess, x0, t, to, official=True)
    raise ValueError(f"sampler is one of {', '.join(get_args(Sampler))}; got {sampler!r}")
