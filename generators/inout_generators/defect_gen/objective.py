"""What a net of Defect-Gen learns: the clean image and mask, from noised ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from inout_generators.common.schedule import CosineSchedule, spread_timesteps
from inout_generators.defect_gen.data import Shots
from inout_generators.defect_gen.encoding import Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Denoising:
    """The loss of one net: mean (x0 - net(x_t, t))² over all channels of image and mask together.

    Defect Spectrum (Yang et al., 2024), section 4.1; that it is x0 which is predicted, not the noise, the released code
    says.

    Attributes:
        shots: What to learn.
        encoding: How it is put into one array.
        batch: Pictures per step.
        timesteps: First and last + 1 of those learnt.
        hidden: Share of pictures whose class is hidden from the net; None for a net without classes.
        schedule: Of the noise.
    """

    shots: Shots
    encoding: Encoding
    batch: int
    timesteps: tuple[int, int]
    hidden: float | None
    schedule: CosineSchedule = field(default_factory=CosineSchedule)

    def __call__(self, net: nn.Module, rng: np.random.Generator, device: torch.device) -> Tensor:
        """Return the loss of a batch drawn from `rng`."""
        batch = self.shots.draw(self.batch, rng)
        x0 = self.encoding.encode(batch.images, batch.masks).to(device)
        t = torch.from_numpy(spread_timesteps(self.batch, self.timesteps, rng)).to(device)
        noise_stream = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        noise = torch.randn(x0.shape, generator=noise_stream, device=device)
        noised = self.schedule.add_noise(x0, noise, t)
        if self.hidden is None:
            return nn.functional.mse_loss(net(noised, t).float(), x0)
        shown = rng.random(self.batch) >= self.hidden
        classes = torch.from_numpy(batch.classes * shown).to(device)
        return nn.functional.mse_loss(net(noised, t, classes).float(), x0)
