"""A generator as a folder: `defect_gen.json`, and its two nets in diffusers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ModelMixin

from inout_generators.common.checkpoints import CheckpointError, PathLike, load_net, read_json, save_net, write_json
from inout_generators.common.hub import fetched
from inout_generators.common.schedule import CosineSchedule
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.unet import DefectGenUNet

if TYPE_CHECKING:
    from inout_generators.defect_gen.generator import DefectGen

FILE = "defect_gen.json"
_FORMAT = 1
_NETS = ("large", "local")
# generators that come with the package, a folder each
_SHIPPED = Path(__file__).parents[1] / "checkpoints"
# constructor arguments that are stored as they are
_PLAIN = ("crop", "switch_t", "sampler", "steps", "regions", "min_area", "feather", "provenance")


def describe(generator: DefectGen) -> dict[str, Any]:
    """Return all that is to know about a generator beside its nets, as JSON-able values."""
    encoding, schedule = generator.encoding, generator.schedule
    return {
        "format": _FORMAT,
        "classes": list(encoding.classes),
        "image_channels": encoding.image_channels,
        "mask_range": list(encoding.mask_range),
        "size": list(generator.size),
        "schedule": {"steps": schedule.steps, "s": schedule.s},
        **{name: getattr(generator, name) for name in _PLAIN},
    }


def save(generator: DefectGen, path: PathLike, *, half: bool = False) -> None:
    """Write a generator; a description that is there goes first and its own comes last: half a folder is no generator.

    Raises:
        TypeError: A net is none of diffusers' models.
    """
    nets = {name: getattr(generator, name) for name in _NETS}
    for name, net in nets.items():
        if not isinstance(net, ModelMixin):
            raise TypeError(
                f"the {name} net is a {type(net).__name__}; only diffusers' models, as DefectGenUNet, are saved"
            )
    Path(path, FILE).unlink(missing_ok=True)
    for name, net in nets.items():
        save_net(net, Path(path, name), dtype=torch.float16 if half else None)
    write_json(Path(path, FILE), describe(generator))


def load(path: PathLike, revision: str | None = None) -> tuple[DefectGenUNet, DefectGenUNet, dict[str, Any]]:
    """Return the large net, the local one, and the other arguments of `DefectGen`.

    Raises:
        FileNotFoundError: There is no such folder, or it lacks a file.
        CheckpointError: A file is damaged, a pickle, of a later version, or does not belong to the others.
    """
    where = fetched(path, revision, shipped=_SHIPPED)
    if not (where / FILE).is_file():
        raise FileNotFoundError(
            f"{where} has no {FILE}, so it is no Defect-Gen generator. `inout-aug train defect-gen` makes one, "
            "`inout-aug convert` makes one of official checkpoints"
        )
    stored = read_json(where / FILE)
    version = stored.get("format")
    if version != _FORMAT:
        raise CheckpointError(f"{where / FILE} has format {version!r}; this version of inout-aug reads {_FORMAT}")
    try:
        settings = {name: stored[name] for name in _PLAIN}
        settings["size"] = tuple(stored["size"])
        settings["schedule"] = CosineSchedule(**stored["schedule"])
        settings["encoding"] = Encoding(stored["image_channels"], stored["classes"], stored["mask_range"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where / FILE} is not what save_pretrained writes: {error!r}") from error
    large, local = (load_net(DefectGenUNet, where / name) for name in _NETS)
    return large, local, settings
