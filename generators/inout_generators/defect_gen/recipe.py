"""Everything that decides a training of Defect-Gen, as a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from inout_aug.sample import MIN_SIDE
from inout_generators.common.pictures import Symmetry, Windows
from inout_generators.common.recipes import build, read_recipe, table
from inout_generators.common.schedule import CosineSchedule
from inout_generators.common.training import Settings
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.unet import PRESETS

# in the order of their training
NETS = ("large", "local")

KIND = "defect_gen"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetRecipe:
    """One of the two nets.

    Attributes:
        preset: Its architecture; see `inout_generators.defect_gen.unet.preset`.
        batch: Pictures per step and process.
        training: How it is trained.

    Raises:
        ValueError: There is no such preset, or the batch is empty.
    """

    preset: str
    batch: int
    training: Settings

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"no net {self.preset!r}; there are {', '.join(PRESETS)}")
        if self.batch < 1:
            raise ValueError(f"batch is at least 1; got {self.batch}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A pair of nets and how they are trained.

    Attributes:
        large: Sees the whole picture; samples from t = T - 1 down to `switch_t`.
        local: Sees a neighbourhood; samples from there to 0. The paper's u is T - `switch_t`.
        switch_t: Where sampling changes nets, in [0, T].
        timesteps: "all": both nets learn every t, as published. "own": each learns those that it samples at.
        conditional: Whether a defect class can be asked for.
        hidden: Share of training pictures whose class is hidden from the nets, so that none need be asked for.
        mask_range: What the mask channels hold elsewhere and here.
        symmetry: Of the product; see `Windows`.
        shift: See `Windows`.
        background: See `Windows`.

    Raises:
        ValueError: A value is out of its range, or the values do not go together.
    """

    large: NetRecipe
    local: NetRecipe
    switch_t: int = 950
    timesteps: Literal["all", "own"] = "all"
    conditional: bool = True
    hidden: float = 0.1
    mask_range: tuple[float, float] = (0.0, 1.0)
    symmetry: Symmetry = "flips"
    shift: float = 0.05
    background: float = 0.15

    def __post_init__(self) -> None:
        steps = CosineSchedule().steps
        if not isinstance(self.switch_t, int) or not 0 <= self.switch_t <= steps:
            raise ValueError(
                f"switch_t is in [0, {steps}]: the large net samples at t >= switch_t (the paper's u is {steps} - "
                f"switch_t); got {self.switch_t}"
            )
        if self.timesteps not in ("all", "own"):
            raise ValueError(f"timesteps is 'all' or 'own'; got {self.timesteps!r}")
        if self.timesteps == "own" and self.switch_t in (0, steps):
            raise ValueError(
                f"switch_t={self.switch_t} leaves one net no timestep of its own to learn: give timesteps = 'all'"
            )
        if not isinstance(self.conditional, bool) or not 0 <= self.hidden <= 1:
            raise ValueError(
                f"conditional is true or false, hidden is in [0, 1]; got {self.conditional!r} and {self.hidden}"
            )
        if len(self.mask_range) != 2:
            raise ValueError(f"mask_range is (elsewhere, here); got {self.mask_range}")
        # they know what is wrong with them
        Encoding(1, ("defect",), self.mask_range)
        Windows(size=(MIN_SIDE, MIN_SIDE), symmetry=self.symmetry, shift=self.shift, background=self.background)

    def net(self, name: str) -> NetRecipe:
        """Return the recipe of "large" or "local"."""
        return self.large if name == "large" else self.local


def load_recipe(
    name: str | Path, overrides: Mapping[str, Any] | None = None, training: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe.

    Args:
        name: Of one that comes with the package, or a TOML file of your own.
        overrides: Values of the top level to replace.
        training: Values to replace in the training of both nets.

    Raises:
        FileNotFoundError: There is no such recipe or file.
        ValueError: It is not TOML, has a key that is none, lacks one, or has a value out of range.

    Example:
        >>> load_recipe("paper").large.training.learning_rate
        0.0001
    """
    values = {**read_recipe(KIND, name), **(overrides or {})}
    places = {key: f"[{key}] of recipe {name}" for key in ("training", *NETS)}
    tables = {key: table(where, values.pop(key, {})) for key, where in places.items()}
    nets = {net: _net(places[net], {**tables["training"], **tables[net], **(training or {})}) for net in NETS}
    if isinstance(values.get("mask_range"), list):
        values["mask_range"] = tuple(values["mask_range"])
    return build(Recipe, f"recipe {name}", {**values, **nets})


def _net(where: str, values: dict[str, Any]) -> NetRecipe:
    own: dict[str, Any] = {key: values.pop(key) for key in ("preset", "batch") if key in values}
    return build(NetRecipe, where, {**own, "training": build(Settings, where, values)})
