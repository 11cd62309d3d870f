"""DefectDiffu's transformer: a part for the product, one for the defect, one that joins them, and a mask on the side.

"DefectDiffu: text-guided diffusion for industrial defect generation", section 3.2 and 3.4, after the paper and what is
known of its released code; the backbone is DiT (Peebles and Xie, arXiv 2212.09748).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle, islice
from typing import Any, NamedTuple, cast, get_args

import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from inout_generators.defectdiffu.blocks import (
    Block,
    CrossAttention,
    FinalLayer,
    Gelu,
    MaskHead,
    PatchEmbedding,
    TimestepEmbedding,
)
from inout_generators.defectdiffu.diffusion import Predicts

PRESETS: dict[str, dict[str, Any]] = {
    "xl2": {"width": 1152, "depths": (10, 10, 8), "heads": 16},
    "small": {"width": 384, "depths": (4, 4, 4), "heads": 6},
    "tiny": {"width": 128, "depths": (2, 2, 2), "heads": 4},
}


class Conditions(NamedTuple):
    """What timestep and texts do to each layer: all that the net wants to know beside the image.

    Rows are independent of each other, and those of one part of those of another; see `take`.

    Attributes:
        background: Modulations by the product, (blocks, P, 6, width).
        defect: Modulations by the defect, (blocks, D, 6, width).
        asked: Keys and values by the defect, (blocks, D, 2, width).
        fusion: Modulations by both, (blocks, F, 6, width).
        final: Of the last layer, (F, 2, width).
    """

    background: Tensor
    defect: Tensor
    asked: Tensor
    fusion: Tensor
    final: Tensor

    def take(self, product: Tensor, defect: Tensor, fusion: Tensor) -> Conditions:
        """Return some rows of each part: int64 numbers of rows, which may repeat."""
        return Conditions(
            self.background[:, product],
            self.defect[:, defect],
            self.asked[:, defect],
            self.fusion[:, fusion],
            self.final[fusion],
        )


class Prediction(NamedTuple):
    """What the net says of noised latents.

    Attributes:
        out: The noise, or what else the net `predicts`, then the variance between its bounds: (B, 2C, H, W).
        mask_latent: Latent of the defect's mask: (B, C, H, W).
        attention: Where the defect blocks look, in sum over them and mean over heads: (B, h, w), one value per patch.
            It sums to the number of defect blocks.
    """

    out: Tensor
    mask_latent: Tensor
    attention: Tensor


class DefectDiffuTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]  # they disagree on the type of config_name
    """Denoises latents of a product with a defect, and finds the defect in them.

    Texts are one vector each: of the product for the first blocks, of the defect for the next, of both for the last.
    Latents may have any sides that are multiples of the patch: positions are computed for the size.

    Args:
        channels: Of the latents.
        text_dim: Of a text's vector.
        patch: Side of a token, in latent pixels.
        width: Of a token; a multiple of 4.
        depths: Blocks for the product, the defect, and both.
        heads: Of every attention.
        mlp_ratio: Of the MLP's hidden layer to the width.
        gelu: "tanh", as DiT's weights want it; or "exact", as the released DefectDiffu has it.
        position_scale: Distance of two patches, in those of the weights it started from: 0.5 where a net that learned
            on 256 pixels goes on with 512.
        mask_silu: See `MaskHead`.
        predicts: What the first channels of the output are, "noise" as published or "velocity"; see `noise_told`. Where
            noise is strong, an error of a hundredth in it is one of a tenth in the image, but in the velocity no more
            than it is: small nets learn it sooner.
        locality: How closely each head of the self-attention keeps to one of a token's neighbours; see `neighbours`.
            0 as published: then it takes many pictures to learn which tokens lie side by side.

    Raises:
        ValueError: A part has no block, or the width does not divide as it must.

    Example:
        >>> net = DefectDiffuTransformer(text_dim=16, width=64, depths=(1, 1, 1), heads=4)
        >>> z, text = torch.zeros(2, 4, 8, 12), torch.zeros(2, 16)
        >>> [tuple(each.shape) for each in net(z, torch.tensor([5, 999]), text, text, text)]
        [(2, 8, 8, 12), (2, 4, 8, 12), (2, 4, 6)]
    """

    # diffusers' own warns, at every change of dtype, of layers kept in float32 where there are none
    to = nn.Module.to

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        *,
        channels: int = 4,
        text_dim: int = 1024,
        patch: int = 2,
        width: int = 1152,
        depths: Sequence[int] = (10, 10, 8),
        heads: int = 16,
        mlp_ratio: float = 4.0,
        gelu: Gelu = "tanh",
        position_scale: float = 1.0,
        mask_silu: bool = False,
        predicts: Predicts = "noise",
        locality: float = 0.0,
    ) -> None:
        super().__init__()
        _check(channels, text_dim, patch, width, depths, heads, mlp_ratio, gelu, position_scale, locality)
        if predicts not in get_args(Predicts):
            raise ValueError(f"the net predicts 'noise' or 'velocity'; got {predicts!r}")
        _, defect, _ = depths
        hidden, pixels = int(width * mlp_ratio), patch * patch * channels
        self.x_embedder = PatchEmbedding(channels, width, patch)
        self.t_embedder = TimestepEmbedding(width)
        self.y_embedders = nn.Linear(text_dim, width)
        self.blocks = nn.ModuleList([Block(width, heads=heads, hidden=hidden, gelu=gelu) for _ in range(sum(depths))])
        self.cross_defect = nn.ModuleList([CrossAttention(width, heads) for _ in range(defect)])
        self.adapt_mask = MaskHead(defect * heads, pixels, silu=mask_silu)
        self.final_layer = FinalLayer(width, 2 * pixels)
        self._initialise()

    def forward(
        self, z: Tensor, t: Tensor, text_defect: Tensor, text_product: Tensor, text_fusion: Tensor
    ) -> Prediction:
        """Predict noise, variance and mask.

        Args:
            z: Noised latents, (B, C, H, W).
            t: Timesteps, (B,), in [0, T).
            text_defect: Vectors of the defects' texts, (B, text_dim).
            text_product: Of the products', (B, text_dim).
            text_fusion: Of both, (B, text_dim).

        Raises:
            ValueError: Sides of `z` are no multiples of the patch, or it has other channels.
        """
        return self.denoise(z, self.conditions(t, text_defect, text_product, text_fusion))

    def conditions(self, t: Tensor, text_defect: Tensor, text_product: Tensor, text_fusion: Tensor) -> Conditions:
        """Return what timesteps (B,) and texts (B, text_dim) do to each layer, (B rows in each part).

        They can be computed once for many timesteps and images, since they hang on nothing else.
        """
        time = self.t_embedder(t)
        product, defect, fusion = (time + self.y_embedders(text) for text in (text_product, text_defect, text_fusion))
        background, middle, last = self._parts()
        return Conditions(
            torch.stack([block.modulation(product) for block in background]),
            torch.stack([block.modulation(defect) for block, _ in middle]),
            torch.stack([cross.key_value(defect) for _, cross in middle]),
            torch.stack([block.modulation(fusion) for block in last]),
            self.final_layer.modulation(fusion),
        )

    def denoise(self, z: Tensor, conditions: Conditions, branches: Tensor | None = None) -> Prediction:
        """Predict noise, variance and mask under conditions that are computed already.

        Args:
            z: Noised latents, (P, C, H, W), a row for each row of `conditions.background`.
            conditions: From `conditions`.
            branches: For images that differ in nothing but defect and fusion text: int64 (B,), the row of `z` that each
                of the other parts' rows goes on from. The product's blocks run but once for all of them.

        Raises:
            ValueError: Sides of `z` are no multiples of the patch, or it has other channels.
        """
        channels, patch = self.config["channels"], self.config["patch"]
        if z.dim() != 4 or z.shape[1] != channels or z.shape[2] % patch or z.shape[3] % patch:
            raise ValueError(
                f"latents are (B, {channels}, H, W), with sides that are multiples of the patch, {patch}; got "
                f"{tuple(z.shape)}"
            )
        rows, columns = z.shape[2] // patch, z.shape[3] // patch
        x = self.x_embedder(z)
        scale = float(self.config["position_scale"])
        x = x + positions(rows, columns, x.shape[-1], scale, x.device).to(x.dtype)
        locality = float(self.config["locality"])
        bias = None
        if locality:
            bias = neighbours(rows, columns, self.config["heads"], locality, x.device).to(x.dtype)
        background, middle, last = self._parts()
        for block, modulation in zip(background, conditions.background, strict=True):
            x = block.think(block.attend(x, modulation, bias), modulation)
        if branches is not None:
            x = x[branches]
        maps = []
        for (block, cross), modulation, asked in zip(middle, conditions.defect, conditions.asked, strict=True):
            x, attention = cross(block.attend(x, modulation, bias), asked)
            x = block.think(x, modulation)
            maps.append(attention)
        for block, modulation in zip(last, conditions.fusion, strict=True):
            x = block.think(block.attend(x, modulation, bias), modulation)
        # (B, N, defect blocks times heads), the blocks one after the other
        seen = torch.cat(maps, 1).transpose(1, 2).to(x.dtype)
        return Prediction(
            self._image(self.final_layer(x, conditions.final), rows, columns),
            self._image(self.adapt_mask(seen), rows, columns),
            torch.stack(maps).sum(0).mean(1).reshape(-1, rows, columns),
        )

    def _parts(self) -> tuple[list[Block], list[tuple[Block, CrossAttention]], list[Block]]:
        """Return the blocks for the product, for the defect, and for both."""
        blocks, crosses = cast(list[Block], list(self.blocks)), cast(list[CrossAttention], list(self.cross_defect))
        first, second, _ = self.config["depths"]
        middle = list(zip(blocks[first : first + second], crosses, strict=True))
        return blocks[:first], middle, blocks[first + second :]

    def _image(self, tokens: Tensor, rows: int, columns: int) -> Tensor:
        """Return (B, rows * columns, patch * patch * channels) as images."""
        patch = self.config["patch"]
        cells = tokens.reshape(len(tokens), rows, columns, patch, patch, -1)
        return cells.permute(0, 5, 1, 3, 2, 4).reshape(len(tokens), -1, rows * patch, columns * patch)

    def _initialise(self) -> None:
        """Start as DiT does: every block as nothing, the rest Xavier-uniform."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for name, parameter in self.named_parameters():
            if name.startswith("t_embedder") and parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
            elif "adaLN_modulation" in name or name.startswith("final_layer"):
                nn.init.zeros_(parameter)


def preset(name: str, **config: Any) -> DefectDiffuTransformer:
    """Build an untrained net of a known size.

    Args:
        name: "xl2", the published one; "small" and "tiny" for pixels, with a GPU and without.
        config: Other arguments of `DefectDiffuTransformer`, such as `channels`, `patch` and `text_dim`.

    Raises:
        ValueError: There is no such preset.

    Example:
        >>> preset("tiny", channels=3, patch=4, text_dim=32).config["depths"]
        (2, 2, 2)
    """
    if name not in PRESETS:
        raise ValueError(f"no net {name!r}; there are {', '.join(PRESETS)}")
    net: DefectDiffuTransformer = DefectDiffuTransformer(**{**PRESETS[name], **config})
    return net


@lru_cache(maxsize=16)
def positions(rows: int, columns: int, width: int, scale: float, device: torch.device) -> Tensor:
    """Return where each patch is, as sines and cosines: (rows * columns, width), float32; the columns come first.

    Args:
        rows: Of patches.
        columns: Of patches.
        width: Of a token; a multiple of 4.
        scale: Distance of two patches.
        device: Where the tensor is kept.
    """
    frequencies = 10000.0 ** -(np.arange(width // 4) / (width // 4))
    y, x = np.meshgrid(np.arange(rows) * scale, np.arange(columns) * scale, indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (x, y)]
    table = np.concatenate([wave(angle) for angle in angles for wave in (np.sin, np.cos)], 1).astype(np.float32)
    # what is kept may serve in a training later
    with torch.inference_mode(False):
        return torch.from_numpy(table).to(device)


@lru_cache(maxsize=16)
def neighbours(rows: int, columns: int, heads: int, locality: float, device: torch.device) -> Tensor:
    """Return what makes a head look at one neighbour of each token: float32, (heads, N, N) for N = rows * columns.

    That is -locality times the squared distance to it, in tokens, so that a layer starts out as a convolution: the
    positional attention of ConViT (d'Ascoli et al., 2021, arXiv 2103.10697, equations 5 and 6). Heads take turns with
    the eight neighbours, those at the sides first.

    Args:
        rows: Of tokens.
        columns: Of tokens.
        heads: Of the attention.
        locality: At 2, 62 % of a head's attention starts on its neighbour, and 8 % on the token itself.
        device: Where the tensor is kept.

    Example:
        >>> above = neighbours(3, 3, 1, 2.0, torch.device("cpu"))[0]
        >>> above[4].argmax().item()  # what the middle one sees most of
        1
    """
    sides = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    with torch.inference_mode(False):
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
        wanted = torch.tensor(list(islice(cycle(sides + corners), heads)))
        apart = places[None] - places[:, None] - wanted[:, None, None]
        return (-locality * apart.square().sum(-1)).to(device)


def _check(
    channels: int,
    text_dim: int,
    patch: int,
    width: int,
    depths: Sequence[int],
    heads: int,
    mlp_ratio: float,
    gelu: str,
    position_scale: float,
    locality: float,
) -> None:
    if min(channels, text_dim, patch, width, heads) < 1 or not (mlp_ratio > 0 and position_scale > 0):
        raise ValueError(
            "channels, text_dim, patch, width and heads are at least 1, mlp_ratio and position_scale above 0; got "
            f"{channels}, {text_dim}, {patch}, {width}, {heads}, {mlp_ratio} and {position_scale}"
        )
    if not 0 <= locality < math.inf:
        raise ValueError(f"locality is finite and not negative; got {locality}")
    if len(depths) != 3 or min(depths) < 1:
        raise ValueError(f"depths are three: blocks for product, defect and both, each at least 1; got {list(depths)}")
    if width % heads or width % 4:
        raise ValueError(f"the width is a multiple of the heads, {heads}, and of 4; got {width}")
    if gelu not in ("tanh", "exact"):
        raise ValueError(f"gelu is 'tanh' or 'exact'; got {gelu!r}")
