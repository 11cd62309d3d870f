"""What DefectDiffu learns: the noise and its variance, the defect above all, and where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inout_generators.common.schedule import LinearSchedule, Schedule, spread_timesteps
from inout_generators.defectdiffu.conditions import DoubleFree
from inout_generators.defectdiffu.data import Products
from inout_generators.defectdiffu.diffusion import noise_told, variational_bound
from inout_generators.defectdiffu.model import DefectDiffuTransformer, Prediction
from inout_generators.defectdiffu.names import Prompts
from inout_generators.defectdiffu.spaces import Space, mask_images
from inout_generators.defectdiffu.text import TextEncoder


class Learner(nn.Module):
    """The transformer and, where it learns too, the text encoder: all that is trained, as one module.

    Args:
        net: Told by vectors.
        text: Turns prompts into them.
    """

    def __init__(self, net: DefectDiffuTransformer, text: TextEncoder) -> None:
        super().__init__()
        self.net = net
        learns = isinstance(text, nn.Module) and any(weight.requires_grad for weight in text.parameters())
        self.text = text if learns else None
        # in a list, so that a frozen encoder is no part of the module and its checkpoints
        self._encoder = [text]
        self._known: dict[str, Tensor] = {}

    @property
    def encoder(self) -> TextEncoder:
        """The text encoder, whether it learns or not."""
        return self._encoder[0]

    def forward(self, z: Tensor, t: Tensor, told: Sequence[Prompts], schedule: Schedule) -> Prediction:
        """Predict noise, variance and mask of latents (B, C, H, W) at timesteps (B,), told B times three prompts."""
        defect, product, fusion = (self._vectors(texts).to(z.device) for texts in zip(*told, strict=True))
        prediction: Prediction = self.net(z, t, defect, product, fusion)
        said, variance = prediction.out.float().chunk(2, 1)
        noise = noise_told(schedule, z, said, t, self.net.config["predicts"])
        return prediction._replace(out=torch.cat([noise, variance], 1))

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        if self.text is not None:
            return self.encoder.encode(texts)
        # what is frozen says the same every time
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(new, self.encoder.encode(new), strict=True))
        return torch.stack([self._known[text] for text in texts])


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each part of the loss counts.

    Attributes:
        alpha: Keeps equation 8 from a division by zero; 1e-3 in the paper, 1e-4 in the released code.
        least: Lowest weight of the defect's pixels, R in equation 9.
        most: Highest.
        detach_ratio: Let no gradient through R. As published there is one, and it draws the attention to the defect.
        mask: λ, of the mask's loss.
        timesteps: "even", as published: the error in the noise counts the same at every t. "velocity": it counts 1/ᾱ_t
            times, as an error in the velocity does (Salimans and Ho, 2022). Otherwise what is decided where noise is
            strong, how the patches of small pictures fit together, counts for next to nothing.
        faithful_mask_loss: Learn the mask of a defect of which nothing was told too, as the released code does. Then
            "good" comes to mean that there may be a mask.

    Raises:
        ValueError: A value is out of its range.
    """

    alpha: float = 1e-3
    least: float = 2.0
    most: float = 8.0
    detach_ratio: bool = False
    mask: float = 0.2
    timesteps: Literal["even", "velocity"] = "even"
    faithful_mask_loss: bool = False

    def __post_init__(self) -> None:
        if not (self.alpha > 0 and 0 <= self.least <= self.most and self.mask >= 0):
            raise ValueError(
                "alpha is above 0, least and most are in [0, infinity) and in order, mask is not negative; got "
                f"{self.alpha}, {self.least}, {self.most} and {self.mask}"
            )
        if self.timesteps not in ("even", "velocity"):
            raise ValueError(f"timesteps is 'even' or 'velocity'; got {self.timesteps!r}")

    def of_timesteps(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Return how much errors in the noise count at some timesteps: float32, (B,)."""
        if self.timesteps == "even":
            return torch.ones(len(t))
        return 1 / schedule.alphas_cumprod[t].float()

    def ratio(self, attention: Tensor, inside: Tensor) -> Tensor:
        """Return R, (B,): equations 8 and 9, what attention falls beside the defect to what falls on it.

        Args:
            attention: Mean map of all blocks and heads, (B, h, w); it sums to 1.
            inside: 1 for the tokens that have some of the defect, else 0, (B, h, w).

        Example:
            >>> attention, inside = torch.full((1, 2, 2), 0.25), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
            >>> Weights(alpha=1e-9).ratio(attention, inside)
            tensor([3.])
        """
        seen = (inside * attention).sum((1, 2))
        ratio = (((1 - inside) * attention).sum((1, 2)) / (seen + self.alpha)).clamp(self.least, self.most)
        return ratio.detach() if self.detach_ratio else ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The parts of the loss, each as the mean over a batch: equation 11, and the bound for the variance.

    Attributes:
        noise: Mean (ε - ε̂)².
        defect: Mean R (mask (ε - ε̂))², equation 10.
        bound: Of the likelihood, in bits per value; see `variational_bound`.
        mask: Mean (mask latent - its prediction)², equation 6, without the weight λ.
    """

    noise: Tensor
    defect: Tensor
    bound: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectDenoising:
    """The loss of one batch; Liu et al., "DefectDiffu" (2024), section 3.5.

    Attributes:
        products: What to learn.
        space: Where images and masks are noised.
        batch: Pictures per step and process.
        drop: Which names the model is not told.
        weights: Of the loss's parts.
        schedule: Of the noise.
    """

    products: Products
    space: Space
    batch: int
    drop: DoubleFree = field(default_factory=DoubleFree)
    weights: Weights = field(default_factory=Weights)
    schedule: Schedule = field(default_factory=LinearSchedule)

    def __call__(self, learner: nn.Module, rng: np.random.Generator, device: torch.device) -> Tensor:
        """Return the loss of a batch drawn from `rng`."""
        losses = self.losses(learner, rng, device)
        return losses.noise + losses.defect + losses.bound + self.weights.mask * losses.mask

    def losses(self, learner: nn.Module, rng: np.random.Generator, device: torch.device) -> Losses:
        """Return the parts of the loss of a batch drawn from `rng`."""
        shown = self.products.draw(self.batch, rng)
        told = self.drop(shown.products, shown.defects, rng)
        t = torch.from_numpy(spread_timesteps(self.batch, (0, self.schedule.steps), rng))
        normal = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
        x0, target = (self._latents(images, normal, device) for images in (shown.images, mask_images(shown.masks)))
        noise = torch.randn(x0.shape, generator=normal, device=device)
        x = self.schedule.add_noise(x0, noise, t)
        prediction: Prediction = learner(x, t.to(device), [each.prompts for each in told], self.schedule)
        guess, v = prediction.out.float().chunk(2, 1)
        masks = torch.from_numpy(shown.masks).to(device, torch.float32)
        # both are of whole cells: a share of the defect in a latent pixel, any of it in a token
        share = F.avg_pool2d(masks[:, None], self.space.factor)
        inside = F.adaptive_max_pool2d(masks, prediction.attention.shape[-2:])
        # each block's map sums to 1, and so does their mean
        attention = prediction.attention.float() / prediction.attention.float().sum((1, 2), keepdim=True).detach()
        ratio = self.weights.ratio(attention, inside)
        counted = torch.tensor([self.weights.faithful_mask_loss or not each.hidden for each in told], device=device)
        wrong = F.mse_loss(prediction.mask_latent.float(), target, reduction="none").flatten(1).mean(1)
        counts = self.weights.of_timesteps(t, self.schedule).to(device)
        everywhere, there = ((part * (noise - guess)).square().flatten(1).mean(1) for part in (1, share))
        return Losses(
            noise=(counts * everywhere).mean(),
            defect=(counts * ratio * there).mean(),
            bound=variational_bound(self.schedule, x0, x, t, guess, v).mean(),
            mask=(wrong * counted).mean(),
        )

    def _latents(self, images: np.ndarray, normal: torch.Generator, device: torch.device) -> Tensor:
        """Return latents, drawn from what the space knows of the images."""
        moments = self.space.moments(images).to(device)
        shape = (len(moments), self.space.channels, *moments.shape[2:])
        return self.space.sample(moments, torch.randn(shape, generator=normal, device=device))
