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
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import NamedTuple


class Ended(NamedTuple):
    """What became of a script."""

    exit_code: int
    said: str


def fresh_process() -> ProcessPoolExecutor:
    """Return what runs functions in one new process, which starts with the first, in the environment of then."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def run_forked(
    argv: Sequence[str], environments: Sequence[Mapping[str, str]], packages: Sequence[str] = ()
) -> list[Ended]:
    """Run a script, `argv[0]`, at once with each of some environments, in forks of this process.

    Args:
        argv: The script, and what it is told.
        environments: What is added to this process's own, for each fork.
        packages: This process imports them first.
    """
    for package in packages:
        import_module(package)
    context = multiprocessing.get_context("fork")
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
        return [Ended(p.exitcode, log.read_text()) for p, log in zip(processes, logs, strict=True)]


def _execute(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    sys.argv = list(argv)
    runpy.run_path(argv[0], run_name="__main__")
