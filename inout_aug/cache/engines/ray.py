"""Actors on a Ray cluster, each with its own generator and its share of a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch

from inout_aug.cache.engines.base import Backlog, Done, Source
from inout_aug.cache.errors import EngineError
from inout_aug.cache.produce import Job, Outcome, Producer, Settings, Watch, publish

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Fills on a Ray cluster; an actor that dies is replaced, and its shard made again.

    The actors write the shards themselves: the cache must be at a path that all nodes share, or at a URL.

    Args:
        workers: Number of actors; None for as many as the cluster's CPUs and GPUs allow now.
        num_cpus: CPUs reserved for each.
        num_gpus: GPUs reserved for each; 0.5 lets two share one.
        address: Of a running cluster ("auto" finds one on this machine); None uses the one this process is connected
            to, else starts one on this machine and ends it afterwards.

    Raises:
        ValueError: A number is out of range.
    """

    workers: int | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1; got {self.workers}")
        if self.num_cpus <= 0 or self.num_gpus < 0:
            raise ValueError(f"num_cpus must be above 0, num_gpus at least 0; got {self.num_cpus}, {self.num_gpus}")

    def run(self, source: Source, jobs: Iterator[Job], settings: Settings, watch: Watch, done: Done) -> None:
        """Hand the jobs to the actors, one at a time each."""
        try:
            import ray
        except ImportError as error:
            raise ImportError('engine="ray" needs Ray: pip install "inout-aug[ray]"') from error
        mine = not ray.is_initialized()
        if mine:
            ray.init(address=self.address, include_dashboard=False, log_to_driver=False)
        try:
            self._run(ray, source, jobs, settings, watch, done)
        finally:
            if mine:
                ray.shutdown()

    def _run(self, ray: Any, source: Source, jobs: Iterator[Job], settings: Settings, watch: Watch, done: Done) -> None:
        payload = ray.put((source, settings, torch.get_num_threads()))
        # a second thread answers `taken` and `stop` while the first one generates
        options = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "max_concurrency": 2}
        actor_class = ray.remote(_Actor).options(**options)
        backlog = Backlog(jobs)
        busy: dict[Any, tuple[Any, Job]] = {}

        def assign(actor: Any | None) -> None:
            job = None if watch.stopped() else backlog.take()
            if job is not None:
                actor = actor or actor_class.remote()
                # in a list, the reference arrives as one: the actor fetches the generator once, not for each job
                busy[actor.make.remote([payload], job)] = actor, job

        for _ in range(self._size(ray)):
            assign(None)
        while busy:
            ready, _ = ray.wait(list(busy), timeout=_POLL_SECONDS)
            if watch.stopped():
                for actor, _ in busy.values():
                    actor.stop.remote()
            _report(ray, [actor for actor, _ in busy.values()], watch)
            for result in ready:
                actor, job = busy.pop(result)
                try:
                    outcome = ray.get(result)
                except ray.exceptions.RayActorError as error:
                    backlog.give_back(job, str(error).strip().splitlines()[-1])
                    assign(None)
                except ray.exceptions.RayTaskError as error:
                    raise error.as_instanceof_cause() from None
                else:
                    backlog.finished()
                    _report(ray, [actor], watch)
                    done(outcome)
                    assign(actor)

    def _size(self, ray: Any) -> int:
        """Return how many actors to start."""
        there = ray.cluster_resources()
        fits = int(there.get("CPU", 0) // self.num_cpus)
        if self.num_gpus:
            fits = min(fits, int(there.get("GPU", 0) // self.num_gpus))
        if fits < 1:
            raise EngineError(
                f"the Ray cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs; a worker needs "
                f"{self.num_cpus:g} and {self.num_gpus:g}. Lower num_cpus and num_gpus, or give another address"
            )
        return self.workers or fits


def _report(ray: Any, actors: list[Any], watch: Watch) -> None:
    answers, _ = ray.wait([actor.taken.remote() for actor in actors], num_returns=len(actors), timeout=_POLL_SECONDS)
    for answer in answers:
        try:
            watch.progress(*ray.get(answer))
        except ray.exceptions.RayActorError:
            # noticed by what became of its job
            continue


class _Actor(Watch):
    """A worker; Ray makes an actor of it."""

    def __init__(self) -> None:
        self._producer: Producer | None = None
        self._settings: Settings
        self._counts = [0, 0]
        self._lock = Lock()
        self._stop = False

    def make(self, payload: list[Any], job: Job) -> Outcome:
        # not in the constructor: Ray takes an error there for a death
        if self._producer is None:
            import ray

            source, self._settings, threads = ray.get(payload[0])
            # Ray sets one thread per CPU reserved, which can change the last bits of a result
            torch.set_num_threads(threads)
            self._producer = Producer(source.generator, self._settings, self)
        draft, outcome = self._producer.make(job)
        publish(draft, job, self._settings)
        return outcome

    def progress(self, accepted: int, rejected: int) -> None:
        with self._lock:
            self._counts[0] += accepted
            self._counts[1] += rejected

    def taken(self) -> tuple[int, int]:
        """Return the counts since this was last asked."""
        with self._lock:
            accepted, rejected = self._counts
            self._counts = [0, 0]
        return accepted, rejected

    def stop(self) -> None:
        self._stop = True

    def stopped(self) -> bool:
        return self._stop
