"""Many samples from the two nets, in batches of one size and one start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from inout_generators.common.batches import FullBatches
from inout_generators.common.schedule import CosineSchedule
from inout_generators.defect_gen.encoding import Encoding
from inout_generators.defect_gen.sampling import Known, Sampler, sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """One sample to draw.

    Attributes:
        key: Seeds its noise.
        size: (H, W).
        defect_class: From 1.
        known: Of this one sample, B = 1; None to start from pure noise.
    """

    key: tuple[int, ...]
    size: tuple[int, int]
    defect_class: int
    known: Known | None = None


class Batches:
    """Draws samples; see `FullBatches`.

    Args:
        large: See `sample`.
        local: See `sample`.
        encoding: See `sample`.
        schedule: See `sample`.
        switch_t: See `sample`.
        steps: See `sample`.
        sampler: See `sample`.
        conditional: Whether the nets are told the class.
        batch_size: Samples drawn at a time.
    """

    def __init__(
        self,
        large: nn.Module,
        local: nn.Module,
        encoding: Encoding,
        *,
        schedule: CosineSchedule,
        switch_t: int,
        steps: int,
        sampler: Sampler,
        conditional: bool,
        batch_size: int,
    ) -> None:
        self.large, self.local, self.encoding, self.schedule = large, local, encoding, schedule
        self.switch_t, self.steps, self.sampler = switch_t, steps, sampler
        self.conditional = conditional
        self._batches: FullBatches[Task, Tensor] = FullBatches(self._draw, alike=_alike, batch_size=batch_size)

    def draw(self, tasks: Sequence[Task]) -> list[Tensor]:
        """Return x0 of each task, (C, H, W), float32 on the CPU, in order."""
        return self._batches(tasks)

    def _draw(self, tasks: Sequence[Task]) -> Tensor:
        start = [task.known for task in tasks if task.known is not None]
        known = None
        if start:
            x0, held = torch.cat([each.x0 for each in start]), torch.cat([each.held for each in start])
            known = Known(x0, held, start[0].t)
        return sample(
            self.large,
            self.local,
            self.encoding,
            size=tasks[0].size,
            seeds=[task.key for task in tasks],
            steps=self.steps,
            sampler=self.sampler,
            switch_t=self.switch_t,
            schedule=self.schedule,
            defect_class=[task.defect_class for task in tasks] if self.conditional else None,
            known=known,
        )


def _alike(task: Task) -> tuple[object, ...]:
    """Return what tasks that can be drawn together have in common."""
    return task.size, None if task.known is None else task.known.t
