"""The blocks of Defect-Gen's U-Nets, which are those of guided diffusion (Dhariwal and Nichol, arXiv 2105.05233).

Attributes are named as the keys of published checkpoints are, so that one strict load reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

Norm: TypeAlias = Callable[[int], nn.Module]


class PixelNorm(nn.LayerNorm):
    """Normalise over the channels of each pixel alone, so that no pixel sees another through the statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ResBlock(nn.Module):
    """Two 3×3 convolutions around the timestep's condition, plus a skip.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        embedding: Length of the timestep embedding.
        norm: Builds a normalisation for a number of channels.
        scale_shift: The embedding scales and shifts the normalised features; else it is added before the normalisation.
        dropout: Rate before the last convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, *, embedding: int, norm: Norm, scale_shift: bool, dropout: float
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.in_layers = nn.Sequential(norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, outputs * (2 if scale_shift else 1)))
        self.out_layers = nn.Sequential(
            norm(outputs), nn.SiLU(), nn.Dropout(dropout), zeroed(nn.Conv2d(outputs, outputs, 3, padding=1))
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map features (B, inputs, H, W) and an embedding (B, E) to features (B, outputs, H, W)."""
        h: Tensor = self.in_layers(x)
        condition = self.emb_layers(embedding)[..., None, None]
        if self.scale_shift:
            scale, shift = condition.chunk(2, dim=1)
            norm, *rest = self.out_layers
            h = norm(h) * (1 + scale) + shift
            for layer in rest:
                h = layer(h)
        else:
            h = self.out_layers(h + condition)
        skip: Tensor = self.skip_connection(x)
        return skip + h


class Attention(nn.Module):
    """Residual self-attention over all pixels.

    Args:
        channels: In and out.
        head_width: Channels of one head.
        norm: Builds a normalisation for a number of channels.
    """

    def __init__(self, channels: int, *, head_width: int, norm: Norm) -> None:
        super().__init__()
        self.heads = channels // head_width
        self.norm = norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        # each head's query, key and value lie together
        heads = self.qkv(self.norm(x).flatten(2)).unflatten(1, (self.heads, 3, -1)).transpose(-1, -2)
        h = F.scaled_dot_product_attention(*heads.unbind(2)).transpose(-1, -2).flatten(1, 2)
        change: Tensor = self.proj_out(h).view_as(x)
        return x + change


class Downsample(nn.Module):
    """Halve the sides (rounded up) by a 3×3 convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, ⌈H/2⌉, ⌈W/2⌉)."""
        return self.op(x)  # type: ignore[no-any-return]


class Upsample(nn.Module):
    """Repeat every pixel twice along both sides, then convolve 3×3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))  # type: ignore[no-any-return]


class Stage(nn.ModuleList):
    """Layers in a row, of which the residual blocks also get the timestep embedding."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map features (B, C, H, W) and an embedding (B, E) to features."""
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


def zeroed(layer: nn.Module) -> nn.Module:
    """Set all parameters to zero, so that a residual branch starts as nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
