"""Batches of one size, so that no sample depends on what it was asked for with; halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Generic, TypeVar

Task = TypeVar("Task")
Drawn = TypeVar("Drawn")


class FullBatches(Generic[Task, Drawn]):
    """Draws tasks in batches that are filled up to one size.

    Convolutions give other last bits for another batch size, though not for another place in the batch or other
    neighbours (measured: torch 2.15 on x86). Only when memory runs out is the size halved, once and for all.

    Args:
        draw: Draws a full batch: one result per task, in order.
        alike: What tasks of one batch have in common, such as their size.
        batch_size: Tasks drawn at a time.

    Example:
        >>> batches = FullBatches(lambda tasks: [len(tasks) * task for task in tasks], alike=type, batch_size=4)
        >>> batches([1, 2, 0.5])
        [4, 8, 2.0]
    """

    def __init__(
        self,
        draw: Callable[[Sequence[Task]], Iterable[Drawn]],
        *,
        alike: Callable[[Task], Hashable],
        batch_size: int,
    ) -> None:
        self.draw, self.alike, self.batch_size = draw, alike, batch_size

    def __call__(self, tasks: Sequence[Task]) -> list[Drawn]:
        """Return what is drawn for each task, in order."""
        groups: dict[Hashable, list[int]] = {}
        for position, task in enumerate(tasks):
            groups.setdefault(self.alike(task), []).append(position)
        drawn: dict[int, Drawn] = {}
        for todo in groups.values():
            while todo:
                batch = todo[: self.batch_size]
                # filled up with the last one; what it gives again is not used
                filled = [*batch, *batch[-1:] * (self.batch_size - len(batch))]
                try:
                    results = self.draw([tasks[k] for k in filled])
                except RuntimeError as error:
                    if not self._halve(error):
                        raise
                    continue
                drawn.update(zip(batch, results, strict=False))
                todo = todo[len(batch) :]
        return [drawn[k] for k in range(len(tasks))]

    def _halve(self, error: RuntimeError) -> bool:
        """Return whether memory ran out and there is a smaller size to try."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        if self.batch_size == 1 or not should_reduce_batch_size(error):
            return False
        self.batch_size //= 2
        clear_device_cache()
        return True
