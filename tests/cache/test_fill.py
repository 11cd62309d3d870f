"""The bytes of a cache depend on what is asked for, never on how it was filled."""

from __future__ import annotations

import functools
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inout_aug.cache import (
    CacheMismatch,
    FillIncomplete,
    Plan,
    SampleCache,
    cache_path,
    fill_cache,
    user_cache_dir,
    verify_cache,
)
from inout_aug.plugin import Request
from inout_aug.sample import Sample
from standin import Brightness, Noise, Stumbling, contents

SHAPE = (16, 20, 1)


def fill(path: Path, n: int = 20, generator: Any = None, **options: Any) -> SampleCache:
    settings = {"shape": SHAPE, "shard_size": 6, "progress": False, **options}
    return fill_cache(generator or Noise(), path, n, **settings)


def seeds_of(indices: Sequence[int], **plan: Any) -> tuple[int, ...]:
    return tuple(Plan(**{"shape": SHAPE, **plan}).request(index).seed for index in indices)


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 30),
    first=st.integers(1, 20),
    lost=st.sets(st.integers(0, 3)),
    checkpoint=st.sampled_from([0.0, 60.0]),
)
def test_the_bytes_do_not_depend_on_how_it_was_filled(
    tmp_path_factory: pytest.TempPathFactory, batch_size: int, first: int, lost: set[int], checkpoint: float
) -> None:
    options: dict[str, Any] = {"gates": [Brightness(150)], "conditions": [{"prompt": "a"}, {"prompt": "b"}]}
    at_once, in_steps = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    fill(at_once, **options)
    options |= {"batch_size": batch_size, "checkpoint_seconds": checkpoint}
    fill(in_steps, first, **options)
    for number in lost:
        (in_steps / f"16x20x1-uint8-{number:06d}.safetensors").unlink(missing_ok=True)
    fill(in_steps, **options)
    assert contents(in_steps) == contents(at_once)


def test_the_generator_is_asked_once_for_each_sample(tmp_path: Path) -> None:
    asked: list[int] = []

    class Counting(Noise):
        def generate(self, requests: Sequence[Request]) -> list[Sample]:
            asked.extend(request.seed for request in requests)
            return super().generate(requests)

    fill(tmp_path, 14, Counting())
    fill(tmp_path, 20, Counting())
    fill(tmp_path, 20, Counting())
    assert asked == list(seeds_of(range(20)))


def test_growing_adds_samples_and_a_smaller_number_removes_none(tmp_path: Path) -> None:
    ten = [sample.image for sample in fill(tmp_path, 10)]
    twenty = fill(tmp_path, 20)
    np.testing.assert_array_equal([sample.image for sample in twenty][:10], ten)
    assert len(fill(tmp_path, 5)) == 20


def test_rejected_samples_are_replaced_and_counted(tmp_path: Path) -> None:
    gates = [Brightness(100), Brightness(200, "not bright", ("again",))]
    cache = fill(tmp_path, gates=gates)
    plan = Plan(shape=SHAPE, gates=gates)
    totals = {"dark": 0, "not bright": 0}
    for position in range(20):
        attempt = 0
        # the first attempt that both gates pass, by brute force
        while (first := int(Noise().make(plan.request(position, attempt)).image[0, 0, 0])) < 200:
            totals["dark" if first < 100 else "not bright"] += 1
            attempt += 1
        assert cache.seeds[position] == plan.request(position, attempt).seed
        assert cache.scores[position].tolist() == [first, first]
    assert cache.rejections == totals
    assert cache.acceptance == 20 / (20 + sum(totals.values()))


def test_samples_that_no_attempt_gets_past_the_gates_are_named(tmp_path: Path) -> None:
    plan = Plan(shape=SHAPE)
    hard = [k for k in range(20) if max(int(Noise().make(plan.request(k, a)).image[0, 0, 0]) for a in range(3)) < 150]
    assert hard
    with pytest.raises(FillIncomplete, match=r"all 3 attempts were rejected \(dark 3\)") as caught:
        fill(tmp_path, gates=[Brightness(150)], max_attempts=3)
    assert [failure.index for failure in caught.value.failures] == hard
    assert SampleCache(tmp_path).indices.tolist() == [k for k in range(20) if k not in hard]
    assert len(fill(tmp_path, gates=[Brightness(150)])) == 20


def test_gates_that_reject_everything_end_the_fill_soon(tmp_path: Path) -> None:
    with pytest.raises(FillIncomplete, match="too often in a row") as caught:
        fill(tmp_path, 1000, gates=[Brightness(256)], batch_size=1)
    assert len(caught.value.failures) == 8


def test_a_request_that_raises_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    bad = [2, 11]
    with pytest.raises(FillIncomplete, match="18 of 20 samples are stored") as caught:
        fill(tmp_path, generator=Stumbling(seeds=seeds_of(bad)))
    assert [failure.index for failure in caught.value.failures] == bad
    assert [failure.seed for failure in caught.value.failures] == list(seeds_of(bad))
    assert "ArithmeticError: the latent is not finite" in str(caught.value)
    kept = SampleCache(tmp_path)
    assert kept.indices.tolist() == [k for k in range(20) if k not in bad]
    for position, index in enumerate(kept.indices):
        np.testing.assert_array_equal(kept[position].image, Noise().make(Plan(shape=SHAPE).request(int(index))).image)
    fill(tmp_path)
    fill(tmp_path / "undisturbed")
    assert contents(tmp_path) == contents(tmp_path / "undisturbed")


def test_a_broken_generator_is_not_asked_for_everything(tmp_path: Path) -> None:
    with pytest.raises(FillIncomplete, match="0 of 1000") as caught:
        fill(tmp_path, 1000, generator=Stumbling(seeds=seeds_of(range(1000))))
    assert 8 <= len(caught.value.failures) <= 16


@pytest.mark.parametrize(
    ("options", "generator", "words"),
    [
        ({}, Noise(dtype="uint16"), "Fill with dtype='uint16'"),
        ({"dtype": "uint16"}, Noise(), "Fill with dtype='uint8'"),
        ({}, Noise(masks=False), "Fill with masks=False"),
        ({"masks": False}, Noise(), "Fill with masks=True"),
    ],
)
def test_samples_that_do_not_fit_are_refused_with_the_remedy(
    tmp_path: Path, options: dict[str, Any], generator: Noise, words: str
) -> None:
    with pytest.raises(FillIncomplete, match=words):
        fill(tmp_path, 3, generator, **options)


class Wrong(Noise):
    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        if self.version == "short":
            return super().generate(requests)[1:]
        sample = self.make(Request(seed=0, height=32, width=32, channels=1))
        if self.version == "unspeakable":
            sample = super().make(requests[0])
            sample.origin.params["tensor"] = torch.zeros(1)
        return [sample] * len(requests)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("short", "returned 0 samples for 1 requests"),
        ("large", r"\(16, 20, 1\) was asked for; the generator gave \(32, 32, 1\)"),
        ("unspeakable", "JSON-able"),
    ],
)
def test_a_generator_that_breaks_its_contract_is_told(tmp_path: Path, version: str, words: str) -> None:
    with pytest.raises(FillIncomplete, match=words):
        fill(tmp_path, 3, Wrong(version=version))


class Greedy(Noise):
    """Runs out of memory above a batch of three."""

    error: Callable[[], Exception] = MemoryError
    batches: tuple[int, ...] = ()

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        type(self).batches += (len(requests),)
        if len(requests) > 3:
            raise type(self).error()
        return super().generate(requests)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError,
        functools.partial(torch.cuda.OutOfMemoryError, "CUDA out of memory"),
        functools.partial(RuntimeError, "DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_halves_the_batch(tmp_path: Path, error: Callable[[], Exception]) -> None:
    Greedy.error, Greedy.batches = staticmethod(error), ()
    fill(tmp_path, generator=Greedy(), batch_size=16, shard_size=20)
    assert Greedy.batches == (16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
    fill(tmp_path / "undisturbed", shard_size=20)
    assert contents(tmp_path) == contents(tmp_path / "undisturbed")


class Interrupting(Noise):
    """Presses Ctrl-C in the middle of a batch."""

    def make(self, request: Request) -> Sample:
        if request.seed == seeds_of([9])[0]:
            signal.raise_signal(signal.SIGINT)
        return super().make(request)


def test_ctrl_c_keeps_what_was_made_and_says_how_to_go_on(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"12 of 20 samples are stored in .* Run the same fill again"):
        fill(tmp_path, generator=Interrupting(), batch_size=4, shard_size=20)
    assert signal.getsignal(signal.SIGINT) is before
    assert len(SampleCache(tmp_path)) == 12
    fill(tmp_path, shard_size=20)
    fill(tmp_path / "undisturbed", shard_size=20)
    assert contents(tmp_path) == contents(tmp_path / "undisturbed")


class Impatient(Noise):
    """Presses Ctrl-C twice."""

    def make(self, request: Request) -> Sample:
        if request.seed == seeds_of([9])[0]:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)  # two at the same instant may count as one
            signal.raise_signal(signal.SIGINT)
        return super().make(request)


@pytest.fixture
def in_the_foreground() -> Iterator[None]:
    """A process that a shell starts in the background has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("in_the_foreground")
def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path, generator=Impatient(), batch_size=4)
    assert signal.getsignal(signal.SIGINT) is before
    assert SampleCache(tmp_path).indices.tolist() == list(range(6))


def test_an_unfinished_shard_is_stored_now_and_then(tmp_path: Path) -> None:
    seen: list[int] = []

    class Looking(Noise):
        def generate(self, requests: Sequence[Request]) -> list[Sample]:
            seen.append(len(SampleCache(tmp_path)))
            return super().generate(requests)

    fill(tmp_path, generator=Looking(), batch_size=2, shard_size=20, checkpoint_seconds=0)
    assert seen == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"generator": Noise(version="2")}, "another generator: Noise"),
        ({"seed": 1}, "seed 0, not 1"),
        ({"shape": (20, 16, 1)}, "another shape"),
        ({"conditions": {"prompt": "a dent"}}, "condition"),
        ({"gates": [Brightness(1)]}, "gate"),
        ({"shard_size": 7}, "leave shard_size out"),
    ],
)
def test_another_content_never_gets_into_the_same_folder(tmp_path: Path, options: Any, words: str) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(CacheMismatch, match=words):
        fill(tmp_path, **options)
    assert contents(tmp_path) == before


def test_functions_that_changed_are_noticed(tmp_path: Path) -> None:
    fill(tmp_path, conditions=lambda index: {"prompt": f"crack {index}"})
    fill(tmp_path, conditions=lambda index: {"prompt": f"crack {index}"})
    with pytest.raises(CacheMismatch, match="sample 6 was asked for with"):
        fill(tmp_path, conditions=lambda index: {"prompt": f"crack {index % 6}"})
    fill(tmp_path / "shapes", shape=lambda index: (16, 16 + index % 2, 1))
    with pytest.raises(CacheMismatch, match="other conditions or shapes"):
        fill(tmp_path / "shapes", shape=lambda index: (16, 16 + (index >= 10), 1))
    with pytest.raises(CacheMismatch, match="other shapes"):
        fill(tmp_path / "shapes", shape=lambda index: (16, 16 + index % 2 * 4, 1))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "n must be an int of at least 1"),
        ({"n": 2.5}, "n must be"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_attempts": True}, "max_attempts"),
        ({"shard_size": -1}, "shard_size"),
        ({"seed": -1}, "seed"),
        ({"shape": (15, 16, 3)}, "side"),
        ({"shape": (16, 16, 4)}, "channels"),
        ({"dtype": "float32"}, "dtype"),
        ({"engine": "dask"}, "'local', 'process', 'ray'"),
        ({"conditions": {"promt": "typo"}}, r"unknown conditions \['promt'\]"),
        ({"conditions": []}, "empty"),
        ({"gates": [Brightness(), Brightness()]}, "differ"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fill(tmp_path / "cache", **options)
    assert not (tmp_path / "cache").exists()


def test_what_a_function_filled_is_not_continued_by_a_value(tmp_path: Path) -> None:
    fill(tmp_path, 8, conditions=lambda index: {"prompt": "a" if index == 0 else "b"})
    with pytest.raises(CacheMismatch):
        fill(tmp_path, 12, conditions={"prompt": "a"})


def test_a_fill_is_whole_though_another_one_wants_more(tmp_path: Path) -> None:
    class Dead(Noise):
        def generate(self, requests: Sequence[Request]) -> list[Sample]:
            raise KeyboardInterrupt

    class Outdone(Noise):
        begun = False

        def generate(self, requests: Sequence[Request]) -> list[Sample]:
            if not Outdone.begun:
                Outdone.begun = True
                with pytest.raises(KeyboardInterrupt):
                    fill(tmp_path, 30, Dead())
            return super().generate(requests)

    fill(tmp_path, 10, Outdone(), batch_size=4)
    assert SampleCache(tmp_path).missing == 20


def test_what_is_no_generator_or_gate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="generate"):
        fill(tmp_path, generator=3)
    with pytest.raises(TypeError, match="returned int"):
        fill(tmp_path, generator=lambda: 3)
    with pytest.raises(TypeError, match="gate"):
        fill(tmp_path, gates=[max])


def test_a_function_that_builds_the_generator_gives_the_same(tmp_path: Path) -> None:
    fill(tmp_path / "generator")
    fill(tmp_path / "function", generator=lambda: Noise())
    fill(tmp_path / "class", generator=Noise)
    assert contents(tmp_path / "generator") == contents(tmp_path / "function") == contents(tmp_path / "class")


def test_without_a_path_the_folder_is_named_after_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INOUT_CACHE", str(tmp_path))
    assert user_cache_dir() == tmp_path
    one = fill_cache(Noise(), None, 3, shape=SHAPE, progress=False)
    assert Path(one.folder.url) == cache_path(Noise(), Plan(shape=SHAPE))
    fill_cache(Noise(), None, 3, shape=SHAPE, seed=1, progress=False)
    fill_cache(Noise(version="2"), None, 3, shape=SHAPE, progress=False)
    fill_cache(Noise(), None, 4, shape=SHAPE, progress=False)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_users_cache_follows_the_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INOUT_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache_dir() == tmp_path / "xdg" / "inout-aug"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert user_cache_dir() == tmp_path / ".cache" / "inout-aug"


def test_the_progress_bar_says_speed_and_yield(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cache = fill(tmp_path, gates=[Brightness(128)], progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "20/20" in err
    assert f"yield {100 * cache.acceptance:.0f} %" in err
    assert "samples/s" in err


def test_the_shard_size_suits_the_number_and_the_size(tmp_path: Path) -> None:
    def size(n: int, shape: tuple[int, int, int]) -> int:
        fill_cache(Noise(), path := tmp_path / f"{n} {shape}", n, shape=shape, progress=False)
        return SampleCache(path).manifest.groups[0].shard_size

    assert size(10, (16, 16, 1)) == 16
    assert size(640, (16, 16, 1)) == 20
    # 48 MiB of pixels and 16 MiB of mask
    assert size(1, (4096, 4096, 3)) == 1


def test_a_full_cache_has_nothing_to_report(tmp_path: Path) -> None:
    fill(tmp_path)
    assert verify_cache(tmp_path) == []
