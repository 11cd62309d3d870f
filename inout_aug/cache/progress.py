"""What a user sees of a fill, and how Ctrl-C ends it without losing a sample."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import AbstractContextManager
from types import FrameType, TracebackType
from typing import Any

from inout_aug.cache.produce import Watch

_REFRESH_SECONDS = 0.1


class FillWatch(Watch, AbstractContextManager["FillWatch"]):
    """A progress bar on stderr, and a Ctrl-C that waits for the batch at hand; the second one does not.

    Args:
        total: Samples wanted.
        there: Samples that are there already.
        show: Whether to draw the bar.

    Attributes:
        interrupted: Whether Ctrl-C was pressed.
    """

    def __init__(self, total: int, there: int, show: bool) -> None:
        self.interrupted = False
        self._stopped = False
        self._total, self._there, self._show = total, there, show
        self._accepted = self._rejected = 0
        self._drawn = 0.0
        self._bar: Any = None
        self._handler: Any = None

    def __enter__(self) -> FillWatch:
        if self._show:
            self._bar = _bar()
            self._task = self._bar.add_task("filling", total=self._total, completed=self._there, made=0, accepted="")
            self._bar.start()
        # only the main thread may set handlers; elsewhere Ctrl-C is none of our business
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        if self._bar is not None:
            self._draw()
            self._bar.stop()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = self._stopped = True
        self._restore()
        # past the buffers of Python, in the middle of whose work a handler may run
        os.write(2, b"\nstopping after the batch at hand; Ctrl-C again stops at once\n")

    def _restore(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None

    def progress(self, accepted: int, rejected: int) -> None:
        """Count, and draw a few times a second."""
        self._accepted += accepted
        self._rejected += rejected
        if self._bar is not None and time.monotonic() - self._drawn > _REFRESH_SECONDS:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        attempts = self._accepted + self._rejected
        accepted = f"yield {100 * self._accepted / attempts:.0f} %" if attempts else ""
        self._bar.update(self._task, completed=self._there + self._accepted, made=self._accepted, accepted=accepted)

    def stop(self) -> None:
        """Ask the fill to end."""
        self._stopped = True

    def stopped(self) -> bool:
        """Return whether to end."""
        return self._stopped


def _bar() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            # since the start: rich's own needs several updates
            seconds = task.finished_time or task.elapsed
            return Text(f"{task.fields['made'] / seconds:.3g} samples/s" if seconds else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Speed(),
        TextColumn("{task.fields[accepted]}"),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True))
