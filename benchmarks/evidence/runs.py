"""One JSON file for each training, in a folder that holds runs of one setting only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evidence.protocol import Cell

_SETTINGS = "settings.json"
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Run:
    """What one training gave.

    Attributes:
        cell: Which.
        logits: Of each scored image, in the order of the settings' names.
        made_by: Fingerprints of what made its synthetic samples.
        seconds: It took, on the wall clock.
        cpu_seconds: Its thread computed: on a CPU the time that it takes on a free core.
    """

    cell: Cell
    logits: list[float]
    made_by: list[str]
    seconds: float
    cpu_seconds: float


class Runs:
    """The runs in a folder.

    Args:
        folder: Made if it is not there.
        settings: All that decides the figures but the cell. None to take what is there.

    Raises:
        FileNotFoundError: There are no runs, and no settings are given.
        ValueError: The folder holds runs of other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None) -> None:
        self.folder = folder
        path = folder / _SETTINGS
        if settings is None and not path.is_file():
            raise FileNotFoundError(
                f"{folder} holds no runs: there is no {_SETTINGS}. Make some with `run --out {folder}`"
            )
        there = json.loads(path.read_text()) if path.is_file() else None
        given = None if settings is None else json.loads(json.dumps(settings))
        if there is None:
            _write(path, given)
        elif given is not None and given != there:
            names = sorted(name for name in {*given, *there} if given.get(name) != there.get(name))
            told = "; ".join(f"{name} was {_short(there.get(name))}, now {_short(given.get(name))}" for name in names)
            raise ValueError(f"{folder} holds runs of other settings: {told}. Give another --out")
        self.settings: dict[str, Any] = there if given is None else given

    def __iter__(self) -> Iterator[Run]:
        for path in sorted(self.folder.glob("*.json")):
            if path.name != _SETTINGS:
                read = json.loads(path.read_text())
                yield Run(Cell(**read["cell"]), read["logits"], read["made_by"], read["seconds"], read["cpu_seconds"])

    def missing(self, cells: Iterable[Cell], made_by: Callable[[Cell], list[str]]) -> list[Cell]:
        """Return the cells that have no run yet.

        Args:
            cells: Those wanted.
            made_by: Says with what a cell's synthetic samples would be made now.

        Raises:
            ValueError: A run was made with other generators.
        """
        there = {run.cell: run for run in self}
        wanted = list(cells)
        for cell in wanted:
            if cell in there and there[cell].made_by != made_by(cell):
                raise ValueError(
                    f"{self._path(cell)} was made with other synthetic samples: {there[cell].made_by}, now "
                    f"{made_by(cell)}. Give another --out"
                )
        return [cell for cell in wanted if cell not in there]

    def add(self, run: Run, **about: Any) -> None:
        """Write a run, whole or not at all."""
        _write(self._path(run.cell), {**asdict(run), **about})

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.name}.json"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_text(json.dumps(content) + "\n")
    draft.replace(path)
