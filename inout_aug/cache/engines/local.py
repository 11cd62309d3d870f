"""The generator runs in this process; shards are hashed and written while it makes the next ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from inout_aug.cache.engines.base import Done, Source
from inout_aug.cache.produce import Job, Producer, Settings, Watch, publish

# hashing keeps one core busy and writing the disk: two shards in flight overlap them, a third would only cost memory
_WRITERS = 2


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Fills in the process that asks for it: the choice for one GPU, and for cheap generators."""

    def run(self, source: Source, jobs: Iterator[Job], settings: Settings, watch: Watch, done: Done) -> None:
        """Work off the jobs, in order."""
        producer = Producer(source.generator, settings, watch)
        writing: deque[Future[None]] = deque()
        with ThreadPoolExecutor(_WRITERS, "inout-write") as writers:
            for job in jobs:
                draft, outcome = producer.make(job)
                if len(writing) == _WRITERS:
                    writing.popleft().result()
                writing.append(writers.submit(publish, draft, job, settings))
                done(outcome)
                if watch.stopped():
                    break
        for write in writing:
            write.result()
