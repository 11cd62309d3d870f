"""Checkpoints of the official Defect-Gen code (Defect Spectrum, ECCV 2024) as nets of this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from inout_generators.common.checkpoints import PathLike, load_exactly, published_state_dict
from inout_generators.defect_gen.unet import DefectGenUNet

# what the constructors of the official code assume; their other arguments are given in every released file
_GLOBAL = {"channel_mult": (1, 2, 3, 4), "num_res_blocks": 2, "dropout": 0.0, "use_scale_shift_norm": True}
_LOCAL = {"channel_mult": (1, 2, 4, 8), "dropout": 0.0, "use_scale_shift_norm": False}
# arguments that change the net, at the value that no released file departs from
_FIXED = {
    "dims": 2,
    "num_classes": None,
    "conv_resample": True,
    "resblock_updown": False,
    "use_new_attention_order": False,
}
# arguments that change no output: of memory, of speed, or overruled by num_head_channels
_IDLE = {"image_size", "attention_resolutions", "use_checkpoint", "use_fp16", "num_heads", "num_heads_upsample"}
_READ = {"in_channels", "out_channels", "model_channels", "num_head_channels", "attention_downsample", *_GLOBAL}


def load_official_unet(
    checkpoint: PathLike | Mapping[str, Any], config: Mapping[str, Any], *, weights: Literal["model", "ema"] = "model"
) -> DefectGenUNet:
    """Load a net that was trained with the official code.

    Args:
        checkpoint: A state dict under the official key names; a dict that holds it under `weights`; or a file of
            either, `.safetensors`, or `.pt`, of which tensors and plain values alone are read (`weights_only=True`).
        config: The constructor's arguments, or the whole configuration file that holds them as `model: params:`.
            With `attention_downsample` they are of the large net, without of the local one.
        weights: "model", which the official code samples from, or "ema", their moving average.

    Returns:
        The net in evaluation mode, on the CPU: `net(x, t)` predicts x0, with x (B, C, H, W) and t (B,).

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged, holds code, or does not fit the configuration key by key.
        ValueError: The configuration asks for something that no released net has.

    Example:
        >>> import torch
        >>> config = {"in_channels": 5, "model_channels": 32, "channel_mult": [1, 2], "num_res_blocks": 2}
        >>> made_there = DefectGenUNet(**unet_config(config)).state_dict()
        >>> net = load_official_unet({"model": made_there}, config)
        >>> net(torch.zeros(1, 5, 32, 48), torch.tensor([999])).shape
        torch.Size([1, 5, 32, 48])
    """
    source = "the checkpoint" if isinstance(checkpoint, Mapping) else checkpoint
    # a bare state dict is the net itself
    state = published_state_dict(checkpoint, weights, bare=weights == "model")
    net: DefectGenUNet = DefectGenUNet(**unet_config(config))
    load_exactly(net, state, source=source)
    net.eval()
    return net


def unet_config(official: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `DefectGenUNet` that build the net of an official configuration.

    Args:
        official: As for `load_official_unet`.

    Raises:
        ValueError: An argument is missing, unknown, or asks for something that no released net has.

    Example:
        >>> unet_config({"in_channels": 6, "model_channels": 192, "num_res_blocks": 2})["multipliers"]
        (1, 2, 4, 8)
    """
    given = official.get("model", official)
    given = given.get("params", given)
    sees_all = "attention_downsample" in given
    if unknown := set(given) - _READ - _IDLE - set(_FIXED):
        raise ValueError(f"the official nets have no argument {', '.join(sorted(unknown))}")
    if other := {name: given[name] for name, value in _FIXED.items() if given.get(name, value) != value}:
        raise ValueError(f"no released net has {other}, and neither does DefectGenUNet")
    try:
        arguments = {**(_GLOBAL if sees_all else _LOCAL), **given}
        channels, width, blocks = (arguments[name] for name in ("in_channels", "model_channels", "num_res_blocks"))
        head_width = arguments["num_head_channels"] if sees_all else 1
    except KeyError as error:
        raise ValueError(f"the configuration of an official net says {error}; this one has {sorted(given)}") from None
    if arguments.get("out_channels", channels) != channels:
        raise ValueError(f"in_channels and out_channels are equal; got {channels} and {arguments['out_channels']}")
    multipliers = tuple(arguments["channel_mult"])
    rates = arguments.get("attention_downsample", ())
    return {
        "channels": channels,
        "width": width,
        "multipliers": multipliers,
        "blocks": blocks,
        "attention_levels": tuple(level for level in range(len(multipliers)) if 2**level in rates),
        "head_width": head_width,
        "middle": sees_all,
        "scale_shift": arguments["use_scale_shift_norm"],
        "dropout": arguments["dropout"],
    }
