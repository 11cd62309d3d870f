"""What a generator is to learn from, by the options of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from typer import Option

from inout_aug.cli._data import Format, open_product, shrunk
from inout_aug.cli._options import parse_names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inout_aug.datasets import Item
    from inout_aug.sample import Sample

Data: TypeAlias = Annotated[Path | None, Option(help="Folder of your images; without it, procedural surfaces.")]
Layout: TypeAlias = Annotated[Format | None, Option("--format", help="How that folder is laid out.")]
Category: TypeAlias = Annotated[str | None, Option(help="Folder below DATA, for mvtec.")]
Material: TypeAlias = Annotated[str | None, Option(help="Of the procedural surfaces: metal (default), cast or fabric.")]
Classes: TypeAlias = Annotated[str, Option(help="Learn these defect classes only, divided by commas.")]
Shrink: TypeAlias = Annotated[float, Option(min=1, help="Shrink all images by this factor first.")]
Crop: TypeAlias = Annotated[
    bool, Option("--crop/--whole", help="Crops of the images as they are, or whole images made smaller.")
]
Precision: TypeAlias = Annotated[
    str | None, Option(help="fp32, or bf16 for chips that know it; else the recipe's or scenario's.")
]
Seed: TypeAlias = Annotated[int, Option(min=0, help="Of everything random.")]
Resume: TypeAlias = Annotated[bool, Option("--resume", help="Go on where an earlier run into OUT stopped.")]
Device: TypeAlias = Annotated[str | None, Option(help="cpu keeps off the GPU.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """The samples of a dataset that are learnt from.

    Attributes:
        dataset: All of them.
        classes: Names of the defect classes 1, 2, … that are learnt.
        defective: Positions of the chosen defective samples, ascending.
        normal: Positions of all normal samples, ascending.
        ids: The dataset's class ids to those of `classes`; 0 for one that is not learnt.
    """

    dataset: Any
    classes: Sequence[str]
    defective: NDArray[np.int64]
    normal: NDArray[np.int64]
    ids: NDArray[np.uint8]

    def spread(self, count: int) -> NDArray[np.int64]:
        """Return the positions of some normal samples, evenly over all of them, or of all if there are no more."""
        import numpy as np

        places = np.linspace(0, len(self.normal) - 1, min(count, len(self.normal)))
        return np.take(self.normal, places.astype(int))

    def read(self, positions: NDArray[np.int64], shrink: float = 1) -> list[Sample]:
        """Return samples with the classes that are learnt, their sides divided by a factor."""
        from inout_aug.sample import Sample

        items: list[Item] = [self.dataset[index] for index in positions.tolist()]
        return [
            shrunk(Sample(item["image"], self.ids[item["mask"]], int(self.ids[item["label"]])), shrink)
            for item in items
        ]


def choose_lessons(
    data: Path | None,
    layout: Format | None,
    *,
    category: str | None,
    material: str | None,
    classes: str,
    shots: int | None,
    seed: int,
) -> Lessons:
    """Choose what to learn from in the training part of a dataset.

    Args:
        data: See `open_product`, and for the next three.
        layout: Of the folder.
        category: Folder below `data`.
        material: Of procedural surfaces.
        classes: Names of the defect classes, divided by commas; empty for all.
        shots: Most defective samples of each class, None for all. They are those that other commands draw when they
            are given as many in total.
        seed: Chooses them.

    Raises:
        ValueError: There is no such class, or the options do not go together.
    """
    import numpy as np

    from inout_aug.datasets import few_shot
    from inout_aug.datasets._items import ITEM_LAYOUT
    from inout_aug.labels import class_names, read_labels

    dataset: Any = open_product(data, layout, category=category, material=material, seed=seed)
    known = [name for name, label in class_names(dataset, ITEM_LAYOUT).items() if label]
    names = parse_names(classes) if classes else tuple(known)
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"--classes: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    ids = np.zeros(256, np.uint8)
    for k, name in enumerate(names, start=1):
        ids[known.index(name) + 1] = k
    labels = read_labels(dataset, ITEM_LAYOUT, None)
    positions = np.flatnonzero((labels == 0) | (ids[labels] > 0))
    counts = np.bincount(labels[positions])[1:]
    total = int(counts.sum() if shots is None else np.minimum(counts, shots).sum())
    kept = positions[few_shot(labels[positions].tolist(), total, seed=seed)]
    return Lessons(
        dataset=dataset, classes=names, defective=kept[labels[kept] > 0], normal=kept[labels[kept] == 0], ids=ids
    )


def parse_shots(text: str) -> int | None:
    """Read a number of shots, None for all.

    Raises:
        ValueError: It is neither a number from 1 nor "all".

    Example:
        >>> parse_shots("5"), parse_shots("all")
        (5, None)
    """
    if text == "all":
        return None
    if not text.isdecimal() or not int(text):
        raise ValueError(f"--shots is a number from 1, or all; got {text!r}")
    return int(text)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}
