"""What a LoRA learns: the noise in latents of the product, and still in those of prior images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from inout_generators.common.checkpoints import CheckpointError
from inout_generators.lora.data import Latents, epoch_places

_INSTANCES, _PRIOR = range(2)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DreamBooth:
    """The loss of a LoRA: mean of w · min(γ / SNR(t), 1) · mean (net(z_t, t, caption) - noise)² over a batch.

    DreamBooth (Ruiz et al., 2023), equation 2, with images of the product and prior images as samples of one batch, and
    their weight w the prior's where they are of the prior; the min-SNR weight is that of Hang et al., 2023. For a base
    that predicts the velocity, that is learnt, with the weight min(SNR, γ) / (SNR + 1).

    Attributes:
        instances: Of the product.
        prior: Of the wider class; None for none.
        scheduler: With the noise that the base was trained with.
        batch: Pictures per step and process.
        shown: Of them, those of the product; the others are prior images.
        repeats: Of each picture in an epoch.
        prior_weight: Of the loss of prior images.
        snr_gamma: γ; 0 for no weighting.
        seed: Of the order in which pictures are shown.

    Raises:
        CheckpointError: The base predicts something else.
    """

    instances: Latents
    prior: Latents | None
    scheduler: Any
    batch: int
    shown: int
    repeats: int
    prior_weight: float
    snr_gamma: float
    seed: int

    def __post_init__(self) -> None:
        if self.scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise CheckpointError(
                f"the base predicts {self.scheduler.config.prediction_type}; epsilon and v_prediction can be trained"
            )

    def __call__(self, net: nn.Module, rng: np.random.Generator, device: torch.device) -> Tensor:
        """Return the loss of the batch that is due, its noise drawn from `rng`."""
        clean, tokens, weights = (part.to(device) for part in self._batch(_steps_taken(net), rng))
        t = torch.from_numpy(rng.integers(self.scheduler.config.num_train_timesteps, size=len(clean)))
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(device)
        weights = weights * min_snr_weights(
            self.scheduler.alphas_cumprod[t], self.snr_gamma, self.scheduler.config.prediction_type
        ).to(device)
        t = t.to(device)
        target = noise
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(clean, noise, t)
        predicted = net(self.scheduler.add_noise(clean, noise, t), t, tokens)
        errors = (predicted.float() - target).square().flatten(1).mean(1)
        return torch.mean(weights * errors)

    def _batch(self, taken: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return latents, the tokens of their captions, and their weights."""
        parts = [(self.instances, self.shown, 1.0, _INSTANCES)]
        if self.prior is not None:
            parts.append((self.prior, self.batch - self.shown, self.prior_weight, _PRIOR))
        processes = PartialState()
        turn = taken * processes.num_processes + processes.process_index
        latents, tokens, weights = [], [], []
        for pictures, count, weight, key in parts:
            places = epoch_places(len(pictures), self.repeats, turn * count, count, self.seed, key)
            latents.append(pictures.draw(places, rng))
            tokens.append(pictures.tokens[places])
            weights.append(torch.full((count,), weight))
        return torch.cat(latents), torch.cat(tokens), torch.cat(weights)


def min_snr_weights(alphas_cumprod: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Return the weights of losses at some timesteps, by the share of the image's variance that is left there.

    Args:
        alphas_cumprod: That share, in [0, 1]; the signal-to-noise ratio is alphas_cumprod / (1 - alphas_cumprod).
        gamma: Largest ratio that counts; 0 for weights of 1.
        prediction_type: "epsilon" or "v_prediction".

    Example:
        >>> min_snr_weights(torch.tensor([0.5, 0.95]), 5.0, "epsilon")
        tensor([1.0000, 0.2632])
    """
    if not gamma:
        return torch.ones_like(alphas_cumprod)
    ratio = alphas_cumprod / (1 - alphas_cumprod)
    if prediction_type == "v_prediction":
        return ratio.clamp(max=gamma) / (ratio + 1)
    return (gamma / ratio).clamp(max=1)


def _steps_taken(net: nn.Module) -> int:
    # with several processes, the net is wrapped
    return int(net.get_buffer("module.taken" if hasattr(net, "module") else "taken"))
