"""Epochs that follow on each other, against what a list of (epoch, number) says."""

from __future__ import annotations

import itertools
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inout_aug._epochs import RankedEpochs

LENGTH = 5


class Numbers(RankedEpochs[tuple[int, int]]):
    """Draws (epoch, number), those of a rank in turn."""

    _unit = "numbers"

    def __init__(self, seed: int = 0, num_replicas: int | None = None, rank: int | None = None) -> None:
        self._begin(seed, num_replicas, rank)

    def __len__(self) -> int:
        return LENGTH

    def _draws(self, epoch: int, start: int) -> Iterator[tuple[int, int]]:
        num_replicas, rank = self._world()
        for number in range(start, LENGTH):
            yield epoch, number * num_replicas + rank


def whole(epoch: int) -> list[tuple[int, int]]:
    return [(epoch, number) for number in range(LENGTH)]


def heir(numbers: Numbers) -> Numbers:
    """Return another one that was told the state of this one, through JSON."""
    other = Numbers()
    other.load_state_dict(json.loads(json.dumps(numbers.state_dict())))
    return other


STEPS = st.one_of(
    st.tuples(st.just("draw"), st.integers(0, LENGTH)),
    st.tuples(st.just("all"), st.just(0)),
    st.tuples(st.just("set"), st.integers(0, 3)),
    st.tuples(st.just("die"), st.just(0)),
)


@given(st.lists(STEPS, max_size=12))
def test_any_story_is_told_by_a_list(steps: list[tuple[str, int]]) -> None:
    numbers = Numbers()
    following, told = 0, None  # the next epoch, and that which was said
    at: tuple[int, int] | None = None  # where the last iteration is
    resumed: tuple[int, int] | None = None  # where the next one goes on
    for step, value in steps:
        if step == "set":
            numbers.set_epoch(value)
            told = value
            at, resumed = (place if place and place[0] == value else None for place in (at, resumed))
        elif step == "die":
            resumed = resumed or at or (following if told is None else told, 0)
            at, told, following = None, None, resumed[0] + 1
            numbers = heir(numbers)
        else:
            epoch, start = resumed or (following if told is None else told, 0)
            count = LENGTH if step == "all" else value
            drawn = list(itertools.islice(numbers, count))
            assert drawn == whole(epoch)[start : start + count]
            if count:
                following = epoch + 1
            at, resumed = resumed if not drawn else (epoch, start + len(drawn)), None


@pytest.mark.parametrize("drawn", range(LENGTH + 1))
def test_an_epoch_goes_on_where_it_was_left_and_the_next_one_follows(drawn: int) -> None:
    numbers = Numbers()
    list(numbers)
    first = list(itertools.islice(numbers, drawn))
    epoch = 1
    again = heir(numbers)
    assert first + list(again) == whole(epoch)
    assert list(again) == whole(epoch + 1)


def test_iterators_that_are_never_used_are_no_epochs() -> None:
    numbers = Numbers()
    for _ in range(3):
        iter(numbers)
    assert numbers.state_dict() == {"seed": 0, "num_replicas": 1, "epoch": 0, "drawn": 0}
    assert list(numbers) == whole(0)


def test_a_state_saved_after_an_epoch_was_said_is_of_that_epoch() -> None:
    numbers = Numbers()
    list(numbers)
    numbers.set_epoch(7)
    assert list(heir(numbers)) == whole(7)
    other = heir(numbers)
    other.set_epoch(7)
    assert list(other) == list(numbers) == whole(7)


def test_an_epoch_that_was_left_is_gone_on_with_when_it_is_said_again() -> None:
    numbers = Numbers()
    numbers.set_epoch(4)
    list(itertools.islice(numbers, 2))
    for said, expected in ((4, whole(4)[2:]), (5, whole(5))):
        other = heir(numbers)
        other.set_epoch(said)
        assert list(other) == expected


def test_two_iterators_at_once_are_two_epochs() -> None:
    numbers = Numbers()
    assert list(zip(numbers, numbers, strict=True)) == list(zip(whole(0), whole(1), strict=True))


def test_copies_go_on_by_themselves() -> None:
    numbers = Numbers(num_replicas=2, rank=1)
    list(numbers)
    copied: Numbers = pickle.loads(pickle.dumps(numbers))
    assert list(copied) == list(numbers) == [(1, 2 * number + 1) for number in range(LENGTH)]


@pytest.mark.parametrize("wrong", [{"drawn": LENGTH + 1}, {"drawn": -1}, {"epoch": -1}, {"epoch": True}, {"seed": 1}])
def test_a_state_that_is_none_is_refused_and_changes_nothing(wrong: dict[str, Any]) -> None:
    numbers = Numbers()
    list(itertools.islice(numbers, 2))
    state = numbers.state_dict()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        numbers.load_state_dict(state | wrong)
    assert numbers.state_dict() == state
    with pytest.raises(ValueError, match="in \\[0, 5\\], the numbers of an epoch"):
        numbers.load_state_dict({"epoch": 0, "drawn": 6})
