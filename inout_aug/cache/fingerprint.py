"""What identifies a generator: everything that can change a pixel of what it makes, in one digest."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

PathLike: TypeAlias = str | os.PathLike[str]
Weights: TypeAlias = PathLike | Sequence[PathLike] | nn.Module | Mapping[str, Tensor]


def fingerprint(
    kind: type,
    *,
    version: str,
    weights: Weights | None = None,
    params: Mapping[str, Any] | None = None,
    libraries: Sequence[str] = (),
) -> str:
    """Return the fingerprint of a generator: the SHA-256, in hex, of all that decides its samples.

    What is asked of it (size, class, prompt, seed) is not part of it: that belongs to the requests.

    Args:
        kind: The generator's class; its module and qualified name count.
        version: Of the generator's code; raise it whenever the same weights give other pixels.
        weights: See `weights_digest`; None for a generator without weights.
        params: Every setting that changes a pixel: steps, guidance scale, precision, post-processing.
        libraries: Distributions whose version changes pixels, such as `("torch", "diffusers")`.

    Raises:
        TypeError: A parameter is not made of None, bool, int, float, str, lists, tuples and dicts with string keys.
        ValueError: A parameter is NaN or infinite, or a library is not installed.

    Example:
        >>> class Model: ...
        >>> digest = fingerprint(Model, version="1", weights={"w": torch.zeros(2)}, params={"steps": 50})
        >>> digest == fingerprint(Model, version="1", weights={"w": torch.zeros(2)}, params={"steps": 51})
        False
    """
    return digest_of(
        {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "version": version,
            "weights": None if weights is None else weights_digest(weights),
            "params": dict(params or {}),
            "libraries": {name: _version(name) for name in sorted(set(libraries))},
        }
    )


def weights_digest(weights: Weights) -> str:
    """Return the SHA-256, in hex, of a model's weights, read piece by piece.

    A file counts by its bytes; a folder or several files by their names and bytes; a module or state dict by names,
    types, shapes and values in sorted order. The three differ for the same model: a generator keeps to one of them.

    Args:
        weights: A file, a folder (all files in it, recursively), several files, a module, or a state dict.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: There is nothing to read: an empty folder, an empty state dict.

    Example:
        >>> weights_digest(nn.Linear(2, 1)) == weights_digest(nn.Linear(2, 1))  # two random initialisations
        False
    """
    if isinstance(weights, nn.Module):
        return _tensors_digest(weights.state_dict())
    if isinstance(weights, Mapping):
        return _tensors_digest(weights)
    if isinstance(weights, str | os.PathLike):
        path = Path(weights)
        if path.is_dir():
            files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
            return _files_digest(files, str(path))
        return _file_digest(path)
    return _files_digest({Path(path).name: Path(path) for path in weights}, "the list of weights")


def digest_of(value: Any) -> str:
    """Return the SHA-256, in hex, of a plain value, whatever the order of its keys.

    Raises:
        TypeError: It holds something else than None, bool, int, float, str, lists, tuples and dicts with string keys.
        ValueError: It holds NaN or an infinity.

    Example:
        >>> digest_of({"a": 1, "b": (2, 3)}) == digest_of({"b": [2, 3], "a": 1})
        True
    """
    _check_plain(value, "value")
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check_plain(value: object, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; keys are strings here")
            _check_plain(item, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check_plain(item, f"{where}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} must be finite; got {value}")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise TypeError(
            f"{where} is a {type(value).__name__}, whose identity cannot be told; give plain values "
            "(None, bool, int, float, str, lists, dicts), such as str(path) or a digest"
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        raise ValueError(f"no distribution named {name!r} is installed, so its version cannot be told") from None


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_digest(files: Mapping[str, Path], where: str) -> str:
    return _digest_of_parts(((name, _file_digest(files[name])) for name in sorted(files)), where)


def _tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    return _digest_of_parts(((name, _tensor_digest(tensors[name])) for name in sorted(tensors)), "the state dict")


def _tensor_digest(tensor: Tensor) -> str:
    values = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{values.dtype} {tuple(values.shape)} ".encode())
    digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest_of_parts(parts: Iterable[tuple[str, str]], where: str) -> str:
    named = list(parts)
    if not named:
        raise ValueError(f"{where} holds no weights")
    return digest_of(named)
