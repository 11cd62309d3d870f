"""LoRA-c3Lier: which layers of Stable Diffusion it changes, how it is put on them, merged, and taken off again.

A layer W becomes W + α · (lora_alpha / rank) · up · down, with the merge weight α that the In&Out paper sets per
scenario (0.60 zero-shot, 0.95 few-shot, 0.80 full-shot).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

if TYPE_CHECKING:
    Adapted: TypeAlias = Any

ADAPTER = "inout"

# kohya's rule for UNet modules: every linear layer and convolution of the attention and residual blocks and of the
# samplers; not conv_in, conv_out and the time embedding
_CONVOLUTIONS = ("conv1", "conv2", "downsamplers.0.conv", "upsamplers.0.conv")
_POINTWISE = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")
_RESIDUAL = ("conv_shortcut", "time_emb_proj")
_TEXT = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """The change of one layer.

    Attributes:
        down: (rank, in, ...): of a linear layer, or a convolution of the layer's kernel.
        up: (out, rank, ...): of a linear layer, or a 1×1 convolution.
        alpha: The change is scaled by alpha / rank.
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Of the change as a matrix."""
        return int(self.down.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class LoRA:
    """All that a LoRA file says.

    Attributes:
        unet: The change of each layer, by its dotted name in the UNet.
        text_encoder: The same of the text encoder; empty if it was not trained.
        clip_skip: Last layers of the text encoder that were left out in training, as diffusers counts them: 0 uses all,
            1 the penultimate (kohya's 2). None if the file does not say.
    """

    unet: Mapping[str, LowRank]
    text_encoder: Mapping[str, LowRank] = field(default_factory=dict)
    clip_skip: int | None = None


def c3lier_unet(*, rank: int = 32, alpha: float = 16, conv_rank: int = 4, conv_alpha: float = 1) -> LoraConfig:
    """Return peft's settings of LoRA-c3Lier for a UNet: on SD 1.5, 278 layers, of which 50 are 3×3 convolutions.

    Args:
        rank: Of linear layers and 1×1 convolutions.
        alpha: Their numerator: their change is scaled by alpha / rank.
        conv_rank: Of 3×3 convolutions.
        conv_alpha: Their numerator.

    Example:
        >>> from inout_generators.lora.tiny import tiny_stable_diffusion
        >>> unet = tiny_stable_diffusion().unet
        >>> unet.add_adapter(c3lier_unet(), ADAPTER)
        >>> len(collect(unet).unet)
        79
    """
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=[*_POINTWISE, *_RESIDUAL, *_CONVOLUTIONS],
        rank_pattern=dict.fromkeys(_CONVOLUTIONS, conv_rank),
        alpha_pattern=dict.fromkeys(_CONVOLUTIONS, conv_alpha),
        init_lora_weights=True,
    )


def c3lier_text(*, rank: int = 32, alpha: float = 16) -> LoraConfig:
    """Return peft's settings of LoRA for CLIP's text encoder: 72 layers on SD 1.5. See `c3lier_unet`."""
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(_TEXT), init_lora_weights=True)


def check_alpha(alpha: float) -> float:
    """Return a merge weight as a float.

    Raises:
        ValueError: It is not in [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha, the merge weight of the LoRA, lies in [0, 1], 0 for the base alone; got {alpha}")
    return float(alpha)


def attach(lora: LoRA, unet: Adapted, text_encoder: Adapted = None, *, alpha: float = 1.0) -> None:
    """Put a LoRA on models that have none, beside their weights, which stay as they are.

    Args:
        lora: Fits the models, as `read_lora` has seen to.
        unet: Changed in place.
        text_encoder: Changed in place; may be left out for a LoRA that leaves it alone.
        alpha: Merge weight, in [0, 1].

    Raises:
        ValueError: Alpha is out of range, or a model has a LoRA.
    """
    check_alpha(alpha)
    for model, updates in ((unet, lora.unet), (text_encoder, lora.text_encoder)):
        if updates and any(_layers(model)):
            raise ValueError(f"the {type(model).__name__} has a LoRA already; detach it first, or use set_alpha")
    for model, updates in ((unet, lora.unet), (text_encoder, lora.text_encoder)):
        if updates:
            inject_adapter_in_model(config_of(updates), model, ADAPTER)
            for name, layer in _layers(model):
                _copy(updates[name], layer)
    set_alpha(alpha, unet, text_encoder)


def set_alpha(alpha: float, *models: Adapted) -> None:
    """Set the merge weight of the LoRA on some models, None among them for none; unfused ones change at once.

    Raises:
        ValueError: Alpha is out of range, or the LoRA is fused.
    """
    check_alpha(alpha)
    layers = [layer for model in models for _, layer in _layers(model)]
    if any(layer.merged for layer in layers):
        raise ValueError("the LoRA is fused with a merge weight into the base; unfuse it first")
    for layer in layers:
        layer.set_scale(_name(layer), alpha)


def fuse(*models: Adapted) -> None:
    """Add the LoRA, at its merge weight, to the weights of the models, which makes them as fast as without."""
    for model in models:
        for _, layer in _layers(model):
            layer.merge(safe_merge=True)


def unfuse(*models: Adapted) -> None:
    """Take a fused LoRA out of the weights again; up to rounding, they are what they were."""
    for model in models:
        for _, layer in _layers(model):
            if layer.merged:
                layer.unmerge()


def detach(*models: Adapted) -> None:
    """Take the LoRA off and forget it; the models are the base's again, to the last bit unless it was fused."""
    unfuse(*models)
    for model in models:
        for name, layer in list(_layers(model)):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
        for leftover in ("peft_config", "_hf_peft_config_loaded"):
            if leftover in vars(model or object):
                delattr(model, leftover)


def collect(unet: Adapted, text_encoder: Adapted = None, *, clip_skip: int | None = None) -> LoRA:
    """Return the LoRA that is on the models, as of now, in float32 on the CPU; for `save_lora`.

    Args:
        unet: With a LoRA.
        text_encoder: With a LoRA or without.
        clip_skip: As it was in training; see `LoRA`.
    """
    return LoRA(dict(_updates(unet)), dict(_updates(text_encoder)), clip_skip)


def config_of(updates: Mapping[str, LowRank]) -> LoraConfig:
    """Return peft's settings that name exactly these layers, with every rank and every alpha."""
    rank, alpha = (
        Counter(values).most_common(1)[0][0]
        for values in ([u.rank for u in updates.values()], [u.alpha for u in updates.values()])
    )
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=list(updates),
        rank_pattern={name: u.rank for name, u in updates.items() if u.rank != rank},
        alpha_pattern={name: u.alpha for name, u in updates.items() if u.alpha != alpha},
    )


def _layers(model: Adapted) -> Iterator[tuple[str, Any]]:
    """Yield the layers with a LoRA, by their names in the base."""
    if model is not None:
        yield from ((name, layer) for name, layer in model.named_modules() if isinstance(layer, LoraLayer))


def _name(layer: Any) -> str:
    return str(layer.active_adapters[0])


def _updates(model: Adapted) -> Iterator[tuple[str, LowRank]]:
    for module, layer in _layers(model):
        name = _name(layer)
        down, up = (side[name].weight.detach().float().cpu() for side in (layer.lora_A, layer.lora_B))
        alpha = layer.lora_alpha[name]
        if layer.use_rslora.get(name, False):  # scaled by alpha / sqrt(rank)
            alpha *= math.sqrt(layer.r[name])
        yield module, LowRank(down, up, float(alpha))


@torch.no_grad()
def _copy(update: LowRank, layer: Any) -> None:
    weight: nn.Parameter = layer.get_base_layer().weight
    for side, value in ((layer.lora_A, update.down), (layer.lora_B, update.up)):
        # peft keeps float32 beside half precision, for training; here that would only be slower
        side.to(weight)
        side[ADAPTER].weight.copy_(value)
        side.requires_grad_(False)
