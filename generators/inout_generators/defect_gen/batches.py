"""Many samples from the two nets, in batches of one size, so that no sample depends on what it was asked for with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

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
    """Draws samples.

    Convolutions give other last bits for another batch size, though not for another place in the batch or other
    neighbours (measured: torch 2.15 on x86). So every batch is filled up to one size. Only when memory runs out is that
    size halved, once and for all.

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
        self.batch_size = batch_size

    def draw(self, tasks: Sequence[Task]) -> list[Tensor]:
        """Return x0 of each task, (C, H, W), float32 on the CPU, in order."""
        drawn: dict[int, Tensor] = {}
        for alike in _grouped(tasks):
            todo = list(alike)
            while todo:
                batch, rest = todo[: self.batch_size], todo[self.batch_size :]
                try:
                    x0 = self._draw([tasks[k] for k in batch])
                except RuntimeError as error:
                    if not self._halve(error):
                        raise
                    continue
                drawn.update(zip(batch, x0, strict=False))
                todo = rest
        return [drawn[k] for k in range(len(tasks))]

    def _draw(self, tasks: Sequence[Task]) -> Tensor:
        # filled up with the last one; what it gives again is not used
        full = [*tasks, *[tasks[-1]] * (self.batch_size - len(tasks))]
        start = [task.known for task in full if task.known is not None]
        known = None
        if start:
            x0, held = torch.cat([each.x0 for each in start]), torch.cat([each.held for each in start])
            known = Known(x0, held, start[0].t)
        return sample(
            self.large,
            self.local,
            self.encoding,
            size=full[0].size,
            seeds=[task.key for task in full],
            steps=self.steps,
            sampler=self.sampler,
            switch_t=self.switch_t,
            schedule=self.schedule,
            defect_class=[task.defect_class for task in full] if self.conditional else None,
            known=known,
        )

    def _halve(self, error: RuntimeError) -> bool:
        """Return whether memory ran out and there is a smaller size to try."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        if self.batch_size == 1 or not should_reduce_batch_size(error):
            return False
        self.batch_size //= 2
        clear_device_cache()
        return True


def _grouped(tasks: Sequence[Task]) -> Iterator[list[int]]:
    """Yield the positions of tasks that can be drawn together."""
    groups: dict[object, list[int]] = {}
    for position, task in enumerate(tasks):
        alike = (task.size, None if task.known is None else task.known.t)
        groups.setdefault(alike, []).append(position)
    yield from groups.values()
