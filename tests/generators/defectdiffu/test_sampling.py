"""Samplers against a denoiser whose solution is known, and masks from exactly the last timesteps."""

from __future__ import annotations

import math
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from inout_aug.seeding import stream
from inout_generators.common.schedule import LinearSchedule
from inout_generators.defectdiffu.guidance import Guided
from inout_generators.defectdiffu.sampling import Known, Sampler, sample, visited

SAMPLERS = get_args(Sampler)
SHAPE = (3, 6, 10)
T1000 = LinearSchedule()
MEAN, SPREAD = 0.3, 0.1


class Gaussian:
    """The best denoiser of data that is normal with `MEAN` and `SPREAD`; its mask latent is the timestep."""

    device = torch.device("cpu")

    def __init__(self, times: list[int]) -> None:
        self.times = times

    def __call__(self, x: Tensor, step: int) -> tuple[Tensor, Tensor, Tensor]:
        t = self.times[step]
        image, rest = (float(factor) for factor in T1000.coefficients(torch.tensor([t])))
        x0 = MEAN + image * SPREAD**2 * (x - image * MEAN) / (image**2 * SPREAD**2 + rest**2)
        return (x - image * x0) / rest, torch.full_like(x, -1.0), torch.full_like(x, float(t))


def draw(sampler: Sampler, steps: int, seeds: range = range(3), strength: float = 1.0, **options: Any) -> Any:
    times = visited(T1000, steps, sampler, strength=strength)
    keys = [(seed,) for seed in seeds]
    net = cast(Guided, Gaussian(times))
    given = {"clamp": lambda x: x, "shape": SHAPE, "seeds": keys, "sampler": sampler, **options}
    return sample(net, T1000, times, **given)


@pytest.mark.parametrize(("sampler", "steps"), [("ddim", 1000), ("dpm++", 40)])
def test_deterministic_samplers_follow_the_flow(sampler: Sampler, steps: int) -> None:
    start = torch.from_numpy(np.stack([stream(seed).standard_normal(SHAPE, np.float32) for seed in range(3)]))
    image, rest = (float(factor) for factor in T1000.coefficients(torch.tensor([999])))
    expected = MEAN + SPREAD * (start - image * MEAN) / math.sqrt(image**2 * SPREAD**2 + rest**2)
    torch.testing.assert_close(draw(sampler, steps).image, expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("steps", [50, 1000])
def test_ancestral_samples_have_the_moments_that_their_steps_give(steps: int) -> None:
    values = draw("ancestral", steps, range(60)).image.double()
    # every step is linear in x, so that the normal distribution stays one: DDPM's equations 6 and 7 on its moments
    left = [float(T1000.alphas_cumprod[t]) for t in visited(T1000, steps, "ancestral")]
    mean, variance = 0.0, 1.0
    for at, to in zip(left, [*left[1:], 1.0], strict=True):
        gain = math.sqrt(at) * SPREAD**2 / (at * SPREAD**2 + 1 - at)
        of_x0, of_x = math.sqrt(to) * (1 - at / to) / (1 - at), (1 - to) * math.sqrt(at / to) / (1 - at)
        mean = of_x0 * MEAN * (1 - math.sqrt(at) * gain) + (of_x0 * gain + of_x) * mean
        variance = (of_x0 * gain + of_x) ** 2 * variance + (1 - to) * (1 - at / to) / (1 - at)
    # their standard errors are SPREAD / sqrt(n), and less by another sqrt(2); there are 10800 values
    assert float(values.mean()) == pytest.approx(mean, abs=0.004)
    assert float(values.std()) == pytest.approx(math.sqrt(variance), abs=0.003)
    # few steps, at the lower bound of the variance, leave less of it than the data have; all of them leave it
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert math.sqrt(variance) == pytest.approx(SPREAD, rel=0.05 if steps == 1000 else 0.4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_batch_is_its_single_samples(sampler: Sampler) -> None:
    together = draw(sampler, 10)
    for seed in range(3):
        alone = draw(sampler, 10, range(seed, seed + 1))
        torch.testing.assert_close(together.image[seed], alone.image[0], rtol=0, atol=0)


@pytest.mark.parametrize("steps", [1, 50, 100, 250, 1000])
def test_masks_are_the_mean_over_exactly_the_visited_last_timesteps(steps: int) -> None:
    times = visited(T1000, steps, "ancestral")
    found = draw("ancestral", steps, range(1))
    # one step alone is none of the last, but all there is
    expected = np.mean([t for t in times if t < 100] or times)
    assert float(found.mask.mean()) == pytest.approx(expected, rel=1e-5)


def test_fifty_steps_visit_the_published_timesteps() -> None:
    assert [t for t in visited(T1000, 50, "ancestral") if t < 100] == [82, 61, 41, 20, 0]
    assert visited(T1000, 4, "ddim", strength=0.5)[0] == 499


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_held_stays(sampler: Sampler) -> None:
    x0, held = torch.rand(3, *SHAPE), torch.zeros(3, 1, *SHAPE[1:], dtype=torch.bool)
    held[..., :5] = True
    image = draw(sampler, 20, strength=0.7, known=Known(x0, held)).image
    torch.testing.assert_close(image[..., :5], x0[..., :5], rtol=0, atol=1e-4)
    assert float((image[..., 5:] - x0[..., 5:]).abs().mean()) > 0.05


def test_guesses_are_kept_in_range() -> None:
    image = draw("ddim", 20, clamp=lambda x: x.clamp(-1, 0.2)).image
    assert float(image.max()) <= 0.2001


def test_refuses_a_sampler_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"ancestral, ddim, dpm\+\+; got 'euler'"):
        draw("euler", 3)  # type: ignore[arg-type]
