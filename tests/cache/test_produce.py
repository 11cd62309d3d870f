"""One producer, job by job: what it asks for, what it keeps, and what it puts in place."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug.cache.access import find_shard, map_verified
from inout_aug.cache.folder import LocalFolder
from inout_aug.cache.manifest import Group
from inout_aug.cache.plan import Plan
from inout_aug.cache.produce import Job, Outcome, Producer, Settings, Watch, publish
from inout_aug.plugin import Request
from inout_aug.sample import Sample
from standin import Brightness, Noise, contents

SHAPE = (16, 20, 1)
IDENTITY = {"cache": "k", "generator": "g", "fingerprint": "f"}


class Asked(Noise):
    """Writes down what it is asked for; `before` is called first."""

    def __init__(self, before: Any = None) -> None:
        super().__init__()
        self.batches: list[list[int]] = []
        self.before = before or (lambda requests: None)

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        self.batches.append([request.seed for request in requests])
        self.before(requests)
        return super().generate(requests)


class Counting(Watch):
    def __init__(self, most: float = float("inf")) -> None:
        self.accepted, self.rejected, self.most = 0, 0, most

    def progress(self, accepted: int, rejected: int) -> None:
        self.accepted, self.rejected = self.accepted + accepted, self.rejected + rejected

    def stopped(self) -> bool:
        return self.accepted >= self.most


def job_of(plan: Plan, count: int = 10, number: int = 0, shard_size: int = 10) -> Job:
    group = Group(layout=plan.layout(SHAPE), shard_size=shard_size, count=count)
    indices = np.arange(count)[group.rows(number)]
    return Job(group, number, indices, [plan.request(int(index)) for index in indices])


def settings_for(path: Path, plan: Plan, **options: Any) -> Settings:
    common = {"batch_size": 4, "max_attempts": 20, "checkpoint_seconds": 60.0, **options}
    return Settings(folder=LocalFolder(path), identity=IDENTITY, seed=plan.seed, gates=tuple(plan.gates), **common)


def filled(path: Path, job: Job, plan: Plan, generator: Any = None, watch: Any = None, **options: Any) -> Outcome:
    settings = settings_for(path, plan, **options)
    draft, outcome = Producer(generator or Noise(), settings, watch or Watch()).make(job)
    publish(draft, job, settings)
    return outcome


def stored(path: Path, job: Job) -> list[int]:
    shard = find_shard(LocalFolder(path), job.group, job.number, IDENTITY)
    return [] if shard is None else map_verified(LocalFolder(path), shard)["index"].tolist()


@given(st.integers(1, 12), st.integers(0, 255))
def test_the_rejected_wait_at_the_end_of_the_queue(batch_size: int, least: int) -> None:
    plan = Plan(shape=SHAPE, gates=[Brightness(least)])
    asked, watch = Asked(), Counting()
    settings = settings_for(Path("never written"), plan, batch_size=batch_size)
    draft, outcome = Producer(asked, settings, watch).make(job_of(plan))
    queue = [(index, 0) for index in range(10)]
    expected: list[int] = []
    failed = []
    while queue:
        index, attempt = queue.pop(0)
        request = plan.request(index, attempt)
        expected.append(request.seed)
        if Noise().make(request).image[0, 0, 0] < least:
            if attempt == 19:
                failed.append(index)
            else:
                queue.append((index, attempt + 1))
    if len(failed) < 8:  # else it gives up, perhaps within a batch
        assert [seed for batch in asked.batches for seed in batch] == expected
        assert max(len(batch) for batch in asked.batches) == min(batch_size, 10)
        assert [failure.index for failure in outcome.failures] == failed
        assert draft.missing == sorted(failed)
        assert (watch.accepted, watch.rejected) == (10 - len(failed), len(expected) - 10 + len(failed))


def test_a_gate_is_not_asked_of_what_another_rejected_and_may_fail(tmp_path: Path) -> None:
    class Strict(Brightness):
        def judge(self, sample: Sample) -> tuple[bool, tuple[float, ...]]:
            assert sample.image[0, 0, 0] >= 128
            if sample.image[0, 0, 0] > 240:
                raise OverflowError("too bright")
            return True, (1.0, 2.0) if sample.image[0, 0, 0] > 230 else (1.0,)

    plan = Plan(shape=SHAPE, gates=[Brightness(128), Strict(0, "strict", ("one",))])
    outcome = filled(tmp_path, job_of(plan, 60, shard_size=60), plan)
    why = {failure.reason for failure in outcome.failures}
    assert why == {"OverflowError: too bright", "ValueError: gate strict gave 2 scores for 1 names"}
    assert len(stored(tmp_path, job_of(plan, 60, shard_size=60))) == 60 - len(outcome.failures)


def test_failures_in_a_row_are_counted_across_jobs_and_a_success_ends_the_row(tmp_path: Path) -> None:
    plan = Plan(shape=SHAPE)
    bad = {plan.request(index).seed for index in range(20) if index != 5}

    def fail(requests: Sequence[Request]) -> None:
        if any(request.seed in bad for request in requests):
            raise ArithmeticError

    asked = Asked(fail)
    producer = Producer(asked, settings_for(tmp_path, plan, batch_size=1), Watch())
    # sample 5 is well, then 6 to 9 and 10 to 13 fail
    outcomes = [producer.make(job_of(plan, 20, number, 5))[1] for number in range(4)]
    assert [len(outcome.failures) for outcome in outcomes] == [5, 4, 4, 0]
    assert [outcome.gave_up for outcome in outcomes] == [False, False, True, True]
    assert len(asked.batches) == 14


def test_what_is_stored_never_gets_less_and_is_not_written_for_nothing(tmp_path: Path) -> None:
    plan = Plan(shape=SHAPE)
    job = job_of(plan)
    settings = settings_for(tmp_path, plan)
    few, _ = Producer(Noise(), settings, Counting(1)).make(job)
    none, _ = Producer(Noise(), settings, Counting(0)).make(job)
    publish(none, job, settings)
    assert not tmp_path.joinpath(job.group.name(0)).exists()
    filled(tmp_path, job, plan)
    before = (tmp_path / job.group.name(0)).stat()
    for draft in (few, none, Producer(Noise(), settings, Watch()).make(job)[0]):
        publish(draft, job, settings)
    after = (tmp_path / job.group.name(0)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("kept", [2, 3])
def test_samples_of_a_filler_that_wants_more_are_left_to_it(tmp_path: Path, kept: int) -> None:
    plan = Plan(shape=SHAPE)
    more, fewer = job_of(plan, 9, 1, 6), job_of(plan, 6 + kept - 1, 1, 6)
    filled(tmp_path, more, plan)
    before = contents(tmp_path)
    asked = Asked()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert filled(tmp_path, fewer, plan, asked) == Outcome(())
    assert asked.batches == []
    assert contents(tmp_path) == before
    assert not (tmp_path / "quarantine").exists()


def test_a_shard_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    plan = Plan(shape=SHAPE)
    job = job_of(plan)
    filled(tmp_path, job, plan, watch=Counting(1))

    class Racing(LocalFolder):
        def local(self, name: str) -> Path:
            if len(stored(tmp_path, job)) < 10:  # after the header was read, before the rest is
                filled(tmp_path, job, plan)
            return super().local(name)

    settings = settings_for(tmp_path, plan)
    asked = Asked()
    racing = Settings(**{name: getattr(settings, name) for name in Settings.__slots__} | {"folder": Racing(tmp_path)})
    draft, _ = Producer(asked, racing, Watch()).make(job)
    assert draft.missing == asked.batches == []


def test_samples_that_belong_elsewhere_are_set_aside(tmp_path: Path) -> None:
    plan = Plan(shape=SHAPE)
    job = job_of(plan)
    other = Job(job.group, 0, job.indices + 1, job.requests)
    filled(tmp_path, other, plan)
    with pytest.warns(RuntimeWarning, match="samples that do not belong there; set aside as quarantine/"):
        filled(tmp_path, job, plan)
    assert stored(tmp_path, job) == list(range(10))
