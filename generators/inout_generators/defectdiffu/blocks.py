"""The blocks of DefectDiffu's transformer: DiT's (Peebles and Xie, arXiv 2212.09748), and what looks for the defect.

Attributes are named as the keys of published checkpoints are, so that one strict load reads them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn

Gelu: TypeAlias = Literal["tanh", "exact"]

_EPS = 1e-6
_FREQUENCIES = 256


class Attention(nn.Module):
    """Self-attention over all tokens.

    Args:
        width: Of a token.
        heads: That the width divides into.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map (B, N, width) to the same shape; `bias`, (heads, N, N), is added to how much tokens look at others."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=None if bias is None else bias[None])
        return self.proj(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear layers around a GELU.

    Args:
        width: Of a token.
        hidden: Of the layer between.
        gelu: DiT was trained with "tanh", the approximation; the released DefectDiffu with "exact".
    """

    def __init__(self, width: int, hidden: int, gelu: Gelu) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU(approximate="tanh" if gelu == "tanh" else "none")
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """DiT's block with adaLN-Zero, in its two halves: what comes between them in a defect block is `CrossAttention`.

    A modulation is (B, 6, width): shift, scale and gate of the first half, then of the second; see `modulation`.

    Args:
        width: Of a token.
        heads: Of the self-attention.
        hidden: Of the MLP.
        gelu: Of the MLP.
    """

    def __init__(self, width: int, *, heads: int, hidden: int, gelu: Gelu) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width, hidden, gelu)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def modulation(self, condition: Tensor) -> Tensor:
        """Return what a condition (B, width) does to the block: (B, 6, width)."""
        return self.adaLN_modulation(condition).unflatten(-1, (6, -1))  # type: ignore[no-any-return]

    def attend(self, x: Tensor, modulation: Tensor, bias: Tensor | None = None) -> Tensor:
        """Map tokens (B, N, width) through the first half; for `bias` see `Attention`."""
        shift, scale, gate = modulation[:, :3, None].unbind(1)
        return x + gate * self.attn(modulated(x, shift, scale), bias)  # type: ignore[no-any-return]

    def think(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Map tokens (B, N, width) through the second half."""
        shift, scale, gate = modulation[:, 3:, None].unbind(1)
        return x + gate * self.mlp(modulated(x, shift, scale))  # type: ignore[no-any-return]


class Heads(nn.Module):
    """The projections of `CrossAttention`, which checkpoints keep one level down.

    Args:
        width: Of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)


class CrossAttention(nn.Module):
    """Where in the image the defect is: tokens ask, one token answers, and the softmax is over space.

    Equation 5 of the paper, in the released code's form: the condition (timestep and defect) is the only key, over
    which a softmax would be 1 everywhere. There is neither gate nor output projection.

    Args:
        width: Of a token.
        heads: That the width divides into.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.cross_attention = Heads(width)

    def key_value(self, condition: Tensor) -> Tensor:
        """Return key and value of a condition (B, width): (B, 2, width)."""
        layers = self.cross_attention
        return torch.stack([layers.to_k(condition), layers.to_v(condition)], 1)

    def forward(self, x: Tensor, key_value: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens (B, N, width) with the defect's value where it is, and where: (B, heads, N), sum 1 over N."""
        query = self.cross_attention.to_q(normed(x)).unflatten(-1, (self.heads, -1))
        key, value = key_value.reshape(len(x), 2, self.heads, -1).unbind(1)
        likeness = (query * key[:, None]).sum(-1) * query.shape[-1] ** -0.5
        # 1 / N is too small a number for half precision to add up
        attention = likeness.float().softmax(1)
        x = x + (attention[..., None] * value[:, None]).flatten(2).to(x.dtype)
        return x, attention.transpose(1, 2)


class MaskHead(nn.Module):
    """From where all defect blocks looked to the mask's latent.

    Args:
        maps: Attention maps: defect blocks times heads.
        outputs: Values per token.
        silu: Put a SiLU between the two layers that the released code has next to each other.
    """

    def __init__(self, maps: int, outputs: int, *, silu: bool) -> None:
        super().__init__()
        self.silu = silu
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(maps, 2 * maps), nn.Linear(2 * maps, maps))
        self.linear = nn.Linear(maps, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, N, maps) to (B, N, outputs)."""
        act, first, second = self.mlp
        hidden = first(act(normed(maps)))
        return self.linear(second(act(hidden) if self.silu else hidden))  # type: ignore[no-any-return]


class PatchEmbedding(nn.Module):
    """From patches to tokens.

    Args:
        channels: Of the latents.
        width: Of a token.
        patch: Side of a patch.
    """

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)
        # as of the linear layer that it is
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, N, width), row by row."""
        return self.proj(z).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class TimestepEmbedding(nn.Module):
    """From timesteps to conditions.

    Args:
        width: Of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Map (B,) to (B, width)."""
        waves = get_timestep_embedding(t, _FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        return self.mlp(waves.to(self.mlp[0].weight.dtype))  # type: ignore[no-any-return]


class FinalLayer(nn.Module):
    """From tokens to the values of their patches.

    Args:
        width: Of a token.
        outputs: Values per token.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def modulation(self, condition: Tensor) -> Tensor:
        """Return shift and scale of a condition (B, width): (B, 2, width)."""
        return self.adaLN_modulation(condition).unflatten(-1, (2, -1))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Map (B, N, width) to (B, N, outputs)."""
        shift, scale = modulation[:, :, None].unbind(1)
        return self.linear(modulated(x, shift, scale))  # type: ignore[no-any-return]


def normed(x: Tensor) -> Tensor:
    """Return tokens with mean 0 and variance 1, each over its own channels."""
    return F.layer_norm(x, x.shape[-1:], eps=_EPS)


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Return normalised tokens, scaled and shifted."""
    return normed(x) * (1 + scale) + shift
