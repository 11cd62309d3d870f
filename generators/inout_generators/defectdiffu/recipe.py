"""Everything that decides a training of DefectDiffu beside the pictures, as a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inout_generators.common.pictures import SYMMETRIES, Symmetry
from inout_generators.common.recipes import build, read_recipe, table
from inout_generators.common.schedule import LinearSchedule
from inout_generators.common.training import Settings
from inout_generators.defectdiffu.conditions import DoubleFree
from inout_generators.defectdiffu.model import PRESETS
from inout_generators.defectdiffu.objective import Weights

KIND = "defectdiffu"
NAMED = "named"
PIXELS = "pixels"

# arguments of the net that the space and the text encoder decide
_DECIDED = ("channels", "text_dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A net and how it is trained.

    Attributes:
        net: Its `preset`, and whatever other arguments of `DefectDiffuTransformer` differ from that.
        training: How it is trained.
        batch: Pictures per step and process.
        betas: Variances that the first and the last of 1000 timesteps add; between them they rise evenly.
        space: "pixels", or a folder or Hub repository with an `AutoencoderKL`.
        text: "named", vectors learned for the names there are; "open_clip:" and a model's name; or a folder or Hub
            repository with a CLIP.
        text_dim: Length of learned vectors.
        drop: Which names the model is not told, and how often.
        null_good_only: Drop the names of products that are known by good images only too, as published. Otherwise any
            product is the same ones with a defect and without, and their difference is the defect alone.
        loss: How much each part of the loss counts.
        good: Share of pictures without a defect.
        symmetry: Of all products; see `Windows`.
        shift: See `Windows`.

    Raises:
        ValueError: A value is out of its range.
    """

    net: Mapping[str, Any]
    training: Settings
    batch: int
    betas: tuple[float, float] = (1e-4, 0.02)
    space: str = PIXELS
    text: str = NAMED
    text_dim: int = 256
    drop: DoubleFree = field(default_factory=DoubleFree)
    null_good_only: bool = True
    loss: Weights = field(default_factory=Weights)
    good: float = 0.3
    symmetry: Symmetry = "none"
    shift: float = 0.0

    @property
    def schedule(self) -> LinearSchedule:
        """Of the noise."""
        first, last = self.betas
        return LinearSchedule(first=first, last=last)

    def __post_init__(self) -> None:
        if self.net.get("preset") not in PRESETS:
            raise ValueError(f"[net] has a preset, one of {', '.join(PRESETS)}; got {self.net.get('preset')!r}")
        if decided := sorted(self.net.keys() & set(_DECIDED)):
            raise ValueError(f"[net] has {', '.join(decided)}, which the space and the text encoder decide")
        if min(self.batch, self.text_dim) < 1:
            raise ValueError(f"batch and text_dim are at least 1; got {self.batch} and {self.text_dim}")
        if not 0 < self.good < 1:
            raise ValueError(f"good is a share of the pictures, above 0 and below 1; got {self.good}")
        if len(self.betas) != 2:
            raise ValueError(f"betas are two, of the first and of the last timestep; got {list(self.betas)}")
        # it knows what is wrong with them
        LinearSchedule(first=self.betas[0], last=self.betas[1])
        if self.symmetry not in SYMMETRIES:
            raise ValueError(f"symmetry is one of {', '.join(SYMMETRIES)}; got {self.symmetry!r}")


def load_recipe(
    name: str | Path, overrides: Mapping[str, Any] | None = None, training: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe.

    Args:
        name: Of one that comes with the package, or a TOML file of your own.
        overrides: Values of the top level to replace.
        training: Values of [training] to replace.

    Raises:
        FileNotFoundError: There is no such recipe or file.
        ValueError: It is not TOML, has a key that is none, lacks one, or has a value out of range.

    Example:
        >>> load_recipe("paper").loss.mask
        0.2
    """
    values = {**read_recipe(KIND, name), **(overrides or {})}
    parts = {"training": (Settings, training or {}), "drop": (DoubleFree, {}), "loss": (Weights, {})}
    for part, (kind, replaced) in parts.items():
        where = f"[{part}] of recipe {name}"
        values[part] = build(kind, where, {**table(where, values.get(part, {})), **replaced})
    if "betas" in values:
        values["betas"] = tuple(values["betas"])
    return build(Recipe, f"recipe {name}", values)
