"""What options of several commands mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def parse_size(text: str) -> tuple[int, int]:
    """Read height and width in pixels.

    Raises:
        ValueError: It is none.

    Example:
        >>> parse_size("256x640")
        (256, 640)
    """
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ValueError(f"--size is HEIGHTxWIDTH in pixels, such as 256x640; got {text!r}")
    return int(height), int(width)


def parse_names(text: str) -> tuple[str, ...]:
    """Read names divided by commas.

    Raises:
        ValueError: One of them is empty.

    Example:
        >>> parse_names("crack, hole")
        ('crack', 'hole')
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError(f"give names divided by commas, such as crack,hole; got {text!r}")
    return names


def parse_settings(texts: Sequence[str]) -> dict[str, Any]:
    """Read settings of a generator, each `name=value`: values are JSON, or else the text itself.

    Raises:
        ValueError: One of them is no setting.

    Example:
        >>> parse_settings(["steps=50", "size=[768, 256]", "scheduler=ddim"])
        {'steps': 50, 'size': [768, 256], 'scheduler': 'ddim'}
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier():
            raise ValueError(f"--setting is name=value; got {text!r}")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    return settings
