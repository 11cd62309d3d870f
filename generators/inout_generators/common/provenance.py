"""What the result of a training hangs on, written down beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# folder of a training inside that of its generator, and the file in it
TRAINING = "training"
PROVENANCE = "provenance.json"

_LIBRARIES = ("inout-aug", "torch", "diffusers", "accelerate")


def provenance(
    recipe: DataclassInstance,
    *,
    size: Sequence[int],
    seed: int,
    processes: int,
    libraries: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """Return all that decides the result, as JSON-able values.

    Args:
        recipe: Of the training.
        size: Height and width of the pictures.
        seed: Of everything random.
        processes: That shared it.
        libraries: Whose versions count too, beside torch, diffusers and accelerate.
        more: What else decides, by name.
    """
    return {
        "recipe": asdict(recipe),
        "size": list(size),
        "seed": seed,
        "processes": processes,
        "libraries": {name: version(name) for name in (*_LIBRARIES, *libraries)},
        **more,
    }
