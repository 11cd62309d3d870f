"""What every benchmark does: take turns, and say on which machine and with which versions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def take_turns(
    contenders: Mapping[str, Callable[[int], object]],
    repeats: int,
    warm_up: int,
    block: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of a call of each contender, by a clock.

    Each is called with 0, 1, 2, …, `block` times in a row before it is the next one's turn: then it finds the caches as
    it left them, as in a loop that does nothing else.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for first in range(0, warm_up + repeats, block):
        for name, call in contenders.items():
            for number in range(first, first + block):
                start = clock()
                call(number)
                seconds = clock() - start
                if number >= warm_up:
                    times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> dict[str, Any]:
    """The processor, by the name it gives itself, and what runs on it."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].split(":")[1].strip() if models else cpu
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    mounts = Path("/proc/mounts").read_text() if Path("/proc/mounts").exists() else ""
    shared = [line.split()[3].split(",") for line in mounts.splitlines() if line.split()[1] == "/dev/shm"]
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_before": load,
        # what loader workers send their batches through
        "huge_pages_in_dev_shm": any(
            option in ("huge=always", "huge=within_size") for each in shared for option in each
        ),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed version of each distribution, "absent" for those that are not."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def commit() -> str:
    """The commit that is checked out."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], capture_output=True, text=True, cwd=RESULTS.parent
    )
    return done.stdout.strip()


def write_report(path: Path, measured: list[dict[str, Any]], **about: Any) -> None:
    """Write rows with date, commit and whatever else is to be known."""
    report = {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), **about, "rows": measured}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
