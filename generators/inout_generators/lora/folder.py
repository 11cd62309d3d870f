"""What a trained LoRA is used with: `lora_diffusion.json` beside it, so that a folder is a whole generator.

tile/lora_diffusion.json                     base and revision, prompts, size, clip_skip, merge weight, ...
tile/pytorch_lora_weights.safetensors
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inout_generators.common.checkpoints import CheckpointError, PathLike, read_json, write_json

FILE = "lora_diffusion.json"
_FORMAT = 1
# arguments of LoRADiffusion.from_pretrained that are stored as they are; all but the base may be missing
SETTINGS = (
    *("base", "revision", "variant", "config", "alpha", "prompts", "negative_prompt", "guidance_scale", "steps"),
    *("scheduler", "clip_skip", "size", "provenance"),
)


def write_settings(path: PathLike, **settings: Any) -> None:
    """Write what the LoRA in a folder is to be used with; written last, so that half a folder is no generator.

    Args:
        path: The folder.
        settings: Of `SETTINGS`, as JSON-able values; at least `base`.

    Raises:
        ValueError: A setting is unknown, or the base is missing.
    """
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown or "base" not in settings:
        raise ValueError(f"settings are {', '.join(SETTINGS)}, and base is needed; got {sorted(settings)}")
    write_json(Path(path, FILE), {"format": _FORMAT, **settings})


def read_settings(path: PathLike) -> dict[str, Any] | None:
    """Return what `write_settings` wrote, or None where it did not.

    Raises:
        CheckpointError: The file is damaged or of a later version.
    """
    file = Path(path, FILE)
    if not file.is_file():
        return None
    stored = read_json(file)
    version = stored.pop("format", None)
    if version != _FORMAT:
        raise CheckpointError(f"{file} has format {version!r}; this version of inout-aug reads {_FORMAT}")
    if "base" not in stored or set(stored) - set(SETTINGS):
        raise CheckpointError(f"{file} is not what inout-aug writes: it has {sorted(stored)}")
    return stored
