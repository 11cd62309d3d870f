"""Does it help? One network, trained with and without synthetic defects, scored on untouched images."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, Sampler, Subset

from inout_aug.augment import InOutAugment
from inout_aug.cli._network import predict, train
from inout_aug.cli._pictures import Collate, Pictures, Size
from inout_aug.dataset import InOutDataset
from inout_aug.datasets import few_shot
from inout_aug.plugin import Member, Paster, distribution_of

# yields what `Collate` makes of items
Loader: TypeAlias = DataLoader[Any]

BATCH = 16
_RATIO = 0.5
_MOST_AT_ONCE = 4  # beyond, threads wait for the interpreter more than they compute


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        name: In the table and the chart.
        members: Make the synthetic positives, in equal parts of either distribution.
        synthetic: Whether it trains on synthetic positives.
        balanced: Whether half of what is drawn is positive; else real samples are drawn as they come.
    """

    name: str
    members: tuple[Member, ...]
    synthetic: bool = True
    balanced: bool = True

    def learns(self, shots: int) -> bool:
        """Return whether there are positives to learn from."""
        return shots > 0 or self.synthetic


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What all arms have in common.

    Attributes:
        shots: Real defects to train with.
        seeds: Each chooses the shots, the draws and the initial weights.
        steps: Batches of a training.
        size: Height and width of a batch.
    """

    shots: int
    seeds: Sequence[int]
    steps: int
    size: Size


@dataclass(frozen=True, slots=True)
class Score:
    """How well one network finds the defective test images.

    Attributes:
        average_precision: In [0, 1]; at chance, the share of defective images.
        auroc: In [0, 1]; at chance, 0.5.
    """

    average_precision: float
    auroc: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How well an arm did.

    Attributes:
        arm: Which.
        trained: False if there was nothing to learn from: then the scores are those of chance.
        scores: One per seed.
    """

    arm: Arm
    trained: bool
    scores: Sequence[Score]

    @property
    def average_precision(self) -> list[float]:
        """One per seed."""
        return [score.average_precision for score in self.scores]

    @property
    def auroc(self) -> list[float]:
        """One per seed."""
        return [score.auroc for score in self.scores]


def make_arms(members: Mapping[str, Member]) -> list[Arm]:
    """Return the arms to compare: nothing synthetic, the control, one for each member by name, and In&Out.

    The control draws from the same wrapped dataset, but only real positives, as many as the others have in all. What a
    member gains over it is not due to the balance of the classes. In&Out is the mix of all members, where some are
    in-distribution and some out-of-distribution.
    """
    everything = tuple(members.values())
    arms = [
        Arm("no synthetic data", everything, synthetic=False, balanced=False),
        Arm("oversampled real", everything, synthetic=False),
        *(Arm(f"with {name}", (member,)) for name, member in members.items()),
    ]
    if {distribution_of(member) for member in everything} == {"in", "out"}:
        arms.append(Arm("In&Out", everything))
    return arms


def wrap(pictures: Pictures, members: Sequence[Member], shots: int, seed: int) -> InOutDataset:
    """Return all normal images, `shots` defective ones, and half as many synthetic ones as there are of both."""
    few = Subset(pictures, few_shot(pictures.targets, shots, seed=seed))
    # copies, since a paster may keep a cache that is not made for threads
    own = [deepcopy(member) if isinstance(member, Paster) else member for member in members]
    return InOutAugment(generators=own, ratio=_RATIO, seed=seed)(few, mask_value=1)


def draws(arm: Arm, dataset: InOutDataset, count: int, seed: int) -> Sampler[int]:
    """Return the sampler that makes the difference between the arms."""
    if arm.balanced:
        return dataset.sampler(positives=0.5, real=None if arm.synthetic else 1.0, num_samples=count)
    return RandomSampler(dataset.dataset, num_samples=count, generator=torch.Generator().manual_seed(seed))


def run(
    arms: Sequence[Arm], training: Pictures, test: Pictures, protocol: Protocol, tick: Callable[[Arm], object]
) -> list[Outcome]:
    """Train and score every arm, once per seed.

    Several networks train at once, each in one thread, so that the figures do not depend on the number of cores.

    Args:
        arms: What to compare.
        training: Images to train with.
        test: Images to score.
        protocol: What the arms have in common.
        tick: Called after each training step of an arm, from several threads.

    Raises:
        ImportError: torchmetrics is not installed.
        ValueError: There are fewer defects than `protocol.shots`.
    """
    stopped = Event()

    def checked(arm: Arm) -> None:
        if stopped.is_set():
            raise CancelledError
        tick(arm)

    collate = Collate(training, protocol.size)
    runs = [(arm, seed) for arm in arms if arm.learns(protocol.shots) for seed in protocol.seeds]
    with _one_thread_each(), ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_AT_ONCE)) as pool:
        futures = {
            (arm.name, seed): pool.submit(
                _train_and_score, arm, seed, training, test, protocol, collate, partial(checked, arm)
            )
            for arm, seed in runs
        }
        try:
            scores = {key: future.result() for key, future in futures.items()}
        except BaseException:
            # an interrupt or a failure ends the other trainings too
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    chance = Score(test.positives / len(test), 0.5)
    return [
        Outcome(arm, arm.learns(protocol.shots), tuple(scores.get((arm.name, seed), chance) for seed in protocol.seeds))
        for arm in arms
    ]


def measure(logits: Tensor, labels: Tensor) -> Score:
    """Return how well logits order images by their labels, both (N,)."""
    from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision

    # the metrics take a sigmoid, which makes ties of large logits
    ordered = logits.double() / logits.abs().max().clamp(min=1)
    return Score(float(BinaryAveragePrecision()(ordered, labels.long())), float(BinaryAUROC()(ordered, labels.long())))


def _train_and_score(
    arm: Arm,
    seed: int,
    training: Pictures,
    test: Pictures,
    protocol: Protocol,
    collate: Collate,
    tick: Callable[[], object],
) -> Score:
    dataset = wrap(training, arm.members, protocol.shots, seed)
    sampler = draws(arm, dataset, protocol.steps * BATCH, seed)
    loader: Loader = DataLoader(dataset, BATCH, sampler=sampler, collate_fn=collate)
    network = train(loader, channels=collate.channels, steps=protocol.steps, seed=seed, tick=tick)
    return measure(*predict(network, DataLoader(test, BATCH, collate_fn=collate)))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (of the sample); the latter is NaN for a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether the intervals mean ± standard deviation are disjoint; False where there is but one value."""
    (mean, deviation), (mean2, deviation2) = spread(one), spread(other)
    return abs(mean - mean2) > deviation + deviation2
