"""Weights that others trained, as nets of this package: the official DefectDiffu's, and DiT's to start from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inout_generators.common.checkpoints import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    CheckpointError,
    PathLike,
    load_exactly,
    published_state_dict,
    read_json,
)
from inout_generators.defectdiffu.model import DefectDiffuTransformer, positions

_KEY = "model_state_dict"
# older folders of diffusers have a pickle, of which tensors alone are read
_WEIGHTS = (WEIGHTS_NAME, "diffusion_pytorch_model.bin")
_POSITIONS = "pos_embed"
# the published net's: 10 blocks for the product, then as many as there are cross-attentions
_BACKGROUND = 10
# arguments of the official constructor; the last three change nothing here
_READ = {"patch_size", "in_channels", "hidden_size", "depth", "num_heads", "mlp_ratio", "text_dim", "depths"}
_IDLE = {"input_size", "class_dropout_prob", "num_classes"}
# what DiT does not have
_NEW = ("y_embedders.", "cross_defect.", "adapt_mask.")
# how diffusers names DiT's layers
_FROM_DIFFUSERS = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2",
    "final_layer.adaLN_modulation.1": "proj_out_1",
    "final_layer.linear": "proj_out_2",
}
_BLOCK_FROM_DIFFUSERS = {
    "adaLN_modulation.1": "norm1.linear",
    "attn.proj": "attn1.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}


def load_official(checkpoint: PathLike | Mapping[str, Any], config: Mapping[str, Any]) -> DefectDiffuTransformer:
    """Load a net that was trained with the official DefectDiffu code.

    Args:
        checkpoint: A state dict under the official key names; a dict that holds it under `model_state_dict`; or a file
            of either, `.safetensors`, or `.pt`, of which tensors and plain values alone are read
            (`weights_only=True`).
        config: The constructor's arguments: `patch_size`, `in_channels`, `hidden_size`, `depth`, `num_heads`,
            `text_dim`, and `mlp_ratio`, 4 by default. `depths` gives the blocks for product, defect and both where they
            are not the published ones.

    Returns:
        The net in evaluation mode, on the CPU: `net(z, t, text_defect, text_product, text_fusion)` gives noise and
        variance, the mask's latent, and the attention.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, holds code, or does not fit the configuration key by key.
        ValueError: The configuration lacks an argument, has an unknown one, or makes no net.
    """
    source = "the checkpoint" if isinstance(checkpoint, Mapping) else checkpoint
    weights = dict(published_state_dict(checkpoint, _KEY))
    net: DefectDiffuTransformer = DefectDiffuTransformer(**_arguments(config, weights))
    stored = weights.pop(_POSITIONS, None)
    load_exactly(net, weights, source=source)
    if stored is not None:
        _check_positions(stored, source)
    net.eval()
    return net


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a net took over from DiT's weights; prints as a table.

    Attributes:
        rows: Part of the net, what became of it, and its number of weights.
        notes: What to know beside that.
    """

    rows: tuple[tuple[str, str, int], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{part:<16}{state:<10}{count:>13,}" for part, state, count in self.rows]
        return "\n".join([*lines, *self.notes])


def load_dit(
    net: DefectDiffuTransformer, source: PathLike | Mapping[str, Any], *, size: Sequence[int] | None = None
) -> Loaded:
    """Start a net from DiT's ImageNet weights, as published; they are licensed for non-commercial use only.

    Text projection, cross-attention and mask head are new: they stay as they are. DiT's class embeddings are not used.

    Args:
        net: Of DiT's width, depth, patch and channels; changed in place.
        source: The official file, such as `DiT-XL-2-512x512.pt` (tensors alone are read), its state dict, or a folder
            with diffusers' `DiTTransformer2DModel`.
        size: (H, W) of the latents that the net will be trained on. Where DiT was trained on another size, its
            positions are stretched to this one.

    Returns:
        What was loaded, and what is new.

    Raises:
        FileNotFoundError: There is no such file or folder.
        CheckpointError: It is damaged, holds code, or is of another net.
    """
    weights, side = _read_dit(source)
    named = "the state dict" if isinstance(source, Mapping) else source
    new = {name: value for name, value in net.state_dict().items() if name.startswith(_NEW)}
    load_exactly(net, {**new, **weights}, source=named)
    notes = _stretch(net, side, size)
    if net.config["gelu"] != "tanh":
        notes.append("gelu is exact here; DiT was trained with tanh")
    return Loaded(tuple(_rows(net, set(weights))), tuple(notes))


def _arguments(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the arguments of `DefectDiffuTransformer` for an official configuration."""
    if unknown := set(config) - _READ - _IDLE - {"learn_sigma"}:
        raise ValueError(f"the official net has no argument {', '.join(sorted(unknown))}")
    if not config.get("learn_sigma", True):
        raise ValueError("the official net learns the variance: learn_sigma is true")
    try:
        width, depth, heads = (config[name] for name in ("hidden_size", "depth", "num_heads"))
        channels, patch, text_dim = (config[name] for name in ("in_channels", "patch_size", "text_dim"))
    except KeyError as error:
        raise ValueError(f"the configuration of an official net says {error}; this one has {sorted(config)}") from None
    defect = len({name.split(".")[1] for name in weights if name.startswith("cross_defect.")})
    return {
        "channels": channels,
        "text_dim": text_dim,
        "patch": patch,
        "width": width,
        "depths": tuple(config.get("depths", (_BACKGROUND, defect, depth - _BACKGROUND - defect))),
        "heads": heads,
        "mlp_ratio": config.get("mlp_ratio", 4.0),
        "gelu": "exact",
    }


def _check_positions(stored: Tensor, source: PathLike) -> None:
    """Raise CheckpointError unless stored positions are those that the net computes."""
    _, count, width = stored.shape
    side = math.isqrt(count)
    if not torch.allclose(stored[0].float(), positions(side, side, width, 1.0, torch.device("cpu")), atol=1e-5):
        raise CheckpointError(f"{source} has positions that were trained; those of the official net are computed")


def _read_dit(source: PathLike | Mapping[str, Any]) -> tuple[dict[str, Tensor], int | None]:
    """Return DiT's weights under the official names, and the side of its images in patches, if that is known."""
    if not isinstance(source, Mapping) and Path(source).is_dir():
        return _read_diffusers(Path(source))
    weights = dict(published_state_dict(source, "ema"))
    stored = weights.pop(_POSITIONS, None)
    weights.pop("y_embedder.embedding_table.weight", None)
    return weights, None if stored is None else math.isqrt(stored.shape[1])


def _read_diffusers(folder: Path) -> tuple[dict[str, Tensor], int]:
    if not (folder / CONFIG_NAME).is_file():
        raise FileNotFoundError(f"{folder} has no {CONFIG_NAME}; expected the folder of a DiTTransformer2DModel")
    config = read_json(folder / CONFIG_NAME)
    if config.get("_class_name") not in ("DiTTransformer2DModel", "Transformer2DModel"):
        raise CheckpointError(f"{folder} holds a {config.get('_class_name')}; expected a DiTTransformer2DModel")
    found = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), folder / WEIGHTS_NAME)
    theirs = published_state_dict(found, "state_dict")
    names = dict(_FROM_DIFFUSERS)
    for k in range(config["num_layers"]):
        names |= {
            f"blocks.{k}.{ours}": f"transformer_blocks.{k}.{name}" for ours, name in _BLOCK_FROM_DIFFUSERS.items()
        }
    try:
        weights = {
            f"{ours}.{kind}": theirs[f"{name}.{kind}"] for ours, name in names.items() for kind in ("weight", "bias")
        }
        for k in range(config["num_layers"]):
            attention = f"transformer_blocks.{k}.attn1.to_"
            for kind in ("weight", "bias"):
                parts = [theirs[f"{attention}{part}.{kind}"] for part in "qkv"]
                weights[f"blocks.{k}.attn.qkv.{kind}"] = torch.cat(parts)
    except KeyError as error:
        raise CheckpointError(f"{folder} is no whole DiTTransformer2DModel: it has no {error}") from None
    return weights, config["sample_size"] // config["patch_size"]


def _stretch(net: DefectDiffuTransformer, side: int | None, size: Sequence[int] | None) -> list[str]:
    """Set how far apart two patches are, and say so."""
    if side is None or size is None:
        return []
    longest = max(size) // net.config["patch"]
    net.register_to_config(position_scale=side / longest)
    if side == longest:
        return []
    return [f"positions of {side} patches a side are interpolated to {longest}"]


def _rows(net: DefectDiffuTransformer, loaded: set[str]) -> list[tuple[str, str, int]]:
    counts: dict[tuple[str, str], int] = {}
    for name, value in net.state_dict().items():
        part = name.split(".")[0], "loaded" if name in loaded else "new"
        counts[part] = counts.get(part, 0) + value.numel()
    return [(*part, count) for part, count in counts.items()]
