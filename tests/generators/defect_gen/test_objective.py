"""The loss of a net of Defect-Gen against its formula, written out from the same stream."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inout_aug.sample import Sample
from inout_aug.seeding import stream
from inout_generators.common.schedule import CosineSchedule, spread_timesteps
from inout_generators.defect_gen.data import Shots, Windows
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.objective import Denoising

CPU = torch.device("cpu")
SCHEDULE = CosineSchedule(60, 0.02)


def samples(channels: int = 1) -> list[Sample]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 20, 30, channels), np.uint8)
    masks = np.zeros((2, 20, 30), np.uint8)
    masks[0, 4:7, 5:9], masks[1, 12:14, 20:25] = 1, 2
    return [Sample(image, mask, 1) for image, mask in zip(images, masks, strict=True)]


def denoising(*, channels: int = 1, background: float = 0.3, **settings: Any) -> Denoising:
    windows = Windows(size=(16, 16), background=background)
    return Denoising(
        shots=Shots(samples(channels), ("crack", "dent"), windows),
        encoding=Encoding(channels, ("crack", "dent"), (-1, 1)),
        **{"batch": 6, "timesteps": (0, 60), "hidden": 0.4, "schedule": SCHEDULE, **settings},
    )


class Scaled(nn.Module):
    """Guesses a share of what it sees, and keeps that; the share hangs on the class, if it is told one."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor([0.9, 0.5, 0.2]))
        self.dtype = dtype

    def forward(self, x: Tensor, t: Tensor, classes: Tensor | None = None) -> Tensor:
        self.seen = (x, t, classes)
        told = torch.zeros(len(x), dtype=torch.int64) if classes is None else classes
        return (self.share[told].reshape(-1, 1, 1, 1) * x).to(self.dtype)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("hidden", [None, 0.0, 0.4, 1.0])
def test_the_loss_is_the_mean_square_of_what_the_guess_is_off_the_clean_picture(
    hidden: float | None, channels: int
) -> None:
    objective, net = denoising(hidden=hidden, channels=channels), Scaled()
    loss = objective(net, stream(5), CPU)
    rng = stream(5)
    batch = objective.shots.draw(6, rng)
    x0 = objective.encoding.encode(batch.images, batch.masks)
    t = spread_timesteps(6, (0, 60), rng)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**63)))).double()
    left = SCHEDULE.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    x = left.sqrt() * x0 + (1 - left).sqrt() * noise
    told = np.zeros(6, np.int64) if hidden is None else np.where(rng.random(6) < hidden, 0, batch.classes)
    share = net.share.detach().double()[told].reshape(-1, 1, 1, 1)
    assert loss.item() == pytest.approx(((x0 - share * x) ** 2).mean().item(), rel=1e-5)
    seen, at, classes = net.seen
    torch.testing.assert_close(seen.double(), x, rtol=0, atol=1e-5)
    assert at.tolist() == t.tolist()
    assert (classes is None) == (hidden is None)
    assert classes is None or (classes.tolist(), classes.dtype) == (told.tolist(), torch.int64)
    (slope,) = torch.autograd.grad(loss, net.share)
    expected = [(2 * (share * x - x0) * x)[told == k].sum() / x.numel() for k in range(3)]
    torch.testing.assert_close(slope.double(), torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_windows_without_a_defect_have_no_class_however_much_is_told() -> None:
    objective, net = denoising(hidden=0.0, background=0.5, batch=64), Scaled()
    objective(net, stream(0), CPU)
    told = net.seen[2]
    batch = objective.shots.draw(64, stream(0))
    assert told is not None
    assert told.tolist() == batch.classes.tolist()
    assert set(told.tolist()) == {0, 1, 2}
    assert ((batch.masks > 0).any((1, 2)) == (told > 0).numpy()).all()


def test_a_step_hangs_on_its_stream_alone() -> None:
    objective = denoising()
    losses = [objective(Scaled(), stream(seed), CPU).item() for seed in (1, 2, 1)]
    assert losses[0] == losses[2] != losses[1]
    rng = stream(1)
    assert objective(Scaled(), rng, CPU).item() != objective(Scaled(), rng, CPU).item()
    torch.manual_seed(9)
    assert objective(Scaled(), stream(1), CPU).item() == losses[0]


def test_half_a_nets_precision_is_not_half_the_losss() -> None:
    objective = denoising()
    exact, half = (objective(Scaled(dtype), stream(1), CPU) for dtype in (torch.float32, torch.bfloat16))
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=1e-2)
    assert half.item() != exact.item()


@pytest.mark.parametrize("timesteps", [(0, 1), (57, 60), (0, 60)])
def test_every_timestep_of_the_range_comes_up_and_no_other(timesteps: tuple[int, int]) -> None:
    objective, net = denoising(timesteps=timesteps, batch=3), Scaled()
    seen = set()
    for seed in range(60):
        objective(net, stream(seed), CPU)
        seen.update(net.seen[1].tolist())
    if timesteps[1] - timesteps[0] <= 3:
        assert seen == set(range(*timesteps))
    assert min(seen) >= timesteps[0]
    assert max(seen) < timesteps[1]
    assert len(seen) > 0.8 * (timesteps[1] - timesteps[0])
