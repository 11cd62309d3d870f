"""What every engine does: work off jobs with a generator, in any order, to the same bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Protocol, TypeAlias, runtime_checkable

from inout_aug.cache.errors import EngineError
from inout_aug.cache.produce import Job, Outcome, Settings, Watch
from inout_aug.plugin import Generator, name_of

GeneratorLike: TypeAlias = Generator | Callable[[], Generator]

_MAX_DEATHS = 2


@runtime_checkable
class Engine(Protocol):
    """Runs the generator."""

    def run(self, source: Source, jobs: Iterator[Job], settings: Settings, watch: Watch, done: Done) -> None:
        """Put the shard of every job in place, unless the watch says to stop.

        Args:
            source: Of the generator.
            jobs: Taken as they are needed, in this process.
            settings: Common to all jobs.
            watch: Told of progress; asked whether to stop.
            done: Called in this process with what came of each job.

        Raises:
            CacheNotWritten: A shard could not be written.
            EngineError: The workers cannot be started, or keep dying.
        """
        ...


Done: TypeAlias = Callable[[Outcome], None]


class Source:
    """A generator, or a function that builds it; in another process the function is called again.

    Args:
        given: A `Generator`, or a callable without arguments that returns one, such as
            `functools.partial(DefectGen.from_pretrained, "checkpoints/tile")`.

    Raises:
        TypeError: It is neither.
    """

    def __init__(self, given: GeneratorLike) -> None:
        self._given = given
        self._built: Generator | None = None
        # a class has the attributes of the protocol too, but is a function that builds one
        if not isinstance(given, type) and isinstance(given, Generator):
            self._built = given
        elif not callable(given):
            raise TypeError(
                "a generator has `fingerprint` and `generate(requests)`, or is a function that returns such a one; "
                f"got {type(given).__name__}"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"_given": self._given, "_built": self._built if self._built is self._given else None}

    @property
    def generator(self) -> Generator:
        """The generator, built at first use."""
        if self._built is None:
            made: object = self._given() if callable(self._given) else self._given
            if not isinstance(made, Generator):
                raise TypeError(f"the function must return a generator; it returned {type(made).__name__}")
            self._built = made
        return self._built

    @property
    def name(self) -> str:
        """The generator's name."""
        return name_of(self.generator)

    @cached_property
    def fingerprint(self) -> str:
        """The generator's fingerprint; hashing weights takes seconds, so it is asked for once."""
        return self.generator.fingerprint


class Backlog:
    """Jobs to hand out, and those that come back because a worker died.

    Args:
        jobs: Taken as they are needed.
    """

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs = jobs
        self._returned: deque[Job] = deque()
        self._deaths = 0

    def take(self) -> Job | None:
        """Return the next job, None if there is none."""
        return self._returned.popleft() if self._returned else next(self._jobs, None)

    def give_back(self, job: Job | None, why: str) -> None:
        """Take back the job of a worker that died.

        Raises:
            EngineError: Too many workers died since the last finished job.
        """
        self._deaths += 1
        if self._deaths > _MAX_DEATHS:
            raise EngineError(
                f"{self._deaths} workers in a row died without finishing a shard ({why}). What is stored is safe. Does "
                "the memory suffice for this number of workers and this batch size? Does a script that starts "
                "processes guard its main part with `if __name__ == '__main__':`?"
            )
        if job is not None:
            self._returned.append(job)

    def finished(self) -> None:
        """Take note that a worker finished a job."""
        self._deaths = 0


def engine_of(engine: str | Engine) -> Engine:
    """Return the engine of this name ("local", "process" or "ray"), or the one that is given.

    Raises:
        ValueError: There is no engine of this name.
    """
    from inout_aug.cache import engines

    if not isinstance(engine, str):
        return engine
    known: dict[str, Callable[[], Engine]] = {
        "local": engines.LocalEngine,
        "process": engines.ProcessEngine,
        "ray": engines.RayEngine,
    }
    if engine not in known:
        raise ValueError(f"there is no engine {engine!r}; give one of {sorted(known)}, or an engine with its settings")
    return known[engine]()
