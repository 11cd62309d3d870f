"""Worker processes of this machine, each with its own generator."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.synchronize import Event
from typing import Any

import torch

from inout_aug.cache.engines.base import Backlog, Done, Source
from inout_aug.cache.errors import EngineError
from inout_aug.cache.produce import Job, Outcome, Producer, Settings, Watch, publish

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ProcessEngine:
    """Fills in spawned processes; one that dies is replaced, and its shard made again.

    The generator is pickled to each worker, or built there if a function is given in its place. All workers see the
    same devices and use as many threads as this process does, so that results do not depend on where a sample is made;
    for one GPU each, use `RayEngine`.

    Args:
        workers: Number of processes.

    Raises:
        ValueError: `workers` is not a positive int.
    """

    workers: int = 2

    def __post_init__(self) -> None:
        if type(self.workers) is not int or self.workers < 1:
            raise ValueError(f"workers must be an int of at least 1; got {self.workers!r}")

    def run(self, source: Source, jobs: Iterator[Job], settings: Settings, watch: Watch, done: Done) -> None:
        """Hand the jobs to the workers, one at a time each."""
        backlog = Backlog(jobs)
        crew = _Crew(_pickled(source, settings))
        try:
            for _ in range(self.workers):
                crew.hire()
            while crew.workers:
                if watch.stopped():
                    crew.stop.set()
                for worker in crew.speaking():
                    kind, value = worker.hear()
                    if kind == "dead":
                        crew.dismiss(worker)
                        if not watch.stopped():
                            backlog.give_back(worker.job, f"exit code {worker.process.exitcode}")
                            crew.hire()
                        continue
                    if kind == "error":
                        raise value
                    if kind == "progress":
                        watch.progress(*value)
                        continue
                    if kind == "done":
                        backlog.finished()
                        done(value)
                    job = None if watch.stopped() else backlog.take()
                    if job is None:
                        crew.dismiss(worker)
                    else:
                        worker.give(job)
        finally:
            crew.disband()


class _Worker:
    def __init__(self, context: SpawnContext, stop: Event, payload: bytes) -> None:
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(theirs, stop, payload), daemon=True)
        with _deaf_children():
            self.process.start()
        theirs.close()
        self.job: Job | None = None

    def give(self, job: Job) -> None:
        self.job = job
        # a worker that died meanwhile is noticed when it is heard
        with suppress(OSError):
            self.connection.send(job)

    def hear(self) -> tuple[str, Any]:
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            return "dead", None
        return kind, value


class _Crew:
    """The workers that are there."""

    def __init__(self, payload: bytes) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._payload = payload
        self.stop = self._context.Event()
        self.workers: dict[Connection, _Worker] = {}

    def hire(self) -> None:
        worker = _Worker(self._context, self.stop, self._payload)
        self.workers[worker.connection] = worker

    def speaking(self) -> list[_Worker]:
        ready = wait(list(self.workers), _POLL_SECONDS)
        return [worker for connection, worker in self.workers.items() if connection in ready]

    def dismiss(self, worker: _Worker) -> None:
        """Let a worker go that is idle or dead: it ends when its pipe closes."""
        del self.workers[worker.connection]
        worker.connection.close()
        worker.process.join(_GRACE_SECONDS)
        if worker.process.exitcode is None:
            worker.process.terminate()
            worker.process.join()

    def disband(self) -> None:
        self.stop.set()
        for worker in list(self.workers.values()):
            self.dismiss(worker)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let processes started here not hear Ctrl-C, which reaches the whole group: the parent decides what becomes of it.

    A blocked signal stays blocked in what is started, from its first instant; here it is delivered late, not lost.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pickled(source: Source, settings: Settings) -> bytes:
    try:
        return pickle.dumps((source, settings, torch.get_num_threads()))
    except Exception as error:
        raise EngineError(
            f"the generator, a gate or the folder cannot be sent to another process: {error}. Give a function that "
            "builds the generator, such as functools.partial(Model.from_pretrained, path), instead of the generator"
        ) from error


def _work(connection: Connection, stop: Event, payload: bytes) -> None:
    """Be a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports = _Reports(connection, stop)

    def prepare() -> tuple[Producer, Settings]:
        source, settings, threads = pickle.loads(payload)
        torch.set_num_threads(threads)
        return Producer(source.generator, settings, reports), settings

    def work_off(job: Job) -> Outcome:
        draft, outcome = producer.make(job)
        publish(draft, job, settings)
        reports.flush()
        return outcome

    # the pipe closes when the parent has gone, or lets this worker go
    with suppress(EOFError, OSError):
        try:
            producer, settings = prepare()
            connection.send(("ready", None))
            while True:
                job = connection.recv()
                connection.send(("done", work_off(job)))
        except Exception as error:
            connection.send(("error", _sendable(error)))


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = EngineError(f"a worker failed: {type(error).__name__}: {error}")
    error.add_note(f"in a worker process:\n{traceback.format_exc()}")
    return error


class _Reports(Watch):
    """Sends progress to the parent, a few times a second at most."""

    def __init__(self, connection: Connection, stop: Event) -> None:
        self._connection = connection
        self._stop = stop
        self._counts = [0, 0]
        self._sent = time.monotonic()

    def progress(self, accepted: int, rejected: int) -> None:
        self._counts[0] += accepted
        self._counts[1] += rejected
        if time.monotonic() - self._sent > _POLL_SECONDS:
            self.flush()

    def flush(self) -> None:
        self._connection.send(("progress", tuple(self._counts)))
        self._counts = [0, 0]
        self._sent = time.monotonic()

    def stopped(self) -> bool:
        return self._stop.is_set()
