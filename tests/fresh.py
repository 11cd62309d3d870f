"""Scripts in forks of a fresh process: it has imported what they need, once, and computed nothing.

A fork of pytest's own process would hold what other tests left there. torch, for one, refuses gradients in a fork of a
process that has started autograd's threads.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """What became of a script."""

    exit_code: int
    said: str


class Fresh:
    """Asks a fresh process to run scripts, see `fresh_process`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(
        self, argv: Sequence[str], environments: Sequence[Mapping[str, str]] = ({},), packages: Sequence[str] = ()
    ) -> list[Ended]:
        """Run a script, `argv[0]`, at once with each of some environments, after importing packages."""
        self._connection.send((argv, environments, packages))
        ended: list[Ended] = self._connection.recv()
        return ended


@contextmanager
def fresh_process() -> Iterator[Fresh]:
    """Give a process that has the environment of now, and ends with the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,))
    process.start()
    theirs.close()
    try:
        yield Fresh(ours)
    finally:
        ours.close()
        process.join()


def _serve(connection: Connection) -> None:
    context = multiprocessing.get_context("fork")
    while True:
        try:
            argv, environments, packages = connection.recv()
        except EOFError:
            return
        for package in packages:
            import_module(package)
        with tempfile.TemporaryDirectory() as folder:
            logs = [Path(folder) / str(number) for number in range(len(environments))]
            processes = [
                context.Process(target=_execute, args=(argv, environment, log))
                for environment, log in zip(environments, logs, strict=True)
            ]
            for process in processes:
                process.start()
            for process in processes:
                process.join()
            connection.send([Ended(p.exitcode, log.read_text()) for p, log in zip(processes, logs, strict=True)])


def _execute(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    sys.argv = list(argv)
    runpy.run_path(argv[0], run_name="__main__")
