"""Masks of whole images from what the UNet attends to where: rough, and flagged as such."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from inout_aug.sample import Mask
from inout_generators.common.masks import foreground, without_specks
from inout_generators.lora.drawing import Task

# smallest part of a mask that is kept, as a share of the image: 16 pixels of 512×512
_SPECK = 16 / 512**2


class AttentionMasks:
    """Masks an image where the words of the defect were attended to: in all cross-attentions, at all steps.

    Tang et al., "What the DAAM: interpreting Stable Diffusion using cross attention", ACL 2023, eq. 8, thresholded by
    ISODATA in place of a fixed share of the maximum. It knows no better than the latents' pixels, 8 of the image's, and
    what was attended to is not all that changed: prefer `LoRAInpaint`, whose masks are exact. Words that are attended
    to everywhere alike give an empty mask, which a cache's gates refuse.

    Args:
        words: Those of the defect, one or several; each prompt has one of them at least. None for the last word of each
            prompt, as in "skt background scratched".
        min_contrast: The least difference between the mean heat in the mask and outside it, as a share of the highest.
        floor: Heat below this share of the highest is never in the mask.

    Raises:
        ValueError: There are no words, or a setting is not in [0, 1].

    Example:
        >>> AttentionMasks(["scratched", "cracked"])
        AttentionMasks(words=('scratched', 'cracked'), min_contrast=0.2, floor=0.25)
    """

    def __init__(
        self, words: str | Sequence[str] | None = None, *, min_contrast: float = 0.2, floor: float = 0.25
    ) -> None:
        self.words = (words,) if isinstance(words, str) else None if words is None else tuple(words)
        self.min_contrast, self.floor = min_contrast, floor
        if self.words is not None and not (self.words and all(word.strip() for word in self.words)):
            raise ValueError(f"words are those of the defect in the prompts, such as scratched; got {self.words}")
        if not (0 <= min_contrast <= 1 and 0 <= floor <= 1):
            raise ValueError(f"min_contrast and floor are shares of the highest heat; got {min_contrast} and {floor}")

    def __repr__(self) -> str:
        return f"AttentionMasks(words={self.words}, min_contrast={self.min_contrast}, floor={self.floor})"

    @contextmanager
    def watch(self, pipeline: Any, tasks: Sequence[Task]) -> Iterator[Heat]:
        """Watch the drawing of some tasks of one size.

        Raises:
            ValueError: A prompt has none of the words, or the UNet is compiled, which hides its attention.
        """
        if getattr(pipeline.unet, "_compiled_call_impl", None) is not None:
            raise ValueError("a compiled UNet does not show its attention; masks want compile=False")
        positions = [positions_of(pipeline.tokenizer, task.prompt, self.words) for task in tasks]
        heat = Heat(positions, tasks[0].size, pipeline.vae_scale_factor, self)
        modules: Mapping[str, Any] = dict(pipeline.unet.named_modules())
        hooks = [
            module.register_forward_pre_hook(heat.add, with_kwargs=True)
            for name, module in modules.items()
            if name.endswith("attn2")
        ]
        try:
            yield heat
        finally:
            for hook in hooks:
                hook.remove()

    def mask(self, heat: NDArray[np.floating[Any]]) -> Mask:
        """Return where an image is hot, uint8, 1 inside.

        Args:
            heat: (H, W), not negative. What is not finite is cold.
        """
        heat = np.nan_to_num(heat, posinf=0).clip(0)
        hot = foreground(heat / (float(heat.max()) or 1), min_contrast=self.min_contrast, floor=self.floor)
        return without_specks(hot, round(_SPECK * heat.size))


class Heat:
    """Attention that some words of each image's prompt got, added up over layers, heads and steps.

    Args:
        positions: Of the words' tokens, for each image.
        size: (H, W) of the images.
        cell: Pixels per latent.
        settings: How it becomes masks.
    """

    def __init__(
        self, positions: Sequence[Sequence[int]], size: tuple[int, int], cell: int, settings: AttentionMasks
    ) -> None:
        self._positions, self._size, self._settings = positions, size, settings
        self._levels: dict[tuple[int, int], Tensor] = {}
        # each level of a UNet has half the sides of the one before, rounded up
        height, width = (side // cell for side in size)
        self._shapes = {height * width: (height, width)}
        while height > 1 or width > 1:
            height, width = (-(-side // 2) for side in (height, width))
            self._shapes[height * width] = height, width

    def add(self, attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add what a cross-attention attends to; a hook before it, so that it works as ever."""
        queries, words = (*args, kwargs.get("encoder_hidden_states"))[:2]
        # the last are those with the prompts; before them are those without, for the guidance
        count = len(self._positions)
        query, key = (
            attention.head_to_batch_dim(project(seen[-count:]))
            for project, seen in ((attention.to_q, queries), (attention.to_k, words))
        )
        weights = attention.get_attention_scores(query, key).float()
        # the heads of one image follow each other
        by_image = torch.stack([heads.sum(dim=0) for heads in weights.chunk(count)])
        hot = [image[:, list(at)].mean(dim=1) for image, at in zip(by_image, self._positions, strict=True)]
        shape = self._shapes[queries.shape[1]]
        self._levels[shape] = self._levels.get(shape, 0) + torch.stack(hot).reshape(count, *shape)

    def maps(self) -> NDArray[np.float32]:
        """Return the heat of each image, float32 (B, H, W)."""
        levels = [
            F.interpolate(level[:, None], size=self._size, mode="bicubic", align_corners=False)[:, 0]
            for level in self._levels.values()
        ]
        return np.asarray(torch.stack(levels).sum(dim=0).cpu().numpy(), np.float32)

    def __call__(self) -> list[Mask]:
        """Return a mask per image, uint8 (H, W), 1 inside."""
        return [self._settings.mask(heat) for heat in self.maps()]


def positions_of(tokenizer: Any, text: str, words: Sequence[str] | None) -> list[int]:
    """Return at which tokens of a text some words stand, or its last word.

    Raises:
        ValueError: None of them is in it.

    Example:
        >>> from inout_generators.lora.tiny import tiny_stable_diffusion
        >>> positions_of(tiny_stable_diffusion().tokenizer, "a scratch, white", ["scratch"])
        [2]
    """
    wanted = re.findall(r"\w+", text)[-1:] if words is None else words
    tokens = tokenizer(text, truncation=False).input_ids
    found: set[int] = set()
    for word in wanted:
        part = tokenizer(word, truncation=False).input_ids[1:-1]
        starts = [k for k in range(len(tokens)) if tokens[k : k + len(part)] == part]
        found |= {start + k for start in starts for k in range(len(part))}
    if not found:
        raise ValueError(
            f"none of the words {', '.join(wanted)} is in the prompt {text!r}. Give AttentionMasks the words of the "
            "defect in each prompt"
        )
    return sorted(found)
