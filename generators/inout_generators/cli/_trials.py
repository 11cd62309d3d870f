"""Prompts tried out: a small cache of each, of the same seeds; scores; and one picture of all, for a person to judge.

OUT/samples/3f9c…/     a cache for each prompt, named after it
OUT/trials.json        prompts, their folders and their scores
OUT/sheet.png          a row for each prompt, numbered
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inout_generators.common.checkpoints import CheckpointError, read_json, write_json
from inout_generators.lora.prompts import Prompt

if TYPE_CHECKING:
    from inout_aug.cache import SampleCache
    from inout_aug.cache.features import Features
    from inout_aug.hosts import Hosts
    from inout_aug.sample import Image

_TRIALS, SHEET = "trials.json", "sheet.png"
_FORMAT = 1
_NORMALS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one prompt.

    Attributes:
        text: Of the prompt.
        defect_class: Name of the class that it is to show.
        weight: Of the prompt.
        samples: Folder of its samples, below OUT.
        normal_distance: Mean distance of a sample to the nearest normal image, in [0, 2]: near that of normal images to
            each other there may be no defect, far above there may be no such part. Inpainted, it is nearly always that
            to its own host: how much was changed. None where it was not measured.
        diversity: Mean distance between two samples, in [0, 2]; None where it was not measured.
    """

    text: str
    defect_class: str
    weight: float
    samples: str
    normal_distance: float | None = None
    diversity: float | None = None

    @property
    def prompt(self) -> Prompt:
        """The prompt."""
        return Prompt(self.text, self.defect_class, self.weight)

    @property
    def scores(self) -> str:
        """The scores that there are, in words."""
        named = {"distance to normals": self.normal_distance, "diversity": self.diversity}
        return ", ".join(f"{name} {score:.3f}" for name, score in named.items() if score is not None)


def folder_of(prompt: Prompt) -> str:
    """Return where the samples of a prompt lie: the same for the same text, whatever stands around it."""
    return f"samples/{hashlib.sha256(prompt.text.encode()).hexdigest()[:12]}"


def score(
    prompts: Sequence[Prompt],
    caches: Sequence[SampleCache],
    *,
    features: Features | None,
    normals: Hosts | None,
    tick: Callable[[], object] = lambda: None,
) -> tuple[list[Trial], float | None]:
    """Return what came of each prompt, and the mean distance of a normal image to the nearest other one.

    Args:
        prompts: The prompts.
        caches: Samples of each.
        features: A network to compare images with; None for no scores.
        normals: Normal images; None for no distance to them.
        tick: Called after each image that was looked at.
    """
    from inout_aug.evaluate.diversity import mean_of_pairs
    from inout_aug.evaluate.views import distances

    def pictures(images: Sequence[Image], looks: Features) -> np.ndarray[Any, Any]:
        seen = []
        for image in images:
            seen.append(looks.picture(image))
            tick()
        return np.stack(seen)

    if features is None:
        return [Trial(**asdict(prompt), samples=folder_of(prompt)) for prompt in prompts], None
    known, usual = None, None
    if normals is not None:
        known = pictures([normals[k].image for k in spread(len(normals))], features)
        if len(known) > 1:
            usual = float((distances(known, known) + 2 * np.eye(len(known))).min(axis=1).mean())
    trials = []
    for prompt, cache in zip(prompts, caches, strict=True):
        seen = pictures([cache[k].image for k in range(len(cache))], features)
        trials.append(
            Trial(
                **asdict(prompt),
                samples=folder_of(prompt),
                normal_distance=None if known is None else float(distances(seen, known).min(axis=1).mean()),
                diversity=mean_of_pairs(distances(seen, seen)) if len(seen) > 1 else None,
            )
        )
    return trials, usual


def spread(count: int) -> list[int]:
    """Return positions, evenly over `count` normal images, of those that are compared with."""
    positions: list[int] = np.linspace(0, count - 1, min(count, _NORMALS)).astype(int).tolist()
    return positions


def write_trials(out: Path, trials: Sequence[Trial], caches: Sequence[SampleCache], usual: float | None) -> None:
    """Write the picture of all samples, then what came of each prompt."""
    from inout_aug.cli._output import write_picture
    from inout_aug.sheet import Entry, contact_sheet

    entries = [
        Entry(sample=cache[k], name=f"{number}. {trial.text}", details=trial.scores or trial.defect_class)
        for number, (trial, cache) in enumerate(zip(trials, caches, strict=True), start=1)
        for k in range(len(cache))
    ]
    write_picture(out / SHEET, contact_sheet(entries, columns=len(caches[0])))
    write_json(
        out / _TRIALS,
        {"format": _FORMAT, "normals_apart": usual, "trials": [asdict(trial) for trial in trials]},
    )


def read_trials(out: Path) -> list[Trial]:
    """Return what `write_trials` wrote.

    Raises:
        FileNotFoundError: Nothing was tried there.
        CheckpointError: The file is damaged, or of another version.
    """
    file = out / _TRIALS
    if not file.is_file():
        raise FileNotFoundError(f"no prompts were tried in {out}: first comes inout-aug prompts try --out {out}")
    stored = read_json(file)
    names = {field.name for field in fields(Trial)}
    trials = stored.get("trials")
    if stored.get("format") != _FORMAT or not trials or any(set(each) != names for each in trials):
        raise CheckpointError(f"{file} is not what this version of inout-aug writes")
    return [Trial(**each) for each in trials]


def choose(
    trials: Sequence[Trial], numbers: Sequence[int], *, max_distance: float | None, min_diversity: float | None
) -> list[Prompt]:
    """Return the prompts of these numbers, from 1, none for all, that keep to the bounds.

    Raises:
        ValueError: There is no such number, a score was not measured, or none is left.
    """
    if wrong := [number for number in numbers if not 1 <= number <= len(trials)]:
        raise ValueError(f"prompts are numbered 1 to {len(trials)}, as in {SHEET}; got {', '.join(map(str, wrong))}")
    chosen = [trials[number - 1] for number in dict.fromkeys(numbers)] or list(trials)
    if max_distance is not None:
        chosen = [each for each in chosen if _measured(each.normal_distance, "data") <= max_distance]
    if min_diversity is not None:
        chosen = [each for each in chosen if _measured(each.diversity, "features") >= min_diversity]
    if not chosen:
        raise ValueError("no prompt keeps to these bounds; nothing was written")
    return [trial.prompt for trial in chosen]


def _measured(value: float | None, option: str) -> float:
    if value is None:
        raise ValueError(f"this was not measured: try the prompts with --features, two samples or more, and --{option}")
    return value
