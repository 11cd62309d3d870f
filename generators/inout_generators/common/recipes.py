"""Recipes: all that decides a training, as TOML files, of which the published ones come with the package."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

Part = TypeVar("Part")


def recipe_names(kind: str) -> list[str]:
    """Return the names of the recipes for a kind of generator that come with the package.

    Example:
        >>> recipe_names("lora")
        ['few', 'full', 'zero']
    """
    found = (entry.name for entry in _shipped().iterdir())
    start, end = f"{kind}_", ".toml"
    return sorted(
        name.removeprefix(start).removesuffix(end) for name in found if name.startswith(start) and name.endswith(end)
    )


def read_recipe(kind: str, name: str | Path) -> dict[str, Any]:
    """Read a recipe.

    Args:
        kind: Of generator.
        name: Of a recipe that comes with the package, or a TOML file of your own.

    Raises:
        FileNotFoundError: There is no such recipe or file.
        ValueError: It is not TOML, or not in UTF-8.
    """
    path = Path(name)
    if path.suffix != ".toml":
        if str(name) not in recipe_names(kind):
            raise FileNotFoundError(
                f"no recipe {str(name)!r}; there are {', '.join(recipe_names(kind))}, or give a .toml file"
            )
        path = _shipped() / f"{kind}_{name}.toml"
    try:
        # some editors begin a file with a byte order mark
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{name} is not valid TOML: {error}") from None


def build(kind: type[Part], where: str, values: Mapping[str, Any]) -> Part:
    """Return a dataclass of the values of a recipe.

    Args:
        kind: The dataclass.
        where: What the values are, for the message.
        values: Of its fields.

    Raises:
        ValueError: A value is of no field, or one is missing, or out of its range.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(values.keys() - set(known)):
        raise ValueError(f"{where} has {', '.join(unknown)}, which is none of {', '.join(known)}")
    try:
        return kind(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


def table(where: str, value: Any) -> dict[str, Any]:
    """Return a table of a recipe.

    Args:
        where: What it is, for the message.
        value: What the recipe has there.

    Raises:
        ValueError: It is no table.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{where} is a table, of names and values; got {value!r}")
    return dict(value)


def _shipped() -> Any:
    return files("inout_generators") / "recipes"
