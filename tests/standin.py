"""Generators and gates that stand in for real ones; a module of its own so that spawned workers can import them."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inout_aug.plugin import Request
from inout_aug.sample import Origin, Sample
from inout_aug.seeding import stream


@dataclass
class Noise:
    """Deterministic noise with a rectangular mask: everything follows from the request."""

    dtype: str = "uint8"
    masks: bool = True
    version: str = "1"
    name: str = "Noise"
    seconds: float = 0.0

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.dtype} {self.masks} {self.version}".encode()).hexdigest()

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        time.sleep(self.seconds * len(requests))
        return [self.make(request) for request in requests]

    def make(self, request: Request) -> Sample:
        rng = stream(request.seed)
        shape = (request.height, request.width, request.channels)
        image = rng.integers(0, np.iinfo(self.dtype).max, shape, endpoint=True).astype(self.dtype)
        if request.host is not None:
            image = np.where(request.region[..., None] > 0, image, request.host)
        mask = np.zeros(shape[:2], np.uint8)
        top, left = rng.integers(0, 8, 2)
        mask[top : top + 8, left : left + 8] = request.defect_class
        origin = Origin(params={"top": int(top), "prompt": request.prompt})
        return Sample(image, mask if self.masks else None, request.defect_class, origin)


@dataclass
class Stumbling(Noise):
    """Raises on the requests with these seeds, or kills its process once on the first of them."""

    seeds: tuple[int, ...] = ()
    kill_once: str = ""

    def make(self, request: Request) -> Sample:
        if request.seed in self.seeds:
            if not self.kill_once:
                raise ArithmeticError("the latent is not finite")
            flag = Path(self.kill_once)
            if not flag.exists():
                flag.touch()
                os.kill(os.getpid(), 9)
        return super().make(request)


@dataclass
class Brightness:
    """A gate that keeps images whose first pixel is bright enough; a pure function of the sample."""

    least: int = 128
    name: str = "dark"
    score_names: tuple[str, ...] = ("first pixel",)

    @property
    def fingerprint(self) -> str:
        return f"brightness {self.least}"

    def judge(self, sample: Sample) -> tuple[bool, tuple[float, ...]]:
        first = int(sample.image[0, 0, 0])
        return first >= self.least, (float(first),)


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a cache, by name; what is in quarantine and what an interrupted write left do not count."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file() and path.name[0] != "."}
