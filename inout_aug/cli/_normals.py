"""Normal images by the options of the command line: hosts for defects, and what samples are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from inout_aug.cli._data import Format, open_data, shrunk

if TYPE_CHECKING:
    from inout_aug.hosts import Hosts
    from inout_aug.sample import Sample


class _Shrunk:
    """Hosts made smaller.

    Args:
        hosts: As they are.
        factor: At least 1.
    """

    def __init__(self, hosts: Hosts, factor: float) -> None:
        self._hosts, self._factor = hosts, factor

    def __len__(self) -> int:
        return len(self._hosts)

    def __getitem__(self, number: int, /) -> Sample:
        return shrunk(self._hosts[number], self._factor)


def open_normals(data: Path | None, layout: Format | None, category: str | None, shrink: float, seed: int) -> Hosts:
    """Return the normal images of the training part of a dataset.

    Args:
        data: See `open_data`, and for the next two.
        layout: Of the folder.
        category: Folder below `data`.
        shrink: Factor by which they are made smaller.
        seed: See `open_data`.
    """
    import numpy as np

    from inout_aug.datasets._items import ITEM_LAYOUT
    from inout_aug.hosts import DatasetHosts
    from inout_aug.labels import read_labels

    dataset: Any = open_data(data, layout, category=category, seed=seed)
    hosts = DatasetHosts(dataset, np.flatnonzero(read_labels(dataset, ITEM_LAYOUT, None) == 0), ITEM_LAYOUT)
    return hosts if shrink == 1 else _Shrunk(hosts, shrink)
