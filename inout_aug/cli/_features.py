"""The network that looks at images, by an option of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inout_aug.cache.features import Features

_NETWORKS = (
    "--features says which network looks at the images: a .safetensors file of SqueezeNet 1.0 (torchvision's keys, "
    "Caffe's weights), NAME=FILE for a timm model and its .safetensors file, or NAME for a timm model with its own "
    "pretrained weights, which are downloaded at the first use"
)


def open_features(given: str | None) -> Features:
    """Return the network that was asked for.

    Raises:
        ValueError: None was, there is no such model, or the file holds weights of another one.
    """
    from inout_aug.cache.features import Features

    if given is None:
        raise ValueError(_NETWORKS)
    name, _, weights = given.partition("=")
    try:
        if weights:
            return Features.timm(name, weights=weights)
        return Features.squeezenet(given) if Path(given).suffix == ".safetensors" else Features.timm(given)
    except RuntimeError as error:
        raise ValueError(f"{_first_line(error)} {_NETWORKS}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
