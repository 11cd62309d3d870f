"""A generator as a folder: `defectdiffu.json`, the net in diffusers' layout, and what goes with it.

plant/defectdiffu.json     products and defects, size, schedule, guidance, sampler, ...
plant/net/                 DefectDiffuTransformer
plant/text/                NamedEmbedding or CLIP; nothing for an open_clip model, which is named
plant/space/               AutoencoderKL; nothing for pixels
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ModelMixin

from inout_generators.common.checkpoints import CheckpointError, PathLike, load_net, read_json, save_net, write_json
from inout_generators.common.hub import fetched
from inout_generators.common.schedule import LinearSchedule
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.spaces import load_space, save_space
from inout_generators.defectdiffu.text import load_text, save_text

if TYPE_CHECKING:
    from inout_generators.defectdiffu.generator import DefectDiffu

FILE = "defectdiffu.json"
_FORMAT = 1
_NET = "net"
# constructor arguments that are stored as they are
_PLAIN = (
    *("defects", "w_product", "w_defect", "mode", "null_product", "sampler", "steps", "min_area", "crop", "hosts"),
    *("feather", "provenance"),
)


def describe(generator: DefectDiffu) -> dict[str, Any]:
    """Return all that is to know about a generator beside its parts, as JSON-able values."""
    schedule = generator.schedule
    plain = {name: getattr(generator, name) for name in _PLAIN}
    return {
        "format": _FORMAT,
        "products": {product: list(defects) for product, defects in generator.products.items()},
        "product": list(generator.chosen),
        "size": list(generator.size),
        "schedule": {"steps": schedule.steps, "first": schedule.first, "last": schedule.last},
        **{name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()},
    }


def save(generator: DefectDiffu, path: PathLike, *, half: bool = False) -> None:
    """Write a generator; a description that is there goes first and its own comes last: half a folder is no generator.

    Raises:
        TypeError: The net is none of diffusers' models, or text encoder or space is none of this package's.
    """
    if not isinstance(generator.net, ModelMixin):
        raise TypeError(f"only diffusers' models, as DefectDiffuTransformer, are saved; got a {type(generator.net)}")
    folder = Path(path)
    (folder / FILE).unlink(missing_ok=True)
    parts = {"text": save_text(generator.text, folder), "space": save_space(generator.space, folder)}
    save_net(generator.net, folder / _NET, dtype=torch.float16 if half else None)
    write_json(folder / FILE, {**describe(generator), **parts})


def load(path: PathLike, revision: str | None = None) -> dict[str, Any]:
    """Return the arguments of `DefectDiffu`.

    Raises:
        FileNotFoundError: There is no such folder, or it lacks a file.
        CheckpointError: A file is damaged, a pickle, of a later version, or does not belong to the others.
    """
    folder = fetched(path, revision, more=("*.txt",))  # the vocabulary of CLIP
    if not (folder / FILE).is_file():
        raise FileNotFoundError(
            f"{folder} has no {FILE}, so it is no DefectDiffu generator. `inout-aug train defectdiffu` makes one"
        )
    stored = read_json(folder / FILE)
    version = stored.get("format")
    if version != _FORMAT:
        raise CheckpointError(f"{folder / FILE} has format {version!r}; this version of inout-aug reads {_FORMAT}")
    try:
        settings = {name: stored[name] for name in (*_PLAIN, "products", "product")}
        settings["size"] = tuple(stored["size"])
        settings["schedule"] = LinearSchedule(**stored["schedule"])
        parts = {"text": load_text(stored["text"], folder), "space": load_space(stored["space"], folder)}
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / FILE} is not what save_pretrained writes: {error!r}") from error
    return {"net": load_net(DefectDiffuTransformer, folder / _NET), **parts, **settings}
