"""Many samples from one net, in batches of one size and one start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inout_aug.sample import Image, Mask
from inout_generators.common.batches import FullBatches
from inout_generators.common.masks import without_specks
from inout_generators.common.pixels import unscale
from inout_generators.common.schedule import Schedule
from inout_generators.defectdiffu.guidance import Asked, Guided, Mode
from inout_generators.defectdiffu.masks import hard_mask, scaled_area, soft_masks
from inout_generators.defectdiffu.model import DefectDiffuTransformer
from inout_generators.defectdiffu.sampling import Known, Sampler, sample, visited
from inout_generators.defectdiffu.spaces import Space
from inout_generators.defectdiffu.text import TextEncoder

_ATTEMPTS = 20


class NoDefectDrawn(RuntimeError):
    """The net drew images whose masks were empty, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """A host to start from instead of from noise alone.

    Attributes:
        x0: Its latents, (C, h, w).
        held: Where they stay as they are: bool, (1, h, w).
        region: Where the defect may be: uint8 (H, W), 1 inside.
        strength: Share of the noise, in (0, 1].
    """

    x0: Tensor
    held: Tensor
    region: Mask
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One sample to draw.

    Attributes:
        asked: What it is to show.
        key: Seeds its noise.
        size: (H, W), in pixels.
        start: None to start from noise alone.
    """

    asked: Asked
    key: tuple[int, ...]
    size: tuple[int, int]
    start: Start | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A sample as it was drawn.

    Attributes:
        values: The image, float32 (H, W, C), about in [-1, 1].
        soft: Where the defect is: float32 (H, W), about -1 where it is not, 1 where it is.
        mask: The same, decided: uint8 (H, W), 1 inside; empty where nothing stands out.
    """

    values: NDArray[np.float32]
    soft: NDArray[np.float32]
    mask: Mask

    @property
    def image(self) -> Image:
        """The image, uint8 (H, W, C)."""
        return unscale(self.values, np.uint8)


class Drawing:
    """Draws samples; see `FullBatches`.

    Args:
        net: The net.
        text: Gives prompts their vectors.
        space: Where the net works.
        schedule: Which it was trained with.
        sampler: See `sample`.
        steps: Timesteps visited from pure noise; from less, as many less.
        mode: Of the guidance.
        null_product: The word for any product.
        min_area: See `scaled_area`: of the smallest connected part of a mask, in pixels of 512×512.
        batch_size: Samples drawn at a time.

    Attributes:
        emptied: Number of samples drawn anew because their mask was empty.
    """

    def __init__(
        self,
        net: DefectDiffuTransformer,
        text: TextEncoder,
        space: Space,
        *,
        schedule: Schedule,
        sampler: Sampler,
        steps: int,
        mode: Mode,
        null_product: str,
        min_area: int,
        batch_size: int,
    ) -> None:
        self.net, self.text, self.space, self.schedule = net, text, space, schedule
        self.sampler, self.steps, self.mode, self.null_product = sampler, steps, mode, null_product
        self.min_area, self.emptied = min_area, 0
        self._batches: FullBatches[Task, Drawn] = FullBatches(self._draw, alike=_alike, batch_size=batch_size)

    def draw(self, tasks: Sequence[Task]) -> list[Drawn]:
        """Return what is drawn for each task, in order."""
        return self._batches(tasks)

    def shown(self, tasks: Sequence[Task]) -> list[tuple[Drawn, int]]:
        """Draw samples, and anew those whose mask is empty; return each with the number of its attempt, from 0.

        Raises:
            NoDefectDrawn: A mask is empty again and again.
        """
        found: dict[int, tuple[Drawn, int]] = {}
        for attempt in range(_ATTEMPTS):
            missing = [k for k in range(len(tasks)) if k not in found]
            drawn = self.draw([replace(tasks[k], key=(*tasks[k].key, attempt)) for k in missing])
            found.update((k, (each, attempt)) for k, each in zip(missing, drawn, strict=True) if each.mask.any())
            if len(found) == len(tasks):
                return [found[k] for k in range(len(tasks))]
            self.emptied += len(tasks) - len(found)
        lost = next(task for k, task in enumerate(tasks) if k not in found)
        where = "" if lost.start is None else " in the region of the host"
        raise NoDefectDrawn(
            f"none of {_ATTEMPTS} images drawn for seed {lost.key[0]} at {lost.size} shows {lost.asked.defect!r} on "
            f"{lost.asked.product!r}{where}, at w_defect={lost.asked.w_defect:g}. Raise w_defect, train longer, or "
            "lower min_area"
        )

    def _draw(self, tasks: Sequence[Task]) -> list[Drawn]:
        size, starts = tasks[0].size, [task.start for task in tasks if task.start is not None]
        strength = starts[0].strength if starts else 1.0
        steps = max(1, round(strength * self.steps))
        times = visited(self.schedule, steps, self.sampler, strength=strength)
        known = None
        if starts:
            known = Known(torch.stack([start.x0 for start in starts]), torch.stack([start.held for start in starts]))
        with torch.inference_mode():
            asked = [task.asked for task in tasks]
            guided = Guided(
                self.net, self.text, asked, times, self.schedule, mode=self.mode, null_product=self.null_product
            )
            latents = sample(
                guided,
                self.schedule,
                times,
                clamp=self.space.clamp,
                shape=(self.space.channels, size[0] // self.space.factor, size[1] // self.space.factor),
                seeds=[task.key for task in tasks],
                sampler=self.sampler,
                known=known,
            )
            # what overflowed in half precision is mid grey, which a cache's gates refuse
            values = self.space.values(latents.image).nan_to_num(0, 0, 0).permute(0, 2, 3, 1).cpu().numpy()
            soft = np.nan_to_num(soft_masks(self.space, latents.mask), nan=-1.0, posinf=-1.0, neginf=-1.0)
        return [
            Drawn(image, where, self._mask(where, task.start))
            for task, image, where in zip(tasks, values, soft, strict=True)
        ]

    def _mask(self, soft: NDArray[np.float32], start: Start | None) -> Mask:
        smallest = scaled_area(soft.shape, self.min_area)
        mask = hard_mask(soft, smallest)
        return mask if start is None else without_specks(mask * start.region, smallest)


def _alike(task: Task) -> tuple[object, ...]:
    """Return what tasks that can be drawn together have in common."""
    return task.size, None if task.start is None else task.start.strength
