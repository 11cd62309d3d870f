"""What long experiments have measured so far, in one JSON file that a later run goes on with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Record:
    """Measurements under one setting, stored after each.

    Args:
        path: The JSON file; made with the first measurement.
        settings: All that decides a measurement but its key, as JSON-able values.

    Attributes:
        rows: The measurements, in the order in which they were made.

    Raises:
        ValueError: The file has measurements under other settings, or is none of ours.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Record(Path(folder) / "runs.json", {"steps": 9}).add({"seed": 0}, score=0.5)
        ...     {"seed": 0} in Record(Path(folder) / "runs.json", {"steps": 9})
        True
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            self.rows = _read(path, self.settings)

    def __contains__(self, key: Mapping[str, Any]) -> bool:
        return any(_has(row, key) for row in self.rows)

    def select(self, **key: Any) -> list[dict[str, Any]]:
        """Return the measurements that have these values."""
        return [row for row in self.rows if _has(row, key)]

    def add(self, key: Mapping[str, Any], **measured: Any) -> None:
        """Store a measurement, whole or not at all."""
        self.rows.append(json.loads(json.dumps({**key, **measured})))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        draft.write_text(json.dumps({"settings": self.settings, "rows": self.rows}, indent=1) + "\n", encoding="utf-8")
        draft.replace(self.path)


def _read(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        theirs, rows = stored["settings"], stored["rows"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no measurements of this command. Choose another --out") from error
    names = [name for name in {**settings, **theirs} if settings.get(name) != theirs.get(name)]
    if names:
        told = "; ".join(f"{name} was {theirs.get(name)!r} and is {settings.get(name)!r}" for name in names)
        raise ValueError(f"{path} was measured under other settings: {told}. Choose another --out, or remove it")
    return list(rows)


def _has(row: Mapping[str, Any], key: Mapping[str, Any]) -> bool:
    return all(name in row and row[name] == value for name, value in key.items())
