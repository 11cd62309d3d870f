"""Samplers against a denoiser whose solution is known, and against the published implementation's steps."""

import itertools
import math
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from inout_aug.seeding import stream
from inout_generators.common.schedule import CosineSchedule
from inout_generators.common.solvers import ddim_step, timesteps
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.sampling import Known, Sampler, cold_step, sample

SAMPLERS = get_args(Sampler)
ENCODING = Encoding(1, ("crack", "dent"))
SIZE = (6, 10)
MEAN = torch.tensor([0.1, 0.7, 0.4, 0.5]).reshape(1, 4, 1, 1)
SPREAD = 0.1
T1000 = CosineSchedule()


class Gaussian(nn.Module):
    """The best denoiser of data that is normal with `MEAN` and `SPREAD`."""

    def __init__(self, schedule: CosineSchedule = T1000) -> None:
        super().__init__()
        self.schedule = schedule

    def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
        image, noise = (factor.float().reshape(-1, 1, 1, 1) for factor in self.schedule.coefficients(t))
        return MEAN + image * SPREAD**2 * (x - image * MEAN) / (image**2 * SPREAD**2 + noise**2)


class Spy(Gaussian):
    """Writes down what it is asked."""

    def __init__(self, name: str, log: list[tuple[str, int, Tensor, Tensor]], schedule: CosineSchedule) -> None:
        super().__init__(schedule)
        self.name, self.log = name, log

    def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
        guess = super().forward(x, t, defect_class)
        self.log.append((self.name, int(t[0]), x.clone(), guess))
        return guess


def solution(seeds: range) -> Tensor:
    """Where the probability flow carries each sample's starting noise."""
    start = torch.from_numpy(np.stack([stream(seed).standard_normal((4, *SIZE), np.float32) for seed in seeds]))
    image, noise = (float(factor) for factor in T1000.coefficients(torch.tensor([999])))
    return MEAN + SPREAD * (start - image * MEAN) / math.sqrt(image**2 * SPREAD**2 + noise**2)


def draw(sampler: Sampler, steps: int, seeds: range = range(4), **options: object) -> Tensor:
    net = Gaussian()
    keys = [(seed,) for seed in seeds]
    return sample(net, net, ENCODING, size=SIZE, seeds=keys, steps=steps, sampler=sampler, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sampler", "tolerance"), [("ddim", 6e-3), ("dpm++", 6e-3), ("official", 0.05)])
def test_deterministic_samplers_follow_the_flow(sampler: Sampler, tolerance: float) -> None:
    torch.testing.assert_close(draw(sampler, 1000), solution(range(4)), rtol=0, atol=tolerance)


def test_the_multistep_solver_needs_far_fewer_steps() -> None:
    def error(sampler: Sampler, steps: int) -> float:
        return float((draw(sampler, steps) - solution(range(4))).abs().mean())

    assert error("dpm++", 12) < error("ddim", 60) / 3
    # second order: half the step, a quarter of the error or so
    assert error("dpm++", 40) < error("dpm++", 20) / 3


def test_the_ancestral_sampler_gives_the_distribution() -> None:
    drawn = draw("ddpm", 500, range(60))
    torch.testing.assert_close(drawn.mean((0, 2, 3)), MEAN.flatten(), rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.std((0, 2, 3)), torch.full((4,), SPREAD), rtol=0.08, atol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("switch_t", "steps"), [(40, 50), (0, 50), (50, 50), (40, 7)])
def test_each_net_serves_its_timesteps_and_hands_x_over_unchanged(sampler: Sampler, switch_t: int, steps: int) -> None:
    schedule = CosineSchedule(50)
    log: list[tuple[str, int, Tensor, Tensor]] = []
    large, local = Spy("large", log, schedule), Spy("local", log, schedule)
    options = {"size": SIZE, "seeds": [(5,), (6,)], "steps": steps, "sampler": sampler, "schedule": schedule}
    mixed = sample(large, local, ENCODING, switch_t=switch_t, **options)  # type: ignore[arg-type]
    times = [t for _, t, _, _ in log]
    assert times == sorted(set(times), reverse=True)
    assert (times[0], times[-1]) == (49, 0)
    assert len(times) == steps or sampler == "dpm++"
    assert all(name == ("large" if t >= switch_t else "local") for name, t, _, _ in log)
    # the two are the same function, so where the switch lies cannot be seen in what they are given
    alone: list[tuple[str, int, Tensor, Tensor]] = []
    large.log = local.log = alone
    assert torch.equal(mixed, sample(large, local, ENCODING, switch_t=0, **options))  # type: ignore[arg-type]
    assert all(torch.equal(given, other) for (_, _, given, _), (_, _, other, _) in zip(log, alone, strict=True))


def test_steps_of_ddim_continue_where_the_last_one_ended() -> None:
    schedule = CosineSchedule(50)
    log: list[tuple[str, int, Tensor, Tensor]] = []
    spy = Spy("both", log, schedule)
    sample(spy, spy, ENCODING, size=SIZE, seeds=[(5,)], steps=9, sampler="ddim", switch_t=40, schedule=schedule)
    for (_, t, x, guess), (_, to, after, _) in itertools.pairwise(log):
        torch.testing.assert_close(after, ddim_step(schedule, x, ENCODING.clamp(guess), t, to))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_depends_on_its_own_seed_alone(sampler: Sampler) -> None:
    together = draw(sampler, 12)
    assert all(torch.equal(draw(sampler, 12, range(k, k + 1))[0], together[k]) for k in range(4))
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("t", [999, 300])
def test_what_is_held_stays_and_reaches_the_nets_at_their_noise_level(sampler: Sampler, t: int) -> None:
    log: list[tuple[str, int, Tensor, Tensor]] = []
    spy = Spy("both", log, T1000)
    x0 = torch.linspace(-1, 1, 60).reshape(1, 1, *SIZE).repeat(2, 4, 1, 1).clamp(0, 1)
    held = torch.zeros(1, 1, *SIZE, dtype=torch.bool)
    held[..., 3:] = True
    known = Known(x0, held, t)
    drawn = sample(
        spy, spy, ENCODING, size=SIZE, seeds=[(1,), (2,)], steps=10, sampler=sampler, known=known, defect_class=[1, 2]
    )
    torch.testing.assert_close(drawn[..., 3:], x0[..., 3:], rtol=0, atol=0.02 if sampler == "official" else 1e-5)
    assert not torch.allclose(drawn[..., :3], x0[..., :3], atol=0.05)
    assert log[0][1] == t
    if sampler == "ddpm":
        return
    noise = torch.from_numpy(np.stack([stream(seed).standard_normal((4, *SIZE), np.float32) for seed in (1, 2)]))
    for _, at, x, _ in log:
        expected = T1000.add_noise(x0, noise, torch.full((2,), at))
        torch.testing.assert_close(x[..., 3:], expected[..., 3:], rtol=0, atol=1e-3)


def test_a_class_is_handed_to_the_nets_only_if_asked_for() -> None:
    class Asked(Gaussian):
        def forward(self, x: Tensor, t: Tensor, *rest: Tensor | None) -> Tensor:
            asked.append(tuple(None if tensor is None else tuple(tensor.tolist()) for tensor in rest))
            return super().forward(x, t)

    asked: list[tuple[object, ...]] = []
    net = Asked()
    for classes in (None, [2, 1]):
        sample(net, net, ENCODING, size=SIZE, seeds=[(1,), (2,)], steps=1, defect_class=classes)
    assert asked == [(), ((2, 1),)]


def test_few_steps_still_begin_with_the_large_net() -> None:
    assert sum(t >= 950 for t in timesteps(T1000, 999, 50)) == 3
    for spacing in get_args(Literal["t", "snr"]):
        assert timesteps(T1000, 999, 1000, spacing=spacing) == list(range(999, -1, -1))
        assert timesteps(T1000, 3, 50, spacing=spacing) == [3, 2, 1, 0]
        assert timesteps(T1000, 7, 1, spacing=spacing) == [7]


@given(start=st.integers(0, 999), steps=st.integers(1, 1100), spacing=st.sampled_from(["t", "snr"]))
def test_timesteps_fall_from_the_start_to_zero(start: int, steps: int, spacing: Literal["t", "snr"]) -> None:
    times = timesteps(T1000, start, steps, spacing=spacing)
    assert times == sorted(set(times), reverse=True)
    assert times[0] == start
    assert times[-1] == 0 or steps == 1
    assert len(times) <= steps
    # rounding merges steps only where they are denser than timesteps
    assert len(times) >= min(steps, start + 1) * 0.4


def test_the_official_rule_is_ddim_where_nothing_is_clamped() -> None:
    x, guess = torch.randn(2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 0.3
    for t in (999, 500, 37, 2):
        by_rule = cold_step(T1000, x, guess, guess, t, t - 1, official=True)
        torch.testing.assert_close(by_rule, ddim_step(T1000, x, guess, t, t - 1), rtol=0, atol=2e-4)
    left_over = cold_step(T1000, x, guess, guess, 1, 0, official=True) - cold_step(T1000, x, guess, guess, 1, 0)
    assert float(left_over.std()) > 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "at least 1 step"),
        ({"steps": 5, "switch_t": 1001}, r"switch_t lies in \[0, 1000\]; got 1001|switch_t lies"),
        ({"steps": 5, "switch_t": -1}, "switch_t lies"),
        ({"steps": 5, "sampler": "euler"}, "one of dpm"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    net = Gaussian()
    with pytest.raises(ValueError, match=message):
        sample(net, net, ENCODING, size=SIZE, seeds=[(1,)], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("t", [500, 37, 1, 0])
def test_a_step_is_that_of_the_published_code(t: int) -> None:
    # a cut-out of what the authors' sampler made of the guesses of their nets, which have random weights
    tensors = load_file(Path(__file__).parents[2] / "data" / "defect_gen_steps.safetensors")
    x, guess, expected = tensors["x"], tensors[f"guess_t{t}"], tensors[f"step_t{t}"]
    clamped = guess.clamp(-1, 1)
    assert t == 500 or not torch.equal(clamped, guess)
    step = cold_step(T1000, x, guess, clamped, t, t - 1, official=True)
    torch.testing.assert_close(step, expected, rtol=0, atol=1e-4)
