"""LoRA files: read from diffusers, peft and kohya in their key names, written for diffusers or for kohya.

Every key of a file must name a layer of the base, and fit it; a file that says nothing of its alphas has alpha = rank.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from inout_generators.common.checkpoints import (
    CheckpointError,
    PathLike,
    read_json,
    read_metadata,
    read_tensors,
    some,
    write_tensors,
)
from inout_generators.lora.adapters import LoRA, LowRank, config_of

Format: TypeAlias = Literal["peft", "kohya"]
Raw: TypeAlias = dict[str, dict[str, Any]]

# the names diffusers and peft give them
_WEIGHTS = "pytorch_lora_weights.safetensors"
_PEFT_WEIGHTS, _PEFT_CONFIG = "adapter_model.safetensors", "adapter_config.json"
_METADATA = "lora_adapter_metadata"
_COMPONENTS = ("unet", "text_encoder")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")

# "…to_q.lora_A.weight" (peft, with or without the adapter's name), "…lora_down.weight" (kohya), "…lora.down.weight",
# "…lora_linear_layer.down.weight" (diffusers before peft)
_KEY = re.compile(
    r"(?P<module>.+?)\.(?:lora_|lora\.|lora_linear_layer\.)(?P<part>A|B|down|up)(?:\.[^.]+)?\.weight|"
    r"(?P<scaled>.+)\.alpha"
)
_PARTS = {"A": "down", "down": "down", "B": "up", "up": "up"}
# numbers of a text embedding -> what takes them
_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}


def read_lora(path: PathLike, unet: nn.Module, text_encoder: nn.Module | None = None) -> LoRA:
    """Read a LoRA or LoCon for a base.

    Args:
        path: A safetensors file of diffusers, peft or kohya's sd-scripts, or a folder of diffusers or peft.
        unet: Of the base.
        text_encoder: Of the base; None for one that is not to be changed, and then the file must not.

    Raises:
        FileNotFoundError: There is no such file or folder, or no LoRA in it.
        CheckpointError: It is a pickle or damaged, is for another base, or has keys that name no layer of the base.
    """
    raw, metadata, unknown = _gathered(_files(Path(path)))
    known = {_flat("unet", name): ("unet", name, layer) for name, layer in _base_layers(unet)}
    known |= {_flat("text_encoder", n): ("text_encoder", n, layer) for n, layer in _base_layers(text_encoder)}
    unknown += [key for flat, found in raw.items() if flat not in known for key in found["keys"]]
    if unknown or not raw:
        raise CheckpointError(
            f"{path} does not fit {_about(unet)}{_hint(raw, unknown, unet)}: {len(unknown)} keys name no layer "
            f"of it that a LoRA can change, {some(unknown)}"
        )
    updates: dict[str, dict[str, LowRank]] = {component: {} for component in _COMPONENTS}
    for flat, found in raw.items():
        component, name, layer = known[flat]
        updates[component][name] = _fitted(found, layer, f"{path} does not fit {_about(unet)}{_hint(raw, (), unet)}")
    return LoRA(updates["unet"], updates["text_encoder"], _clip_skip(metadata))


def save_lora(path: PathLike, lora: LoRA, *, format: Format = "peft") -> Path:  # noqa: A002 - the field's word
    """Write a LoRA as one safetensors file with every alpha, and return the file.

    Args:
        path: The file, or a folder to write `pytorch_lora_weights.safetensors` in.
        lora: As `collect` returns it.
        format: "peft", for diffusers' `load_lora_weights`, or "kohya", for sd-scripts and the web interfaces.

    Raises:
        ValueError: There is no such format.
        OSError: It cannot be written.
    """
    if format not in ("peft", "kohya"):
        raise ValueError(f"format is peft or kohya; got {format!r}")
    target = Path(path) if Path(path).suffix == ".safetensors" else Path(path, _WEIGHTS)
    tensors, metadata = _as_kohya(lora) if format == "kohya" else _as_peft(lora)
    if lora.clip_skip is not None:
        metadata["ss_clip_skip"] = str(lora.clip_skip + 1)
    write_tensors(target, tensors, metadata=metadata)
    return target


def _as_peft(lora: LoRA) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors, configs = {}, {}
    for component, updates, inside in (("unet", lora.unet, ""), ("text_encoder", lora.text_encoder, "text_model.")):
        plain = {name.removeprefix(inside): update for name, update in updates.items()}
        for name, update in plain.items():
            tensors[f"{component}.{inside}{name}.lora_A.weight"] = update.down
            tensors[f"{component}.{inside}{name}.lora_B.weight"] = update.up
        if plain:
            # without it, diffusers reads every alpha as the rank
            config = config_of(plain).to_dict()
            kept = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
            configs.update({f"{component}.{key}": value for key, value in kept.items()})
    return tensors, {_METADATA: json.dumps(configs, sort_keys=True)}


def _as_kohya(lora: LoRA) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {}
    named = [(f"lora_unet_{name}", update) for name, update in lora.unet.items()]
    named += [(f"lora_te_text_model_{n.removeprefix('text_model.')}", u) for n, u in lora.text_encoder.items()]
    for name, update in named:
        flat = name.replace(".", "_")
        tensors[f"{flat}.lora_down.weight"], tensors[f"{flat}.lora_up.weight"] = update.down, update.up
        tensors[f"{flat}.alpha"] = torch.tensor(update.alpha)
    return tensors, {"ss_network_module": "networks.lora"}


def _files(path: Path) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Yield each file of a LoRA, the component that its keys leave out, and its settings."""
    if path.is_file():
        yield path, "", {}
        return
    if not path.exists():
        raise FileNotFoundError(f"there is no LoRA at {path}; expected a .safetensors file, or a folder with one")
    if (path / _WEIGHTS).is_file():
        yield path / _WEIGHTS, "", {}
        return
    found = False
    for component, folder in (("", path), *((name, path / name) for name in _COMPONENTS)):
        if (folder / _PEFT_WEIGHTS).is_file():
            found = True
            yield folder / _PEFT_WEIGHTS, component, read_json(folder / _PEFT_CONFIG)
    if found:
        return
    files = sorted(path.glob("*.safetensors"))
    if len(files) == 1:
        yield files[0], "", {}
        return
    if files:
        raise FileNotFoundError(f"{path} holds several files, {some(file.name for file in files)}; give one of them")
    if pickles := [file.name for pattern in _PICKLED for file in path.glob(pattern)]:
        raise CheckpointError(
            f"{path} holds only pickles, {some(pickles)}, which can run any code when they are read; expected "
            "safetensors. Whoever trusts them can convert them with safetensors.torch.save_file"
        )
    raise FileNotFoundError(f"{path} holds no LoRA; expected {_WEIGHTS}, {_PEFT_WEIGHTS}, or one .safetensors file")


def _gathered(files: Iterable[tuple[Path, str, dict[str, Any]]]) -> tuple[Raw, dict[str, str], list[str]]:
    """Return the parts of each change by its layer's flat name, what the files say, and the keys that are no parts."""
    raw: Raw = {}
    unknown: list[str] = []
    metadata: dict[str, str] = {}
    for file, component, config in files:
        tensors = read_tensors(file)
        metadata |= read_metadata(file)
        config = config or json.loads(metadata.get(_METADATA, "{}"))
        for key, value in tensors.items():
            match = _KEY.fullmatch(key)
            if match is None:
                unknown.append(key)
                continue
            where, name = _located(match["module"] or match["scaled"], component)
            found = raw.setdefault(_flat(where, name), {"keys": []})
            found["keys"].append(key)
            found[_PARTS[match["part"]] if match["part"] else "alpha"] = value
            if config and "alpha" not in found and match["part"] in ("A", "down"):
                found["alpha"] = _stored_alpha(config, where, name, value.shape[0])
    return raw, metadata, unknown


def _located(module: str, component: str) -> tuple[str, str]:
    """Return the component that a key's module belongs to, and its name there."""
    module = module.removeprefix("base_model.model.")
    for start, named in (("lora_unet_", "unet"), ("lora_te_", "text_encoder"), *((f"{c}.", c) for c in _COMPONENTS)):
        if module.startswith(start):
            return named, module.removeprefix(start)
    if not component:
        component = "text_encoder" if module.startswith(("text_model.", "encoder.layers.")) else "unet"
    return component, module


def _flat(component: str, name: str) -> str:
    """Return a layer's name as kohya would write it; CLIP's layers lie in a text_model in some versions only."""
    return f"{component}_{name.replace('.', '_').removeprefix('text_model_')}"


def _stored_alpha(config: Mapping[str, Any], component: str, name: str, rank: int) -> float:
    """Return a layer's alpha by peft's settings; diffusers puts the component before each."""

    def setting(key: str, default: Any) -> Any:
        return config.get(f"{component}.{key}", config.get(key, default))

    alpha = setting("lora_alpha", rank)
    for pattern, value in setting("alpha_pattern", {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", name):
            alpha = value
            break
    return float(alpha * math.sqrt(rank) if setting("use_rslora", False) else alpha)


def _base_layers(model: nn.Module | None) -> Iterator[tuple[str, nn.Module]]:
    if model is not None:
        yield from ((n, layer) for n, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d))


def _fitted(found: Mapping[str, Any], layer: Any, complaint: str) -> LowRank:
    """Return a layer's change in the shape of its layer; a linear layer and a 1×1 convolution hold the same numbers."""
    if missing := [part for part in ("down", "up") if part not in found]:
        raise CheckpointError(
            f"{complaint}: beside {found['keys'][0]}, its {' and '.join(missing)} projection is missing"
        )
    down, up = found["down"].float(), found["up"].float()
    out, inner, *kernel = layer.weight.shape
    rank = down.shape[0]
    expected = (rank, inner, *kernel), (out, rank, *[1] * len(kernel))
    if (down.shape[1], math.prod(down.shape[2:])) != (inner, math.prod(kernel)) or up.flatten(1).shape != (out, rank):
        raise CheckpointError(
            f"{complaint}: {found['keys'][0]} and its other half are {tuple(down.shape)} and {tuple(up.shape)}; a LoRA "
            f"of rank {rank} has {expected[0]} and {expected[1]} there"
        )
    return LowRank(down.reshape(expected[0]), up.reshape(expected[1]), float(found.get("alpha", rank)))


def _clip_skip(metadata: Mapping[str, str]) -> int | None:
    """Return what the file says of clip_skip; kohya counts from 1 and writes None for 1."""
    stored = metadata.get("ss_clip_skip")
    if stored is None:
        return None
    return int(stored) - 1 if stored.isdecimal() else 0


def _about(unet: Any) -> str:
    width = unet.config.cross_attention_dim
    return f"this base ({_WIDTHS.get(width, 'a Stable Diffusion')}, text embeddings of {width} numbers)"


def _hint(raw: Raw, unknown: Iterable[str], unet: Any) -> str:
    """Return what the file seems to be made for, if it can be told."""
    keys = " ".join(unknown)
    widths = {f["down"].shape[1] for flat, f in raw.items() if flat.endswith("attn2_to_k") and "down" in f}
    if 2048 in widths or any(sign in keys for sign in ("lora_te2_", "text_encoder_2.", "input_blocks")):
        return "; it is for SDXL"
    if any(sign in keys for sign in ("double_blocks", "single_blocks", "transformer.")):
        return "; it is for a diffusion transformer such as SD 3 or Flux"
    if any(sign in keys for sign in ("hada_", "lokr_", "lora_mid", "dora_scale", "lora_magnitude")):
        return "; it is a LoHa, LoKr, DoRA or another kin of LoRA, which are not read"
    others = sorted(widths - {unet.config.cross_attention_dim})
    names = [f"{_WIDTHS.get(width, 'another model')}, text embeddings of {width} numbers" for width in others]
    return f"; it is for {names[0]}" if names else ""
