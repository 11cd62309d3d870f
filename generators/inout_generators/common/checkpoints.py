"""Weights and settings on disk, as safetensors and JSON: written whole or not at all, read exactly or not at all.

Nothing here writes or reads a pickle, and nothing loads weights that fit a net only in part.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers.models.modeling_utils import ModelMixin

    Net = TypeVar("Net", bound=ModelMixin)

PathLike: TypeAlias = str | os.PathLike[str]

# the names diffusers gives them
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"

_SHOWN = 4
# a zip archive, as torch.save writes, and pickle protocols 2 to 5
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class CheckpointError(ValueError):
    """A checkpoint is damaged, of another kind, or of another net."""


@contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Yield a temporary name beside `path`, which takes its place once the block has ended well.

    Whoever reads `path`, at any instant and after a crash, finds the old file or the whole new one. Folders on the way
    are made.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder, replacing(f"{folder}/note.txt") as unfinished:
        ...     _ = unfinished.write_text("whole")
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def write_tensors(path: PathLike, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors of any device and layout as one safetensors file, of the same bytes each time.

    Args:
        path: The file; folders on the way are made.
        tensors: By name.
        metadata: Kept in the file's header; see `read_metadata`.

    Raises:
        OSError: It cannot be written; an older file of this name is untouched.
    """
    # a copy where two share memory, which the format refuses
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # save_file would make a file that only its owner can read
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        file.writelines(_ordered(save(plain, metadata={"format": "pt", **(metadata or {})})))


def read_tensors(path: PathLike) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is cut short, altered in its header, a pickle, or another kind of file.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        with Path(path).open("rb") as file:
            start = file.read(4)
        if start.startswith(_PICKLES):
            raise CheckpointError(
                f"{path} is a pickle, which can run any code when it is read; expected safetensors. Checkpoints of the "
                "official Defect-Gen code are converted by `inout-aug convert`; for others, load it where it can do no "
                "harm and write it with safetensors.torch.save_file"
            ) from error
        raise CheckpointError(
            f"{path} is no whole safetensors file: {error}. It was cut short in a download or a copy, or is of another "
            "kind; fetch it again"
        ) from error
    return tensors


def published_state_dict(
    checkpoint: PathLike | Mapping[str, Any], key: str, *, bare: bool = True
) -> Mapping[str, Tensor]:
    """Return the state dict of a checkpoint that other code wrote.

    Args:
        checkpoint: A dict that holds it under `key`, or a file of one: `.safetensors`, or `.pt` and the like, of which
            tensors and plain values alone are read (`weights_only=True`).
        key: Where the other code puts it.
        bare: Take a checkpoint without that key for the state dict itself.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is damaged or holds code, or there is no state dict in it.

    Example:
        >>> list(published_state_dict({"model": {"bias": torch.zeros(1)}, "epoch": 3}, "model"))
        ['bias']
    """
    content = checkpoint if isinstance(checkpoint, Mapping) else _read_published(Path(checkpoint))
    found = content.get(key, content if bare else None)
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        source = "the checkpoint" if isinstance(checkpoint, Mapping) else checkpoint
        raise CheckpointError(f"{source} holds no state dict under {key!r}; it has {', '.join(list(content)[:8])}")
    return found


def read_metadata(path: PathLike) -> dict[str, str]:
    """Return what a whole safetensors file says of itself beside its tensors."""
    with safe_open(path, "pt") as file:
        return dict(file.metadata() or {})


def write_json(path: PathLike, value: Mapping[str, Any]) -> None:
    """Write a dict of plain values."""
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: PathLike) -> dict[str, Any]:
    """Read a dict of plain values.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It holds something else, or is cut short.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON, or is cut short: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}; expected names and values in braces")
    return value


def load_exactly(net: nn.Module, tensors: Mapping[str, Tensor], *, source: PathLike = "the checkpoint") -> None:
    """Copy tensors into a net that has exactly these keys and shapes.

    Args:
        net: Changed in place; its dtype and device stay.
        tensors: A state dict.
        source: Where they come from, for the message.

    Raises:
        CheckpointError: A key is missing or one too many, or a shape differs; the net is unchanged.

    Example:
        >>> load_exactly(nn.Linear(2, 1), {"weight": torch.zeros(1, 3)})
        Traceback (most recent call last):
        ...
        inout_generators.common.checkpoints.CheckpointError: the checkpoint does not fit a Linear: missing bias; shape \
differs in weight (1, 3) instead of (1, 2)
    """
    wanted = net.state_dict()
    misshaped = (
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in tensors and tensors[key].shape != value.shape
    )
    problems = {
        "missing": some(key for key in wanted if key not in tensors),
        "unexpected": some(key for key in tensors if key not in wanted),
        "shape differs in": some(misshaped),
    }
    if any(problems.values()):
        listed = "; ".join(f"{problem} {keys}" for problem, keys in problems.items() if keys)
        raise CheckpointError(f"{source} does not fit a {type(net).__name__}: {listed}")
    net.load_state_dict(tensors)


def save_net(net: ModelMixin, folder: PathLike, *, dtype: torch.dtype | None = None) -> None:
    """Write a net as diffusers lays it out: its settings, and its weights as safetensors.

    Args:
        net: Of any device.
        folder: Made if need be.
        dtype: Of the floating-point weights in the file, such as float16 for half the size; None keeps theirs.
    """
    config = json.loads(net.to_json_string())
    # where a net was read from is nobody's business
    config.pop("_name_or_path", None)
    write_json(Path(folder, CONFIG_NAME), config)
    weights = net.state_dict()
    if dtype is not None:
        weights = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights.items()}
    write_tensors(Path(folder, WEIGHTS_NAME), weights)


def load_net(kind: type[Net], folder: PathLike) -> Net:
    """Read a net that `save_net`, or diffusers, has written; float32, on the CPU, in evaluation mode.

    diffusers' own `from_pretrained` fills missing weights with random numbers and ignores unknown settings; this
    refuses both.

    Args:
        kind: The net's class.
        folder: Holds the settings and the weights.

    Raises:
        FileNotFoundError: A file is missing.
        CheckpointError: The settings are of another class or unknown to this one, or the weights do not fit them.
    """
    described = Path(folder, CONFIG_NAME)
    config = read_json(described)
    if config.get("_class_name") != kind.__name__:
        raise CheckpointError(f"{described} describes a {config.get('_class_name')}; expected a {kind.__name__}")
    try:
        net: Net = kind(**{name: value for name, value in config.items() if not name.startswith("_")})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{described} describes no {kind.__name__} of this version: {error}") from error
    weights = Path(folder, WEIGHTS_NAME)
    load_exactly(net, read_tensors(weights), source=weights)
    net.eval()
    return net


def _ordered(content: bytes) -> tuple[bytes | memoryview, ...]:
    """Return a safetensors file in parts, its metadata sorted, which the library writes in a random order."""
    file, start = memoryview(content), 8
    end = start + int.from_bytes(file[:start], "little")
    header = json.loads(bytes(file[start:end]))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return file[:start], text.ljust(end - start), file[end:]


def _read_published(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged archive or pickle can raise anything
        raise CheckpointError(
            f"{path} cannot be read as tensors and plain values alone: either it was cut short, or it holds objects, "
            "whose code would run. Fetch it again, or save its state dict by itself"
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a dict of names and tensors")
    return content


def some(keys: Iterable[str]) -> str:
    """Return the first few of many names, for a message.

    Example:
        >>> some("abcdef")
        'a, b, c, d and 2 more'
    """
    listed = list(keys)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
