"""A user's own training, at a ratio and with a seed."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import math
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, RandomSampler

from inout_aug.augment import InOutAugment
from inout_aug.cli._errors import one_line_errors
from inout_aug.plugin import Member, fingerprint_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A function that trains and scores, and what it trains on.

    Attributes:
        train: Takes a wrapped dataset or a loader, and `seed` if it likes, and returns a score.
        dataset: The real samples, or what returns them, given `seed` if it likes.
        members: Make the synthetic positives, by name.
        batch: Batch size of a loader; None to hand over the dataset.
        draws: Samples in an epoch of the loader; None for as many as there are real ones.
        settings: All that decides a score but the ratio and the seed.
    """

    train: Callable[..., Any]
    dataset: Any
    members: Mapping[str, Member]
    batch: int | None
    draws: int | None
    settings: Mapping[str, Any]

    @classmethod
    def load(
        cls, train: str, dataset: str, members: Mapping[str, Member], *, batch: int | None, draws: int | None
    ) -> Self:
        """Import what is given as module:name.

        Raises:
            ImportError: There is no such module.
            TypeError: `train` is no function, or `dataset` neither that nor a dataset.
            ValueError: There is no such name.
        """
        function, data = find(train), find(dataset)
        if not callable(function):
            raise TypeError(f"{train} is to be a function train(dataset) -> score; it is a {type(function).__name__}")
        if isinstance(data, str) or not (callable(data) or hasattr(data, "__getitem__")):
            raise TypeError(
                f"{dataset} is to be a dataset, or a function that returns one; it is a {type(data).__name__}"
            )
        settings = {
            "train": train,
            "dataset": dataset,
            "code": {spec: _digest(spec) for spec in (train, dataset)},
            "generators": {name: fingerprint_of(member) for name, member in members.items()},
            "batch": batch,
            "draws": draws,
            "version": version("inout-aug"),
        }
        return cls(train=function, dataset=data, members=members, batch=batch, draws=draws, settings=settings)

    def run(self, ratio: float, seed: int) -> dict[str, Any]:
        """Train once, and return the score, the number of real and of synthetic samples, and the seconds it took."""
        _seed_everything(seed)
        real = self.dataset if hasattr(self.dataset, "__getitem__") else _call(self.dataset, seed=seed)
        with one_line_errors():
            wrapped = InOutAugment(generators=list(self.members.values()), ratio=ratio, seed=seed)(real)
        given: Any = wrapped
        if self.batch is not None:
            order = RandomSampler(
                wrapped,
                num_samples=self.draws or wrapped.n_real,
                generator=torch.Generator().manual_seed(seed),
            )
            given = DataLoader(wrapped, self.batch, sampler=order)
        began = time.perf_counter()
        score = _call(self.train, given, seed=seed)
        seconds = time.perf_counter() - began
        with one_line_errors():
            return {
                "score": _as_score(score),
                "real": wrapped.n_real,
                "synthetic": len(wrapped) - wrapped.n_real,
                "seconds": round(seconds, 3),
            }


def find(spec: str) -> Any:
    """Return what a module, in the current folder or installed, has under a name.

    Args:
        spec: module:name.

    Raises:
        ImportError: There is no such module.
        ValueError: `spec` is no such text, or the module has no such name.
    """
    module, _, name = spec.partition(":")
    if not (module and name):
        raise ValueError(f"say module:name, such as training:fit for fit in training.py; got {spec!r}")
    if "" not in sys.path:  # what `python -m` does, and an installed command does not
        sys.path.insert(0, "")
    found = importlib.import_module(module)
    if not hasattr(found, name):
        raise ValueError(f"module {module} has no {name!r}")
    return getattr(found, name)


def _digest(spec: str) -> str:
    """Return a digest of the file of a module: with another text, scores may be others."""
    module = sys.modules[spec.partition(":")[0]]
    source = inspect.getsourcefile(module)
    return hashlib.sha256(Path(source).read_bytes()).hexdigest()[:16] if source else module.__name__


def _call(function: Callable[..., Any], *arguments: Any, seed: int) -> Any:
    takes_seed = "seed" in inspect.signature(function).parameters
    return function(*arguments, seed=seed) if takes_seed else function(*arguments)


def _seed_everything(seed: int) -> None:
    """Seed the global states: the user's code may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _as_score(value: Any) -> float:
    try:
        score = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"train returns its score, one number; got {type(value).__name__}") from error
    if not math.isfinite(score):
        raise ValueError(f"train returns its score, a finite number; got {score}")
    return score
