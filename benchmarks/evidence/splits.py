"""What is trained with and what is scored: never the same part twice."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from evidence.images import Images
from evidence.leaks import find_leaks
from inout_aug.cli._data import Format, open_product
from inout_aug.seeding import stream

_SEED = 0  # parts are the same whatever the seed of a training
_HELD_OUT = 1 / 3  # of the training part, to choose by


def read_parts(
    data: Path | None, layout: Format | None, size: tuple[int, int], score: Literal["test", "validation"]
) -> tuple[Images, Images, list[str]]:
    """Return the images to train with, those to score, and which were left out of these: they look like training ones.

    Args:
        data: Folder of the data; None for procedural surfaces.
        layout: Of the folder.
        size: Height and width that all images are stretched to.
        score: "test" for the test part; "validation" to hold out a third of the training part, and leave the test part
            unread.

    Raises:
        FileNotFoundError: The folder is laid out in another way.
        ValueError: A part has no defective or no normal images.
    """
    training = Images.read(open_product(data, layout, "train", seed=_SEED), size)
    if score == "validation":
        training, whole = divided(training)
    else:
        whole = Images.read(open_product(data, layout, "test", seed=_SEED), size)
    pairs = find_leaks(whole, [(item["image"], item["mask"]) for item in training.items])
    twin = {position: known for known, position in pairs}
    scored = whole.part([position for position in range(len(whole)) if position not in twin])
    for name, part in (("training", training), (score, scored)):
        if len(set(part.targets)) < 2:
            raise ValueError(
                f"the {name} part has {len(part) - sum(part.targets)} normal and {sum(part.targets)} defective images, "
                f"{len(twin)} near-duplicates left out; both kinds are needed"
            )
    told = [f"{whole.items[i]['path']} looks like {training.items[k]['path']}" for i, k in sorted(twin.items())]
    return training, scored, told


def divided(images: Images) -> tuple[Images, Images]:
    """Return two thirds of each kind, and a third, always the same; near-duplicates stay together."""
    groups = _groups(images)
    left = {kind: round(_HELD_OUT * images.kind.count(kind)) for kind in images.kinds}
    held: list[int] = []
    for number in stream(_SEED).permutation(len(groups)).tolist():
        # one that shows a defect counts as defective
        kind = max((images.kind[i] for i in groups[number]), key=images.kinds.index)
        if len(groups[number]) <= left[kind]:
            held += groups[number]
            left[kind] -= len(groups[number])
    rest = sorted(set(range(len(images))) - set(held))
    return images.part(rest), images.part(sorted(held))


def _groups(images: Images) -> list[list[int]]:
    """Return the positions of near-duplicates of each other, chains of them too."""
    group = np.arange(len(images))
    for one, other in find_leaks(images, [(item["image"], item["mask"]) for item in images.items]):
        group[group == group[one]] = group[other]
    return [np.flatnonzero(group == number).tolist() for number in np.unique(group)]
