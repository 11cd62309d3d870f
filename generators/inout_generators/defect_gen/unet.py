"""The two U-Nets of Defect-Gen: one that sees the whole image, and local ones whose receptive field is restrained.

Yang et al., "Defect Spectrum" (ECCV 2024, arXiv 2310.17316), section 4, in the form of its released code. Both nets
predict the clean image and mask x0 from the noised x_t.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from inout_generators.defect_gen.blocks import Attention, Downsample, Norm, PixelNorm, ResBlock, Stage, Upsample, zeroed

_GLOBAL: dict[str, Any] = {"attention_levels": (3, 4, 5), "middle": True, "scale_shift": True}
_LOCAL: dict[str, Any] = {"attention_levels": (), "middle": False, "scale_shift": False}
_TINY: dict[str, Any] = {"blocks": 1, "groups": 8}
PRESETS: dict[str, dict[str, Any]] = {
    "large": {"width": 128, "multipliers": (1, 1, 2, 2, 4, 4), **_GLOBAL},
    "medium": {"width": 192, "multipliers": (1, 2, 4), **_LOCAL},
    "small": {"width": 192, "multipliers": (1, 2), **_LOCAL},
    "tiny_large": {"width": 16, "multipliers": (1, 2, 4, 4), **_TINY, **_GLOBAL, "attention_levels": (3,)},
    "tiny_local": {"width": 32, "multipliers": (1, 2), **_TINY, **_LOCAL},
}


class DefectGenUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree on the type of config_name
    """A U-Net that denoises an image and its one-hot mask together.

    Sides may have any length: an odd one is rounded up on the way down, and the extra row or column is cut off on the
    way up. What a pixel of the output may depend on is `receptive_field(net.config)`. Attributes are named as the keys
    of published checkpoints are.

    Args:
        channels: Of the image, plus one for the background and one per defect class.
        width: Channels of the first level; the timestep embedding has four times as many.
        multipliers: Channels of each level, in widths; each level after the first halves the sides.
        blocks: Residual blocks per level on the way down; there is one more on the way up.
        attention_levels: Levels, from 0, with self-attention after each residual block.
        head_width: Channels of one attention head.
        middle: Whether a residual block, attention and another residual block stand between the ways down and up.
        scale_shift: Whether the timestep scales and shifts features, or is added to them.
        norm: "group" as published, whose statistics let every pixel see every other a little; "pixel" normalises each
            pixel's channels alone, which makes the receptive field strict.
        groups: Of the group normalisation; every level's channels are a multiple of it.
        classes: Defect classes that can be asked for; 0 for an unconditional net.
        dropout: Rate in the residual blocks.

    Raises:
        ValueError: Channels do not divide into groups or heads, or there is no such level.

    Example:
        >>> net = DefectGenUNet(channels=5, width=32, multipliers=(1, 2), blocks=1, attention_levels=())
        >>> net(torch.zeros(2, 5, 30, 45), torch.tensor([10, 999])).shape
        torch.Size([2, 5, 30, 45])
    """

    # diffusers' own warns, at every change of dtype, of layers kept in float32 where there are none
    to = nn.Module.to

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        channels: int,
        width: int = 128,
        multipliers: Sequence[float] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        attention_levels: Sequence[int] = (3, 4, 5),
        head_width: int = 16,
        middle: bool = True,
        scale_shift: bool = True,
        norm: Literal["group", "pixel"] = "group",
        groups: int = 32,
        classes: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [int(multiplier * width) for multiplier in multipliers]
        _check(widths, blocks, attention_levels, head_width, middle, norm, groups)
        embedding = 4 * width
        normalise: Norm = PixelNorm if norm == "pixel" else partial(nn.GroupNorm, groups)
        residual = partial(ResBlock, embedding=embedding, norm=normalise, scale_shift=scale_shift, dropout=dropout)
        attention = partial(Attention, head_width=head_width, norm=normalise)

        self.time_embed = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        # row 0, no class, stays zero
        self.class_embed = nn.Embedding(classes + 1, embedding, padding_idx=0) if classes else None

        now = widths[0]
        skips = [now]
        self.input_blocks = nn.ModuleList([Stage([nn.Conv2d(channels, now, 3, padding=1)])])
        for level, wide in enumerate(widths):
            if level:
                self.input_blocks.append(Stage([Downsample(now)]))
                skips.append(now)
            for _ in range(blocks):
                layers: list[nn.Module] = [residual(now, wide)]
                if level in attention_levels:
                    layers.append(attention(wide))
                self.input_blocks.append(Stage(layers))
                now = wide
                skips.append(now)

        self.middle_block = Stage([residual(now, now), attention(now), residual(now, now)]) if middle else None

        self.output_blocks = nn.ModuleList()
        for level, wide in reversed(list(enumerate(widths))):
            for block in range(blocks + 1):
                skip = skips.pop()
                # without a middle, the first block takes the last features on the way down as they are
                joined = now + skip if middle or self.output_blocks else skip
                layers = [residual(joined, wide)]
                if level in attention_levels:
                    layers.append(attention(wide))
                if level and block == blocks:
                    layers.append(Upsample(wide))
                self.output_blocks.append(Stage(layers))
                now = wide

        self.out = nn.Sequential(normalise(now), nn.SiLU(), zeroed(nn.Conv2d(now, channels, 3, padding=1)))

    def forward(self, x: Tensor, t: Tensor, defect_class: Tensor | None = None) -> Tensor:
        """Predict x0.

        Args:
            x: The noised image and mask x_t, (B, C, H, W).
            t: Timesteps, (B,), in [0, T).
            defect_class: int64 (B,), classes from 1; 0, or None for all, asks for no class in particular.

        Returns:
            The clean image and mask, (B, C, H, W).

        Raises:
            ValueError: A class is asked of a net that knows none.
        """
        timestep = get_timestep_embedding(t, self.config["width"], flip_sin_to_cos=True, downscale_freq_shift=0)
        embedding = self.time_embed(timestep.to(x.dtype))
        if defect_class is not None:
            if self.class_embed is None:
                raise ValueError("this net was trained without defect classes; leave defect_class away")
            embedding = embedding + self.class_embed(defect_class)

        h: Tensor | None = x
        skips: list[Tensor] = []
        for stage in self.input_blocks:
            h = stage(h, embedding)
            skips.append(h)
        h = self.middle_block(h, embedding) if self.middle_block else None
        for stage in self.output_blocks:
            skip = skips.pop()
            h = skip if h is None else torch.cat([h[..., : skip.shape[2], : skip.shape[3]], skip], dim=1)
            h = stage(h, embedding)
        return self.out(h)  # type: ignore[no-any-return]


def preset(name: str, *, channels: int, classes: int = 0) -> DefectGenUNet:
    """Build an untrained net of a known size.

    "large" and "medium" are the published pair of configuration files; "small" is the paper's other local net.
    "tiny_large" and "tiny_local" are a pair that a CPU trains on 64×64 pixels in half an hour.

    Args:
        name: "large", "medium", "small", "tiny_large" or "tiny_local".
        channels: Of the image, plus one for the background and one per defect class.
        classes: Defect classes that can be asked for.

    Raises:
        ValueError: There is no such preset.

    Example:
        >>> net = preset("tiny_local", channels=5)
        >>> net(torch.zeros(1, 5, 64, 64), torch.tensor([0])).shape
        torch.Size([1, 5, 64, 64])
    """
    if name not in PRESETS:
        raise ValueError(f"no net {name!r}; there are {', '.join(PRESETS)}")
    net: DefectGenUNet = DefectGenUNet(channels=channels, classes=classes, **PRESETS[name])
    return net


def _check(
    widths: Sequence[int],
    blocks: int,
    attention_levels: Sequence[int],
    head_width: int,
    middle: bool,
    norm: str,
    groups: int,
) -> None:
    if not widths or blocks < 1:
        raise ValueError(f"a net has at least one level and one block in each; got {len(widths)} and {blocks}")
    if unknown := set(attention_levels) - set(range(len(widths))):
        raise ValueError(f"attention_levels {sorted(unknown)} do not exist; levels are 0 to {len(widths) - 1}")
    if norm not in ("group", "pixel"):
        raise ValueError(f"norm is 'group' or 'pixel'; got {norm!r}")
    if norm == "group":
        _check_multiples(widths, "groups", groups)
    _check_multiples([widths[level] for level in attention_levels] + [widths[-1]] * middle, "head_width", head_width)


def _check_multiples(widths: Sequence[int], name: str, part: int) -> None:
    if part < 1 or any(width < 1 or width % part for width in widths):
        raise ValueError(f"channels of the levels must be multiples of {name}={part}; got {list(widths)}")
